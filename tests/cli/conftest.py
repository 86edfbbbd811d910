"""Predictions and plans that the tests of the commands show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.cli.facts import Explanation
from infra.fit import Fit, Limits, Outcome, Term
from infra.recipes import ServingPlan, plan
from infra.recipes.errors import DoesNotFit
from infra.recipes.memory import Choice
from infra.recipes.stackfile import parse_stack

FitOf = Callable[..., Fit]


@pytest.fixture(autouse=True)
def own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """A width that the test runner's workers set would hide what a pipe gets."""
    monkeypatch.delenv("COLUMNS", raising=False)


_TERMS = (
    Term(
        "weights",
        15.0,
        14.99,
        15.02,
        "sum of the tensors",
        (("parameters", "8.03e9"),),
        "the checkpoint's header",
    ),
    Term(
        "activation",
        1.25,
        1.2,
        1.4,
        "9.5 * u + hid",
        (("u", "131,334,144"), ("hid", "33,554,432")),
        "vLLM 0.6.2",
    ),
    Term("non_torch", 0.25, 0.2, 0.3, "median", (), "published logs"),
    Term("graphs", 0.5, 0.4, 1.0, "0.0156 * layers", (("layers", "32"),), "published logs", charged=False),
)


def _fit(**changes: Any) -> Fit:
    """One L4 (22 GiB, budget 19.8): 3.3 GiB of cache at 128 KiB a token, so 27,033 tokens in blocks of 16."""
    made = Fit(
        outcome=Outcome.OK,
        outcome_point=Outcome.OK,
        outcome_low=Outcome.OK,
        version="0.6.2",
        engine="V0",
        runner="V0",
        total=22.0,
        budget=19.8,
        terms=_TERMS,
        kv_cache=3.3,
        kv_low=3.0,
        kv_high=3.5,
        kv_first_stage=3.3,
        kv_needed=0.5,
        kv_bytes_per_token=131072.0,
        kv_tokens=27024,
        num_blocks=1689,
        block_size=16,
        max_model_len=4096,
        max_num_seqs=256,
        max_num_batched_tokens=4096,
        max_concurrency=6.6,
        estimated_max_len=19480,
        notes=("few logs of this card",),
    )
    changes.setdefault("kv_first_stage", changes.get("kv_cache", made.kv_cache))
    return replace(made, **changes)


@pytest.fixture
def fit_of() -> FitOf:
    """Makes a prediction; arguments change it."""
    return _fit


@pytest.fixture
def small() -> Fit:
    """A prediction whose cache is too small for one request of 65,536 tokens."""
    return _fit(
        outcome=Outcome.KV_TOO_SMALL,
        outcome_low=Outcome.KV_TOO_SMALL,
        max_model_len=65536,
        kv_needed=8.0,
        max_concurrency=0.41,
    )


@pytest.fixture
def doubtful() -> Fit:
    """A prediction that starts, but not at the low end of its interval."""
    return _fit(outcome_low=Outcome.KV_TOO_SMALL, max_model_len=26000, kv_needed=3.174, max_concurrency=1.04)


@pytest.fixture
def serving() -> ServingPlan:
    """Llama 3.1 8B Instruct on one L4."""
    raw = {
        "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "hardware": {
            "machine_type": "g2-standard-12",
            "accelerator_type": "NVIDIA_L4",
            "accelerator_count": 1,
        },
    }
    return plan(
        parse_stack(raw, file="stacks/llama.yaml", lines={}), region="us-central1", source="stacks/llama.yaml"
    )


@pytest.fixture
def explained(serving: ServingPlan, fit_of: FitOf) -> Explanation:
    """A stack that starts, with three other places where it would."""
    places = (
        Choice("g2-standard-12", "NVIDIA_L4", 1, 1.15, fit_of()),
        Choice("g2-standard-24", "NVIDIA_L4", 2, 2.3, fit_of(kv_tokens=170000, max_concurrency=41.5)),
        Choice("a4x-highgpu-4g", "NVIDIA_GB200", 4, None, fit_of()),
    )
    return Explanation(replace(serving, fit=fit_of()), Limits(19480, 512), places)


@pytest.fixture
def refusal() -> DoesNotFit:
    """What a preview says of a stack that does not start."""
    hardware = "machine_type: g2-standard-24 with 2 NVIDIA_L4 (2.30 USD an hour a replica)"
    remedy = f"max_model_len: 19472 or less; or {hardware}"
    return DoesNotFit("does not start on 1 NVIDIA_L4.", key="vllm.max_model_len", value=65536, remedy=remedy)
