"""A whole benchmark: what the first request tells the levels."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from infra.bench import run as whole
from infra.bench.load import Bounds, Loaded
from infra.bench.load import load as real
from infra.bench.results import Level, Workload
from infra.bench.run import Plan, measure

from .conftest import Model


def test_a_connection_s_usual_time_is_that_of_the_first_request(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent while nothing else is under way; what a level's connections take beyond it is waiting."""
    model.first = model.each = 0
    given: list[float] = []
    opened: list[float] = []

    async def load(*arguments: Any, **options: Any) -> Loaded:
        given.append(options.get("opening", 0.0))
        made = await real(*arguments, **options)
        opened.append(made.outcomes[0].opening)
        return made

    monkeypatch.setattr(whole, "load", load)
    bounds = Bounds(requests=2, seconds=10, timeout=10)
    workload = Workload(input_tokens=16, output_tokens=2, ignore_eos=True)
    levels: list[Level] = []
    plan = Plan(kind="concurrency", values=(2,), bounds=bounds, workload=workload)
    asyncio.run(measure(plan, model.url, lambda: None, levels))
    assert [level.completed for level in levels] == [2]
    assert given == [0.0, opened[0]]
    assert opened[0] > 0
