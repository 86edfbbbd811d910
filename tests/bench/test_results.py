"""Figures of a level and of a run: by hand, against NumPy, and saved and read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as some

from infra.bench.load import Loaded, Outcome
from infra.bench.results import Level, Price, RunProblem, percentile, read_run

from .conftest import level_of, run_of

PRICE = Price(usd_per_hour=3.6, source="test")


@given(some.lists(some.floats(0, 1e6), min_size=1, max_size=50), some.integers(0, 100))
def test_percentiles_are_numpys(values: list[float], rank: int) -> None:
    assert percentile(values, rank) == pytest.approx(
        float(numpy.percentile(values, rank)), rel=1e-9, abs=1e-9
    )


def test_a_percentile_of_nothing_is_not_known() -> None:
    assert percentile([], 50) is None


def loaded() -> Loaded:
    """Two whole answers of 11 and 21 tokens, one of a single token, one error."""
    return Loaded(
        [
            Outcome(0.0, 0.5, 1.5, 1.5, 100, 11, None),
            Outcome(1.0, 1.25, 3.25, 3.3, 100, 21, None),
            Outcome(2.0, 2.1, 2.1, 2.2, 50, 1, None),
            Outcome(3.0, 3.5, 3.6, 4.0, None, None, "HTTP 503"),
        ],
        duration=4.0,
    )


def test_the_figures_of_a_level() -> None:
    level = Level.of("concurrency", 2, loaded())
    assert level.ttft == pytest.approx((0.5, 0.25, 0.1))
    assert level.tpot == pytest.approx((0.1, 0.1))  # (last - first) / (tokens - 1); a single token has none
    assert level.latency == pytest.approx((1.5, 2.25, 0.1))
    assert (level.sent, level.completed, level.failed, level.errors) == (4, 3, 1, {"HTTP 503": 1})
    assert (level.input_tokens, level.output_tokens) == (250, 33)
    assert level.requests_per_second == pytest.approx(3 / 4)
    assert level.output_per_second == pytest.approx(33 / 4)
    assert level.total_per_second == pytest.approx(283 / 4)
    # 3.60 USD an hour are 0.001 USD a second
    assert level.usd_per_million_output(PRICE) == pytest.approx(1000 / (33 / 4))
    assert level.usd_per_million_total(PRICE) == pytest.approx(1000 / (283 / 4))


def test_what_is_not_known_stays_so() -> None:
    made = loaded()
    made.outcomes[0] = Outcome(0.0, 0.5, 1.5, 1.5, None, None, None)
    level = Level.of("rate", 2, made)
    assert level.output_tokens is None
    assert level.output_per_second is None
    assert level.usd_per_million_output(PRICE) is None
    assert len(level.tpot) == 1
    assert level_of().usd_per_million_output(None) is None


def test_a_level_without_an_answer() -> None:
    level = Level.of("rate", 2, Loaded([Outcome(0, None, None, 1, None, None, "HTTP 500")], duration=1.0))
    summary = level.summary(PRICE)
    assert level.completed == 0
    for name in ("request_throughput", "output_throughput", "mean_ttft_ms", "p99_tpot_ms"):
        assert summary[name] is None
    assert summary["usd_per_million_output_tokens"] is None
    json.dumps(summary, allow_nan=False)


def test_a_run_that_is_saved_is_read_as_it_was(tmp_path: Path) -> None:
    run = run_of(level_of(1), level_of(4, errors={"HTTP 503": 2}, sent=12), local=True)
    file = tmp_path / "run.json"
    file.write_text(run.saved())
    assert read_run(file) == run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is no run"),
        ("[", "is no run"),
        (None, "cannot be read"),
        (json.dumps({**json.loads(run_of().saved()), "format": 2}), "format"),
        (run_of().saved().replace('"value":4.0', '"value":-4.0'), "levels.0.value"),
    ],
)
def test_a_file_that_is_no_run(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "run.json"
    if text is not None:
        file.write_text(text.replace('"value": 4.0', '"value": -4.0') if "value" in said else text)
    with pytest.raises(RunProblem, match=said):
        read_run(file)
