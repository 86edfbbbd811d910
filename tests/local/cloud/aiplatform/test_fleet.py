"""Containers that come back after a restart; the rest of the fleet is proved through the service."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from infra.local.cloud.aiplatform import fleet
from infra.local.cloud.errors import GoogleError

ENDPOINT = "projects/1/locations/l/endpoints/2"


class Failing(fleet.Fleet):
    """Its containers exit so many times before they stay."""

    def __init__(self, times: int) -> None:
        def later(_: Any) -> None:
            pass

        cloud: Any = SimpleNamespace(
            on_start=later,
            on_stop=later,
            on_reset=later,
            store=SimpleNamespace(items=lambda _: [(ENDPOINT, {"deployedModels": {"3": {"id": "3"}}})]),
        )
        super().__init__(cloud, None, None)  # type: ignore[arg-type]
        self.left = times

    async def _launch(self, endpoint: str, deployed: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise GoogleError("FAILED_PRECONDITION", fleet.EXITED)
        return f"container of {endpoint}/{deployed['id']}"


def test_a_container_that_exits_on_its_return_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fleet, "FIRST_PAUSE", 0.01)

    async def life() -> Any:
        found = Failing(times=3)
        await found._restore()
        return await found.get(f"{ENDPOINT}/3", timeout=10)

    assert asyncio.run(life()) == f"container of {ENDPOINT}/3"
    pauses = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [0.01, 0.02, 0.04]


def test_one_that_stays_away_is_no_replica_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> Any:
        found = Failing(times=9)
        await found._restore()
        gone = await found.get(f"{ENDPOINT}/3", timeout=0.05)
        await found.stop_all()
        return gone, found._starting

    assert asyncio.run(life()) == (None, {})
