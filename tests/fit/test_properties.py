"""Properties of the prediction over the whole catalogue: what must hold whatever the numbers are."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from infra.cards import ModelCard
from infra.fit import Gpu, Options, Outcome, limits, predict
from infra.recipes.catalog import catalog

VERSIONS = (
    "0.6.2",
    "0.6.4",
    "0.6.6",
    "0.8.5",
    "0.9.2",
    "0.11.0",
    "0.16.0",
    "0.19.0",
    "0.21.0",
    "0.26.0",
    "0.30.0",
    "0.33.0",
)
CARDS = (
    ("NVIDIA L4", 22.03, 8.9, 58),
    ("Tesla T4", 14.56, 7.5, 40),
    ("NVIDIA A100-SXM4-40GB", 39.38, 8.0, 108),
    ("NVIDIA A100-SXM4-80GB", 79.15, 8.0, 108),
    ("NVIDIA H100 80GB HBM3", 79.18, 9.0, 132),
    ("NVIDIA B200", 178.35, 10.0, 148),
)


@functools.lru_cache(maxsize=1)
def models() -> tuple[str, ...]:
    return catalog().models()


@st.composite
def startups(draw: st.DrawFn) -> tuple[ModelCard, Gpu, Options, str]:
    card = catalog().model(draw(st.sampled_from(models())))
    gpu = Gpu(*draw(st.sampled_from(CARDS)))
    longest = card.architecture.max_position_embeddings
    options = Options(
        max_model_len=draw(st.integers(16, longest)),
        max_num_seqs=draw(st.sampled_from((None, 1, 8, 64, 256, 1024))),
        gpu_memory_utilization=draw(st.sampled_from((None, 0.5, 0.85, 0.9, 0.95))),
        tensor_parallel_size=draw(st.sampled_from((1, 2, 4, 8))),
        pipeline_parallel_size=draw(st.sampled_from((1, 1, 1, 2))),
        kv_cache_dtype=draw(st.sampled_from(("auto", "auto", "fp8"))),
        enforce_eager=draw(st.booleans()),
    )
    return card, gpu, options, draw(st.sampled_from(VERSIONS))


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(startups())
def test_every_start_up_has_an_answer(case: tuple[ModelCard, Gpu, Options, str]) -> None:
    card, gpu, options, version = case
    fit = predict(card, gpu, options, version)
    assert fit.kv_low <= fit.kv_cache <= fit.kv_high
    assert fit.weights > 0
    assert fit.activation > 0
    assert all(term.low <= term.gib <= term.high for term in fit.terms)
    assert 0 <= fit.estimated_max_len <= card.architecture.max_position_embeddings
    charged = sum(term.gib for term in fit.terms if term.charged)
    assert fit.kv_cache == pytest.approx(fit.budget - charged, abs=1e-6)
    if fit.ok:
        assert fit.outcome_point is Outcome.OK
        assert fit.max_concurrency >= 1
        assert fit.kv_needed <= fit.kv_cache


@QUICK
@given(startups(), st.floats(1.0, 4.0))
def test_more_memory_never_makes_it_not_fit(case: tuple[ModelCard, Gpu, Options, str], factor: float) -> None:
    card, gpu, options, version = case
    # The defaults of vLLM grow with the GPU's memory, so the batch is fixed here.
    options = replace(options, max_num_seqs=options.max_num_seqs or 256, max_num_batched_tokens=2048)
    assume(predict(card, gpu, options, version).ok)
    assert predict(card, replace(gpu, total=gpu.total * factor), options, version).ok


@QUICK
@given(startups(), st.integers(1, 512), st.integers(1, 512))
def test_more_sequences_never_raise_the_cache(
    case: tuple[ModelCard, Gpu, Options, str], few: int, more: int
) -> None:
    card, gpu, options, version = case
    # From 128 sequences on torch sorts with less memory, from 8 on vLLM 0.17 filters in place: steps, not slopes.
    few, many = sorted((few + 128, few + more + 128))
    caches = [
        predict(
            card, gpu, replace(options, max_num_seqs=count, max_num_batched_tokens=8192), version
        ).kv_cache
        for count in (few, many)
    ]
    assert caches[1] <= caches[0] + 1e-9


@QUICK
@given(startups())
def test_the_largest_length_starts_and_a_longer_one_does_not(
    case: tuple[ModelCard, Gpu, Options, str],
) -> None:
    card, gpu, options, version = case
    # V0 cuts prompts above 32768 tokens into chunks: a longer length can start where a shorter one does not.
    options = replace(options, enable_chunked_prefill=False)
    largest = limits(card, gpu, options, version).max_model_len
    if largest:
        assert predict(card, gpu, replace(options, max_model_len=largest), version).ok
    if largest < card.architecture.max_position_embeddings:
        assert not predict(card, gpu, replace(options, max_model_len=largest + 1), version).ok


def test_the_largest_number_of_sequences_starts_and_one_more_does_not() -> None:
    card = catalog().model("meta-llama/Llama-3.2-11B-Vision-Instruct")
    gpu, options = Gpu(*CARDS[2]), Options(max_model_len=4096, max_num_seqs=256, enforce_eager=True)
    largest = limits(card, gpu, options, "0.6.2").max_num_seqs
    assert 12 <= largest < 256
    assert predict(card, gpu, replace(options, max_num_seqs=largest), "0.6.2").ok
    assert not predict(card, gpu, replace(options, max_num_seqs=largest + 1), "0.6.2").ok
