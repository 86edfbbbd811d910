"""The published formulas give the figures that the projects and their users published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.accuracy.peers import (
    PEERS,
    Case,
    accelerate,
    ai_configurator,
    case_of,
    constant,
    gpustack,
    gpustack_claim,
    hf_mem,
    kaito,
    llm_d,
)
from benchmarks.accuracy.rows import load

# Sizes of the safetensors files, GiB: KAITO's catalogue (model_catalog.yaml), the repositories for the others.
LLAMA_8B = Case(14.957, 80, 79.18, 0.9, 1, 1, 16000, 32, 32, 8, 128, None, None, "LlamaForCausalLM", False)
LLAMA_70B = replace(LLAMA_8B, weights=131.42, tp=2, layers=80, heads=64, max_model_len=131072)
LLAMA_70B_NVL = replace(LLAMA_70B, sticker=94, total=93.58, utilization=0.84)
QWEN3_06B = replace(LLAMA_8B, weights=1.40, layers=28, heads=16, architecture="Qwen3ForCausalLM")
QWEN3_32B = replace(QWEN3_06B, weights=61.02, layers=64, heads=64)
QWEN3_8B_A10 = replace(
    QWEN3_06B, weights=15.26, sticker=24, total=22.49, utilization=0.84, layers=36, heads=32
)
GPT_OSS_20B = replace(
    LLAMA_8B, weights=12.82, layers=24, heads=64, head_dim=64, experts=32, architecture="GptOssForCausalLM"
)
MISTRAL_SMALL = replace(
    LLAMA_8B, weights=44.73, utilization=0.95, layers=40, architecture="Mistral3ForConditionalGeneration"
)
DEEPSEEK_R1 = Case(
    641.3, 80, 79.18, 0.84, 8, 2, 2048, 61, 128, 128, 192, 576, 256, "DeepseekV3ForCausalLM", False
)


@pytest.mark.parametrize(
    ("case", "of_kaito", "of_llm_d", "of_aic", "of_constant"),
    [
        (LLAMA_8B, 53.68, 52.09, 51.41, 51.30),
        (QWEN3_06B, 68.20, 64.85, 65.32, 64.86),
        (QWEN3_32B, 4.35, 5.23, 4.66, 5.24),
        (replace(QWEN3_32B, tp=2), 37.02, 38.09, 35.40, 35.75),
        (LLAMA_70B_NVL, 6.28, 10.25, 7.02, 7.90),
        (MISTRAL_SMALL, 25.79, 28.62, 25.56, 25.49),
        (DEEPSEEK_R1, 21.97, 26.02, 19.39, 21.43),
        (QWEN3_8B_A10, 1.52, 0.00, 0.31, 2.63),
        (GPT_OSS_20B, 55.97, 51.03, None, 53.44),
    ],
)
def test_available_cache(
    case: Case, of_kaito: float, of_llm_d: float, of_aic: float | None, of_constant: float
) -> None:
    """Of KAITO's pull request 2139: 6.29 (Llama 3.3 70B) and 1.52 (Qwen3 8B); the rest are the same formulas re-run."""
    assert kaito(case).available == pytest.approx(of_kaito, abs=0.02)
    assert llm_d(case).available == pytest.approx(of_llm_d, abs=0.02)
    if of_aic is not None:
        assert ai_configurator(case).available == pytest.approx(of_aic, abs=0.02)
    assert constant(case).available == pytest.approx(of_constant, abs=0.02)


@pytest.mark.parametrize(("parameters", "claim"), [(0.5, 3.1), (3, 8.9), (7, 19.0), (72, 164.5)])
def test_gpustack_claims_what_its_docstring_says(parameters: float, claim: float) -> None:
    # The docstring's sizes are those of Qwen2.5 in bfloat16.
    files = {0.5: 0.92, 3: 5.75, 7: 14.19, 72: 135.4}[parameters]
    assert gpustack_claim(files) == pytest.approx(claim, abs=0.06)


LLAMA_70B_FP8 = replace(LLAMA_70B, weights=67.72, tp=1, utilization=0.95, max_model_len=16000)
QWEN25_72B = replace(
    LLAMA_70B, weights=135.4, utilization=0.95, max_model_len=8192, architecture="Qwen2ForCausalLM"
)


@pytest.mark.parametrize(
    ("case", "accelerate_says", "hf_mem_says", "gpustack_says", "kaito_says", "llm_d_says"),
    [
        (LLAMA_70B_FP8, False, True, False, False, False),
        (replace(QWEN3_32B, max_model_len=32000), True, True, False, False, False),
        (QWEN3_32B, True, True, False, True, True),
        (LLAMA_70B_NVL, True, True, False, False, False),
        (replace(LLAMA_70B_NVL, max_model_len=49152), True, True, False, False, True),
        (replace(QWEN3_8B_A10, max_model_len=40960), True, True, False, False, False),
        (replace(QWEN3_8B_A10, max_model_len=16384), True, True, False, False, False),
        (replace(LLAMA_8B, utilization=0.95, max_model_len=32768), True, True, True, True, True),
        (QWEN25_72B, False, True, False, False, True),
    ],
)
def test_verdicts(
    case: Case,
    accelerate_says: bool,
    hf_mem_says: bool,
    gpustack_says: bool,
    kaito_says: bool,
    llm_d_says: bool,
) -> None:
    assert accelerate(case).fits is accelerate_says
    assert hf_mem(case).fits is hf_mem_says
    assert gpustack(case).fits is gpustack_says
    assert kaito(case).fits is kaito_says
    assert llm_d(case).fits is llm_d_says


def test_a_formula_that_lacks_a_number_says_nothing() -> None:
    for peer in PEERS:
        for lacking in (replace(LLAMA_8B, weights=None), replace(LLAMA_8B, sticker=None, total=None)):
            answer = peer.formula(lacking)
            assert (answer.available, answer.fits) == (None, None), peer.name


def test_without_a_shape_the_cache_is_said_and_the_verdict_is_not() -> None:
    answer = kaito(replace(LLAMA_8B, layers=None))
    assert answer.available is not None
    assert answer.fits is None


def test_every_peer_names_its_source() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(peer.source for peer in PEERS)


def test_the_case_of_a_row() -> None:
    rows = {row.id: row for row in load().rows}
    case = case_of(rows["r018"])
    assert (case.weights, case.sticker, case.total, case.utilization) == (14.96, 80, 79.19, 0.95)
    assert (case.batched_tokens, case.cache_bytes, case.max_model_len) == (8192, 2, 8192)
    assert case_of(rows["r017"]).cache_bytes == 1
    assert case_of(rows["r002"]).latent_width == 576
    assert case_of(rows["r285"]).batched_tokens == 2048
    # no size is known: two bytes for each of 3.086e9 parameters
    assert case_of(rows["r397"]).weights == pytest.approx(5.75, abs=0.01)
    # quantised, no size is known
    assert case_of(rows["r395"]).weights is None
