"""The memory arithmetic against published start-up logs and the guide's own cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.fit import Fit, Gpu, Options, Outcome, gpu_of, predict
from infra.fit.weights import lora_bytes, weights_gib
from infra.recipes.catalog import catalog

H100 = Gpu("NVIDIA H100 80GB HBM3", 79.19, 9.0, 132)
LLAMA_8B = "meta-llama/Meta-Llama-3.1-8B-Instruct"
VISION_11B = "meta-llama/Llama-3.2-11B-Vision-Instruct"
GUIDE = "0.6.2"


def _gpu(accelerator: str) -> Gpu:
    return gpu_of(catalog().accelerator(accelerator))


def _guide(model: str, accelerator: str, *, count: int = 1, seqs: int = 256, lora: bool = True) -> Fit:
    options = Options(
        max_model_len=4096,
        max_num_seqs=seqs,
        gpu_memory_utilization=0.9,
        tensor_parallel_size=count,
        enforce_eager=True,
        enable_lora=lora,
    )
    return predict(catalog().model(model), _gpu(accelerator), options, GUIDE)


GUIDE_IMAGE = (
    "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"
)
GUIDE_MODELS = [
    model
    for model in catalog().models()
    if any(recipe.image_uri == GUIDE_IMAGE for recipe in catalog().model(model).recommended)
]


def test_the_guide_has_14_models() -> None:
    assert len(GUIDE_MODELS) == 14


@pytest.mark.parametrize("model", GUIDE_MODELS)
def test_every_recipe_of_the_guide_starts_on_its_hardware(model: str) -> None:
    card = catalog().model(model)
    for recipe in card.recommended:
        options = Options(
            max_model_len=recipe.vllm["max_model_len"],
            max_num_seqs=recipe.vllm["max_num_seqs"],
            gpu_memory_utilization=recipe.vllm["gpu_memory_utilization"],
            tensor_parallel_size=recipe.accelerator_count,
            enforce_eager=True,
            enable_lora=recipe.vllm.get("enable_lora", False),
        )
        fit = predict(card, _gpu(recipe.accelerator_type), options, GUIDE)
        assert fit.outcome is Outcome.OK, (model, fit)
        assert fit.kv_tokens >= fit.max_model_len


def test_llama_vision_with_256_sequences_runs_out_of_memory_as_the_guide_prints_it() -> None:
    fit = _guide(VISION_11B, "NVIDIA_TESLA_A100", seqs=256, lora=False)
    assert fit.outcome is Outcome.OUT_OF_MEMORY
    assert fit.oom is not None
    assert fit.total == pytest.approx(39.38)
    assert round(fit.oom.tried, 2) == 3.91
    assert fit.oom.free < fit.oom.tried
    assert fit.oom.in_use + fit.oom.free == pytest.approx(fit.total)
    assert fit.oom.stage == "image patches"


def test_llama_vision_with_12_sequences_starts() -> None:
    assert _guide(VISION_11B, "NVIDIA_TESLA_A100", seqs=12, lora=False).ok


def test_a_cache_smaller_than_the_asked_length_names_both_numbers() -> None:
    options = Options(max_model_len=4096, max_num_seqs=256, gpu_memory_utilization=0.76, enforce_eager=True)
    fit = predict(catalog().model(LLAMA_8B), _gpu("NVIDIA_L4"), options, GUIDE)
    assert fit.outcome_point is Outcome.KV_TOO_SMALL
    assert 0 < fit.kv_tokens < fit.max_model_len == 4096
    # V0's start-up run is as long as max_model_len, so a shorter one leaves more cache than there is now.
    assert fit.kv_tokens <= fit.estimated_max_len < 4096
    shorter = replace(options, max_model_len=fit.estimated_max_len)
    at_the_edge = predict(catalog().model(LLAMA_8B), _gpu("NVIDIA_L4"), shorter, GUIDE)
    assert at_the_edge.outcome_point is Outcome.OK
    # The verdict keeps a distance from the edge.
    assert not at_the_edge.ok
    longer = replace(options, max_model_len=fit.estimated_max_len + 1)
    past_it = predict(catalog().model(LLAMA_8B), _gpu("NVIDIA_L4"), longer, GUIDE)
    assert past_it.outcome_point is Outcome.KV_TOO_SMALL


def test_a_model_larger_than_the_gpu_fails_while_loading() -> None:
    fit = _guide("meta-llama/Meta-Llama-3.1-70B-Instruct", "NVIDIA_L4")
    assert fit.outcome is Outcome.OUT_OF_MEMORY
    assert fit.oom is not None
    assert fit.oom.stage == "load"
    assert fit.estimated_max_len == 0


# Published logs of vLLM 0.19.0 on one H100 (llm-d-planner accuracy runs, Llama-3.1-8B-Instruct, utilisation 0.95,
# 1024 sequences, 8192 batched tokens): weights, activation and KV cache in GiB, tokens of cache.
@pytest.mark.parametrize(
    ("tensor_parallel", "weights", "activation", "kv"),
    [(1, 14.99, 1.89, 58.11), (2, 7.51, 1.89, 63.76), (4, 3.77, 1.89, 67.44)],
)
def test_published_logs_of_0_19_on_h100(
    tensor_parallel: int, weights: float, activation: float, kv: float
) -> None:
    options = Options(
        max_model_len=8192,
        max_num_seqs=1024,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=0.95,
        tensor_parallel_size=tensor_parallel,
        usage="openai",
    )
    fit = predict(catalog().model(LLAMA_8B), H100, options, "0.19.0")
    assert fit.engine == "V1"
    assert fit.weights == pytest.approx(weights, abs=0.01)
    assert fit.activation == pytest.approx(activation, abs=0.02)
    assert fit.kv_cache == pytest.approx(kv, abs=0.06)


def test_tokens_are_whole_blocks_of_the_cache() -> None:
    fit = _guide(LLAMA_8B, "NVIDIA_L4")
    # 32 layers x 2 (key, value) x 8 heads x 128 x 2 bytes
    assert fit.kv_bytes_per_token == 131072
    assert fit.kv_tokens % 16 == 0
    assert fit.kv_tokens * fit.kv_bytes_per_token <= fit.kv_cache * 2**30
    assert fit.max_concurrency == fit.kv_tokens / 4096


@pytest.mark.parametrize(
    "options",
    [
        [Options(max_model_len=4096, max_num_seqs=count) for count in (128, 1024, 8192)],
        [Options(max_model_len=length, max_num_seqs=128) for length in (128, 8192, 32768)],
    ],
)
def test_more_sequences_or_length_never_leave_more_cache(options: list[Options]) -> None:
    card, gpu = catalog().model(LLAMA_8B), _gpu("NVIDIA_L4")
    caches = [predict(card, gpu, option, GUIDE).kv_cache for option in options]
    assert caches == sorted(caches, reverse=True)


@pytest.mark.parametrize(
    ("model", "version", "mib"),
    [
        # By hand: 32 layers of 4 matrices 4096 wide and 3 of 14336, both tables, rank 16, 2 bytes.
        (LLAMA_8B, "0.6.2", 88.1),
        # 48 layers with 128 experts of 768: 16 x 2 x 48 x 128 x 3 x (2048 + 768) bytes more from 0.11.1 on.
        ("Qwen/Qwen3-30B-A3B", "0.11.0", 34.9),
        ("Qwen/Qwen3-30B-A3B", "0.14.0", 1618.9),
    ],
)
def test_a_lora_slot_has_buffers_for_every_matrix(model: str, version: str, mib: float) -> None:
    options = Options(enable_lora=True, max_loras=1, max_lora_rank=16)
    assert lora_bytes(catalog().model(model), options, version) / 2**20 == pytest.approx(mib, abs=0.1)
    wide = Options(enable_lora=True, max_loras=2, max_lora_rank=64)
    assert lora_bytes(catalog().model(model), wide, version) / 2**20 == pytest.approx(8 * mib, abs=0.5)


def test_lora_buffers_and_vocabulary_count_as_weights() -> None:
    card = catalog().model(LLAMA_8B)
    plain, adapters = Options(), Options(enable_lora=True, max_loras=4)
    # Llama 3.1 8B at rank 16: 88 MiB a slot.
    assert weights_gib(card, adapters, GUIDE) - weights_gib(card, plain, GUIDE) == pytest.approx(
        4 * 0.088, rel=0.1
    )


def test_v0_keeps_a_state_for_every_sequence_beside_the_cache() -> None:
    """Jamba: 28 layers x (3 x 8192 + 8192 x 16 elements) x 2 bytes are 8.3 MiB a sequence, shared by two GPUs."""
    card, gpu = catalog().model("ai21labs/Jamba-v0.1"), Gpu("NVIDIA A100-SXM4-80GB", 79.15, 8.0, 108)
    options = Options(max_model_len=8192, max_num_seqs=256, tensor_parallel_size=2)
    held = 256 * 28 * (3 * 8192 + 8192 * 16) * 2 / 2 / 2**30
    few, many = (
        predict(card, gpu, replace(options, max_num_seqs=count), "0.6.2").activation for count in (8, 256)
    )
    assert many - few >= held * 248 / 256 - 0.01
    assert (
        dict(predict(card, gpu, options, "0.6.2").term("activation").numbers)["states"] == f"{held:.3f} GiB"
    )
    assert "states" not in dict(predict(card, gpu, options, "0.11.0").term("activation").numbers)


def test_kv_heads_repeat_when_there_are_more_gpus_than_heads() -> None:
    card = catalog().model(LLAMA_8B)
    sizes = [
        predict(card, H100, Options(max_model_len=4096, tensor_parallel_size=count), GUIDE).kv_bytes_per_token
        for count in (1, 2, 8, 16)
    ]
    assert sizes == [131072, 65536, 16384, 16384]


@pytest.mark.parametrize(
    ("version", "accelerator", "engine"),
    [
        ("0.6.2", "NVIDIA_H100_80GB", "V0"),
        ("0.8.5.post1", "NVIDIA_L4", "V1"),
        ("0.8.5.post1", "NVIDIA_TESLA_T4", "V0"),
        ("0.11.0", "NVIDIA_TESLA_T4", "V1"),
    ],
)
def test_engine_by_version_and_gpu(version: str, accelerator: str, engine: str) -> None:
    card = catalog().model("meta-llama/Llama-3.2-1B-Instruct")
    assert predict(card, _gpu(accelerator), Options(max_model_len=2048), version).engine == engine


def test_a_version_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'latest' is not a vLLM version such as 0\.8\.5"):
        predict(catalog().model(LLAMA_8B), H100, Options(), "latest")


def test_an_unmeasured_gpu_is_reckoned_from_its_advertised_memory() -> None:
    gpu = _gpu("NVIDIA_TESLA_V100")
    assert 14 < gpu.total < 16
    assert gpu.capability == 7.0
