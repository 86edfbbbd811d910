"""The errors are what their names say, on rows that are made up for it."""

from __future__ import annotations

import math

import pytest

from benchmarks.accuracy import measures
from benchmarks.accuracy.measures import Errors, Prediction
from benchmarks.accuracy.rows import GIB, Arch, Row

SHAPE = {
    "architecture": "LlamaForCausalLM",
    "num_hidden_layers": "32",
    "num_attention_heads": "32",
    "num_key_value_heads": "8",
    "head_dim": "128",
    "source": "made up",
}


def row(id: str, doubts: dict[str, str] | None = None, **cells: str) -> Row:
    facts = {"id": id, "model_id": "made/up", "vllm_version": "0.19.0", "outcome": "ok", **cells}
    return Row(facts, Arch(SHAPE), doubts or {}, 80.0)


def test_percentiles_are_interpolated() -> None:
    assert measures.percentile([1, 2, 3, 4, 5], 0.9) == pytest.approx(4.6)
    assert measures.percentile([7], 0.9) == 7
    with pytest.raises(ValueError, match="at least one"):
        measures.percentile([], 0.5)


def test_errors() -> None:
    errors = Errors((-1.0, 0.5, 3.0))
    assert (errors.rows, errors.median, errors.mean, errors.most) == (3, 1.0, 1.5, 3.0)
    assert errors.bias == pytest.approx(2.5 / 3)
    assert errors.p90 == pytest.approx(2.6)
    nothing = Errors(())
    assert (nothing.rows, nothing.median, nothing.p90, nothing.mean, nothing.bias, nothing.most) == (
        0,
        *[None] * 5,
    )


def test_doubtful_rows_and_rows_without_either_figure_are_left_out() -> None:
    rows = [row("a", kv_gib="10"), row("b", {"kv": "why"}, kv_gib="10"), row("c"), row("d", kv_gib="1")]
    said = {id: Prediction(kv=11.0) for id in "abc"} | {"d": Prediction()}
    assert [one.id for one in measures.kv_rows(rows)] == ["a", "d"]
    assert [one.id for one in measures.kv_rows(rows, doubtful=True)] == ["a", "b", "d"]
    assert measures.kv_errors(measures.kv_rows(rows), said).values == (1.0,)


def test_weights_are_compared_in_percent() -> None:
    rows = [row("a", weights_gib_per_gpu="10"), row("b", {"all": "why"}, weights_gib_per_gpu="10")]
    said = {id: Prediction(weights=10.1) for id in "ab"}
    assert measures.weight_errors(rows, said).values == pytest.approx((1.0,))


def test_bytes_a_token_and_tokens_are_compared_in_percent() -> None:
    tokens = 10 * GIB // 131072
    measured = row("a", kv_gib="10", kv_tokens=str(tokens))
    right = {"a": Prediction(kv=20.0, kv_tokens=2 * tokens)}
    half = {"a": Prediction(kv=20.0, kv_tokens=4 * tokens)}
    assert measures.token_errors([measured], right).values == pytest.approx((0.0,), abs=0.01)
    assert measures.token_errors([measured], half).values == pytest.approx((-50.0,), abs=0.01)
    assert measures.count_errors([measured], right).values == pytest.approx((100.0,))
    blocks = row("b", gpu_blocks="100", block_size="16")
    assert measures.count_errors([blocks], {"b": Prediction(kv_tokens=1600)}).values == (0.0,)


def test_verdicts() -> None:
    rows = [
        row("right"),
        row("alarm"),
        row("failed", outcome="oom"),
        row("promised", outcome="kv_too_small"),
        row("silent"),
        row("excused", {"verdict": "why"}, outcome="oom"),
        row("unknown", outcome=""),
    ]
    said = {
        "right": Prediction(outcome="ok"),
        "alarm": Prediction(outcome="oom"),
        "failed": Prediction(
            outcome="kv_too_small"
        ),  # it does not start: what fails first is another question
        "promised": Prediction(outcome="ok"),
        "silent": Prediction(),
        "excused": Prediction(outcome="ok"),
        "unknown": Prediction(outcome="ok"),
    }
    score = measures.verdicts(rows, said)
    assert (score.right, score.false_ok, score.alarms) == (2, ("promised",), ("alarm",))
    assert (score.starts, score.failures, score.alarm_share) == (2, 2, 0.5)


def test_the_interval_counts_what_it_holds() -> None:
    rows = [row("a", kv_gib="10"), row("b", kv_gib="10"), row("c", kv_gib="10")]
    said = {
        "a": Prediction(kv=10, kv_low=9, kv_high=10),
        "b": Prediction(kv=12, kv_low=11, kv_high=14),
        "c": Prediction(kv=10),
    }
    held = measures.interval(rows, said)
    assert (held.rows, held.inside, held.width, held.coverage) == (2, 1, 2.0, 0.5)
    assert measures.interval([], said).coverage is None


def test_targets_without_rows_are_not_met() -> None:
    assert not any(target.met for target in measures.targets([], {}))


def test_targets_of_perfect_predictions_are_met_and_of_bad_ones_are_not() -> None:
    tokens = 50 * GIB // 131072
    measured = row("a", weights_gib_per_gpu="15", kv_gib="50", kv_tokens=str(tokens))
    rows = [measured, row("b", outcome="oom")]
    right = Prediction(15.0, 50.0, 49.0, 51.0, tokens, "ok")
    good = {"a": right, "b": Prediction(outcome="oom")}
    assert all(target.met for target in measures.targets(rows, good))
    wrong = Prediction(18.0, 55.0, 54.0, 56.0, 2 * tokens, "oom")
    bad = {"a": wrong, "b": Prediction(outcome="ok")}
    missed = [target for target in measures.targets(rows, bad) if not target.met]
    assert len(missed) == len(measures.targets(rows, bad))
    assert all(target.value is not None and math.isfinite(target.value) for target in missed)
