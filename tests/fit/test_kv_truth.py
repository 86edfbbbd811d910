"""Our KV cache arithmetic against what a real vLLM said, every committed row, to the token."""

from __future__ import annotations

import re

import pytest

from benchmarks import kv_truth
from benchmarks.kv_configs import LEFT_OUT
from infra.recipes.catalog import catalog

ROWS = kv_truth.rows()
COMPARABLE = kv_truth.comparable()


@pytest.mark.parametrize("row", COMPARABLE, ids=[row["case"] for row in COMPARABLE])
def test_agrees_with_the_real_vllm_to_the_token(row: dict[str, str]) -> None:
    compared = kv_truth.compare(row)
    if compared.explained:
        assert compared.differences, f"agrees now: take it out of EXPLAINED ({compared.explained})"
    else:
        assert not compared.differences


def test_every_family_was_measured_in_several_ways() -> None:
    for family, models in kv_truth.FAMILIES.items():
        for model in models:
            assert any(row["model_id"] == model for row in COMPARABLE), model
        settings = {
            (row["dtype"], row["kv_cache_dtype"], row["asked_block_size"], row["max_model_len"])
            for row in COMPARABLE
            if row["family"] == family
        }
        assert len(settings) >= 4, family


def test_a_row_is_what_vllm_printed() -> None:
    """The printed line is kept as it came; the columns are its numbers, and the exact concurrency rounds to it."""
    for row in ROWS:
        if row["outcome"] != "ok":
            continue
        found = re.fullmatch(
            r"CPU KV cache size: ([\d,]+) tokens, Maximum concurrency for ([\d,]+) tokens per request: ([\d.]+)x",
            row["printed"],
        )
        assert found is not None, row["case"]
        assert found[1].replace(",", "") == row["kv_tokens"]
        assert found[2].replace(",", "") == row["max_model_len"]
        assert f"{float(row['max_concurrency']):.2f}" == found[3]


def test_every_row_names_its_model_and_version() -> None:
    known = catalog().models()
    assert len({row["case"] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row["model_id"] in known
        assert row["vllm_version"]
        assert row["outcome"] in ("ok", "kv_too_small", "error")
        assert (row["outcome"] == "error") == bool(row["notes"]), row["case"]


def test_every_case_has_a_row() -> None:
    missing = {case.name for case in kv_truth.cases()} - {row["case"] for row in ROWS}
    assert not missing, "run python benchmarks/kv_truth.py --measure"


def test_what_the_cpu_cannot_run_is_named() -> None:
    """No row is an error for a reason of ours: only architectures that vLLM's CPU backend refuses."""
    reasons = {row["notes"] for row in ROWS if row["outcome"] == "error"}
    assert all("not supported on CPU" in reason for reason in reasons), reasons


def _shape(name: str) -> tuple[object, ...]:
    """What decides how a cache is laid out."""
    arch = catalog().model(name).architecture
    kinds = tuple(kind for kind, _ in arch.kinds.items() if kind != "none")
    return kinds, arch.mla is not None, arch.state is not None, arch.full_head_dim is not None


def test_every_kind_of_cache_in_the_catalogue_is_measured_or_left_out_for_a_reason() -> None:
    measured = {_shape(row["model_id"]) for row in COMPARABLE}
    for model in catalog().models():
        if catalog().model(model).architecture.name not in LEFT_OUT:
            assert _shape(model) in measured, f"add {model} to benchmarks/kv_truth.py and measure it"


def test_what_is_left_out_has_no_row() -> None:
    assert not {kv_truth.architecture(row["model_id"]).name for row in ROWS} & set(LEFT_OUT)
