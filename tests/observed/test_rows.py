"""Rows of measured start-ups, as people write them: what is read of them, and what stays unknown."""

from __future__ import annotations

import re

import pytest

from infra.fit.accounting import constants
from infra.observed import predict_row
from infra.observed.calibrate import fitted
from infra.observed.gpus import gpu_named
from infra.observed.rows import bits_of, card_of, method_of, read_row

LLAMA = {
    "id": "x1",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "H100 80GB",
    "gpu_mem_gib": "79.19",
    "tp": "1",
    "pp": "1",
    "vllm_version": "0.19.0",
    "gpu_memory_utilization": "0.95",
    "max_model_len": "8192",
    "max_num_seqs": "1024",
    "other_args": "max_num_batched_tokens=8192",
}
SHAPE = {
    "architecture": "LlamaForCausalLM",
    "num_hidden_layers": "32",
    "hidden_size": "4096",
    "intermediate_size": "14336",
    "num_attention_heads": "32",
    "num_key_value_heads": "8",
    "head_dim": "128",
    "vocab_size": "128256",
    "tie_word_embeddings": "False",
    "params_billion": "8.03",
    "max_position_embeddings": "131072",
}


def test_a_published_row_is_predicted_to_two_digits() -> None:
    """The log says weights 14.99, activation 1.89, KV cache 58.11 GiB, 476,016 tokens."""
    found = predict_row(LLAMA, None)
    assert found.weights_gib_per_gpu == pytest.approx(14.99, abs=0.01)
    assert found.activation_gib == pytest.approx(1.89, abs=0.01)
    assert found.kv_gib is not None
    assert found.kv_gib == pytest.approx(58.11, abs=0.02)
    assert found.kv_tokens == pytest.approx(476016, rel=0.001)
    assert found.outcome == "ok"
    assert found.kv_gib_low is not None
    assert found.kv_gib_high is not None
    assert found.kv_gib_low < found.kv_gib < found.kv_gib_high


def test_observed_columns_are_never_read() -> None:
    observed = {
        "weights_gib_per_gpu": "1",
        "kv_gib": "2",
        "activation_gib": "3",
        "kv_tokens": "4",
        "outcome": "oom",
    }
    assert predict_row({**LLAMA, **observed}, None) == predict_row(LLAMA, None)


@pytest.mark.parametrize(
    ("column", "text", "same"),
    [
        ("max_model_len", "8k", "8000"),
        ("max_model_len", "8K", "8192"),
        ("max_model_len", "8,192", "8192"),
        ("dtype", "torch.bfloat16", "bfloat16"),
        ("quantization", "None", ""),
        ("quantization", "bf16", ""),
        ("enforce_eager", "yes", "True"),
        ("gpu", "NVIDIA_H100_80GB", "NVIDIA H100 80GB HBM3"),
        ("other_args", "--max-num-batched-tokens 16384", "max_num_batched_tokens=16384"),
        ("other_args", "--max-num-batched-tokens=16384 --block-size 32", "max_num_batched_tokens=16384; block_size=32"),
        ("other_args", "--no-enable-prefix-caching", "enable_prefix_caching=False"),
        ("other_args", "--kv-cache-memory-bytes=5368709120", "kv_cache_memory_bytes = 5 GiB"),
        ("other_args", '--limit-mm-per-prompt {"image": 4}', "limit_mm_per_prompt image=4"),
    ],
)  # fmt: skip
def test_the_same_thing_written_in_another_way(column: str, text: str, same: str) -> None:
    found = read_row({**LLAMA, column: text}, None)
    wanted = read_row({**LLAMA, column: same}, None)
    assert found is not None
    assert wanted is not None
    assert found.options == wanted.options
    assert (found.card, found.gpu and found.gpu.total) == (wanted.card, wanted.gpu and wanted.gpu.total)
    assert read_row({**LLAMA, column: ""}, None) != found or same == ""


@pytest.mark.parametrize(
    ("column", "text", "problem"),
    [
        ("gpu_memory_utilization", "90%", "'90%' is not above 0 and at most 1"),
        ("gpu_memory_utilization", "0", "'0' is not above 0 and at most 1"),
        ("gpu_memory_utilization", "0,9", "'0,9' is not above 0 and at most 1"),
        ("quantization", "??", "'??' is no method that is known"),
    ],
)
def test_a_value_that_cannot_be_is_named(column: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{column}: {problem}")):
        predict_row({**LLAMA, column: text}, None)


def test_a_name_that_begins_several_models_means_none() -> None:
    assert card_of({"model_id": "Qwen/Qwen3"}, None) is None
    assert card_of({"model_id": "google/gemma"}, None) is None


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("8xA100-80G", "A100 80GB"),
        ("2 x H100", "H100 80GB"),
        ("A100 80 GB", "A100 80GB"),
        ("RTX4090", "RTX 4090"),
        ("NVIDIA_L4", "L4"),
        ("NVIDIA_TESLA_T4", "Tesla T4"),
    ],
)
def test_a_card_by_another_name(name: str, same: str) -> None:
    gpu, wanted = gpu_named(name, None), gpu_named(same, None)
    assert gpu is not None
    assert wanted is not None
    assert gpu.total == pytest.approx(wanted.total, abs=0.02)
    assert gpu.capability == wanted.capability


def test_an_a10g_is_no_a10_and_a_grace_hoppers_host_memory_no_card() -> None:
    assert getattr(gpu_named("A10G 24GB", None), "multiprocessors", None) == 80
    assert gpu_named("GH200 480GB", None) is None


def test_memory_outside_torch_is_not_known_for_amd() -> None:
    gpu = gpu_named("MI300X 192GB", 191.98)
    assert gpu is not None
    assert (gpu.total, gpu.total_known) == (191.98, False)


@pytest.mark.parametrize(
    "missing", ["gpu_memory_utilization", "max_num_seqs", "other_args", "dtype", "vllm_version"]
)
def test_what_vllm_has_a_default_for_may_be_missing(missing: str) -> None:
    row = {key: value for key, value in LLAMA.items() if key != missing}
    assert predict_row(row, None).kv_gib is not None


def test_without_a_gpu_only_the_weights_are_known() -> None:
    row = {**LLAMA, "gpu": "", "gpu_mem_gib": ""}
    found = predict_row(row, None)
    assert found.weights_gib_per_gpu == pytest.approx(14.99, abs=0.01)
    assert (found.kv_gib, found.kv_tokens, found.outcome) == (None, None, None)


def test_without_a_model_nothing_is_known() -> None:
    found = predict_row({**LLAMA, "model_id": "somebody/unheard-of"}, None)
    assert found.id == "x1"
    assert found.weights_gib_per_gpu is None
    assert found.outcome is None


def test_a_verdict_that_hangs_on_an_unknown_length_is_unknown() -> None:
    small = {**LLAMA, "gpu": "L4", "gpu_mem_gib": "22.03", "max_num_seqs": "256", "other_args": ""}
    assert predict_row({**small, "max_model_len": ""}, None).outcome is None
    assert predict_row(small, None).outcome == "ok"
    assert predict_row({**small, "max_model_len": "131072"}, None).outcome == "kv_too_small"


def test_a_fine_tune_has_the_shape_of_its_base() -> None:
    card = card_of({"model_id": "somebody/Llama-3.1-8B-tuned"}, SHAPE)
    assert card is not None
    assert card.id == "somebody/Llama-3.1-8B-tuned"
    assert card.weights.parameters == 8030261248


def test_a_shape_that_no_card_has_is_taken_from_its_numbers() -> None:
    card = card_of(
        {"model_id": "somebody/own"},
        {**SHAPE, "num_hidden_layers": "31", "sliding_window": "512 (5 of 6 layers)"},
    )
    assert card is not None
    assert card.architecture.num_hidden_layers == 31
    assert card.architecture.kinds.full == 5
    assert card.architecture.kinds.sliding == 26


def test_a_name_without_its_date_or_ending_is_known() -> None:
    for name in ("mistralai/Mistral-Small-4-119B", "MISTRALAI/mistral-small-4-119b (W4A16)"):
        card = card_of({"model_id": name}, None)
        assert card is not None
        assert card.architecture.mla is not None


@pytest.mark.parametrize(
    ("name", "column", "method", "bits"),
    [
        ("a/Model", "", None, None),
        ("a/Model-AWQ", "", "awq", 4),
        ("a/Model-quantized.w8a8", "", "compressed-tensors", 8),
        ("a/Model-quantized.w4a16", "compressed-tensors", "compressed-tensors", 4),
        ("a/Model-FP8-dynamic", "compressed-tensors", "compressed-tensors", 8),
        ("a/Model-GPTQ-Int8", "gptq int8", "gptq int8", 8),
        ("a/Model", "fp8", "fp8", 8),
        ("a/Model-bnb-4bit", "", "bitsandbytes", 4),
    ],
)
def test_quantization_by_column_or_name(name: str, column: str, method: str | None, bits: int | None) -> None:
    assert method_of({"model_id": name, "quantization": column}) == method
    assert bits_of(name, method) == bits


@pytest.mark.parametrize(
    ("version", "remark", "versions", "engine"),
    [
        ("0.19.0", "", ("0.19.0",), None),
        ("0.8.x (V0)", "", ("0.8.0",), "V0"),
        ("~0.10.2", "", ("0.10.2",), None),
        ("0.6.4.post1", "", ("0.6.4.post1",), None),
        ("0.7.3 (V1)", "", ("0.7.3",), "V1"),
        ("V0", "", ("0.6.6",), "V0"),
        ("", "V0 0.7.x, chunked prefill", ("0.7.0",), "V0"),
        ("", "", ("0.11.0", "0.6.6", "0.19.0"), None),
    ],
)
def test_versions_as_people_write_them(
    version: str, remark: str, versions: tuple[str, ...], engine: str | None
) -> None:
    observed = read_row({**LLAMA, "vllm_version": version, "other_args": remark}, None)
    assert observed is not None
    assert observed.versions == versions
    assert observed.options.engine == engine


@pytest.mark.parametrize(
    ("name", "total", "gib", "known"),
    [
        ("RTX 3090 24GB", None, 23.57, True),
        ("RTX 3090 24GB", 23.58, 23.58, True),
        ("A100 40GB", 40.0, 39.39, True),  # a whole number is the sticker's
        ("NVIDIA A100-SXM4-80GB", None, 79.15, True),
        ("H100 NVL 94GB", None, 93.58, True),
        ("24GB class (21.99 GiB)", 21.99, 21.99, True),
        ("64GB card", None, 62.08, False),
    ],
)
def test_gpus_by_the_names_of_logs(name: str, total: float | None, gib: float, known: bool) -> None:
    gpu = gpu_named(name, total)
    assert gpu is not None
    assert gpu.total == pytest.approx(gib)
    assert gpu.total_known is known
    assert gpu_named("", None) is None


def test_a_number_that_is_none_is_an_error_that_names_its_column() -> None:
    with pytest.raises(ValueError, match="tp: '--' is not a number"):
        predict_row({**LLAMA, "tp": "--"}, None)


def test_constants_are_fitted_to_the_rows_that_are_given_and_to_no_other() -> None:
    row = {**LLAMA, "non_torch_gib": "0.31", "kv_gib": "58.05"}
    table = fitted([(row, None)])
    values = {row.since: row for row in table.of("non_torch") if row.when == ("V1",)}
    assert float(values[(0, 18, 0, 0)].value) == pytest.approx(0.31)
    # Nothing is left of the published rows in what these rows do not support.
    unsupported = [row for row in table.of("non_torch") if "tp>1" in row.when and "V1" in row.when]
    assert unsupported
    assert all(row.basis == "guess" for row in unsupported)
    assert constants().of("non_torch") != table.of("non_torch")
