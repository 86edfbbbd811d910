"""Safetensors headers added up: against published sizes, and what is left out of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.cards.checkpoint import CheckpointError, Tensor, read_checkpoint, read_header, tensors_of
from infra.cards.config import ConfigFacts, read_config

CONFIGS = Path(__file__).parent / "configs"
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1, "I8": 1, "I32": 4}


def facts(model_id: str) -> ConfigFacts:
    files = json.loads((CONFIGS / f"{model_id.replace('/', '--')}.json").read_text("utf-8"))
    return read_config(files["config.json"])


def tensor(name: str, dtype: str, *shape: int) -> Tensor:
    size = SIZES[dtype]
    for length in shape:
        size *= length
    return Tensor(name, dtype, shape, size)


def qwen2(layers: int, hidden: int, inner: int, kv: int, vocab: int, linear: Any) -> Iterator[Tensor]:
    """Names and shapes of a Qwen2 checkpoint; ``linear`` makes the tensors of one matrix."""
    yield tensor("model.embed_tokens.weight", "F16", vocab, hidden)
    yield tensor("lm_head.weight", "F16", vocab, hidden)
    yield tensor("model.norm.weight", "F16", hidden)
    for i in range(layers):
        here = f"model.layers.{i}"
        yield tensor(f"{here}.input_layernorm.weight", "F16", hidden)
        yield tensor(f"{here}.post_attention_layernorm.weight", "F16", hidden)
        for name, out in (("q", hidden), ("k", kv), ("v", kv)):
            yield from linear(f"{here}.self_attn.{name}_proj", hidden, out)
            yield tensor(f"{here}.self_attn.{name}_proj.bias", "F16", out)
        yield from linear(f"{here}.self_attn.o_proj", hidden, hidden)
        yield from linear(f"{here}.mlp.gate_proj", hidden, inner)
        yield from linear(f"{here}.mlp.up_proj", hidden, inner)
        yield from linear(f"{here}.mlp.down_proj", inner, hidden)


def plain(name: str, into: int, out: int) -> Iterator[Tensor]:
    yield tensor(f"{name}.weight", "F16", out, into)


def awq(name: str, into: int, out: int) -> Iterator[Tensor]:
    yield tensor(f"{name}.qweight", "I32", into, out // 8)
    yield tensor(f"{name}.qzeros", "I32", into // 128, out // 8)
    yield tensor(f"{name}.scales", "F16", into // 128, out)


QWEN_7B = (28, 3584, 18944, 512, 152064)
QWEN_7B_PARAMETERS = 7_615_616_512  # as the model page of Qwen/Qwen2.5-7B-Instruct says


def test_an_ordinary_checkpoint() -> None:
    found = read_checkpoint(qwen2(*QWEN_7B, plain), facts("Qwen/Qwen2.5-7B-Instruct"))
    assert found.weights.parameters == QWEN_7B_PARAMETERS
    assert found.weights.bytes == 2 * QWEN_7B_PARAMETERS
    assert found.weights.by_dtype is None
    assert found.weights.dtype == "bfloat16"  # what config.json says
    assert (found.vision_parameters, found.left_out) == (None, {})


def test_packed_weights_are_counted_one_by_one() -> None:
    found = read_checkpoint(qwen2(*QWEN_7B, awq), facts("Qwen/Qwen2.5-7B-Instruct-AWQ")).weights
    assert found.parameters == QWEN_7B_PARAMETERS
    assert found.by_dtype == {
        "F16": 2_282_613_760,
        "I32": 3_288_133_632,
    }  # as its card has them, counted by hand
    assert found.bytes == 5_570_747_392
    assert (found.quantization, found.quantization_bits, found.group_size) == ("awq", 4, 128)


def gpt_oss_20b() -> Iterator[Tensor]:
    hidden, experts, vocab = 2880, 32, 201088
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        yield tensor(name, "BF16", vocab, hidden)
    yield tensor("model.norm.weight", "BF16", hidden)
    for i in range(24):
        here = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield tensor(f"{here}.{norm}.weight", "BF16", hidden)
        for name, out in (("q", 4096), ("k", 512), ("v", 512)):
            yield tensor(f"{here}.self_attn.{name}_proj.weight", "BF16", out, hidden)
            yield tensor(f"{here}.self_attn.{name}_proj.bias", "BF16", out)
        yield tensor(f"{here}.self_attn.o_proj.weight", "BF16", hidden, 4096)
        yield tensor(f"{here}.self_attn.o_proj.bias", "BF16", hidden)
        yield tensor(f"{here}.self_attn.sinks", "BF16", 64)
        yield tensor(f"{here}.mlp.router.weight", "BF16", experts, hidden)
        yield tensor(f"{here}.mlp.router.bias", "BF16", experts)
        for name, out in (("gate_up", 2 * hidden), ("down", hidden)):
            here_too = f"{here}.mlp.experts.{name}_proj"
            yield tensor(f"{here_too}_blocks", "U8", experts, out, 90, 16)
            yield tensor(f"{here_too}_scales", "U8", experts, out, 90)
            yield tensor(f"{here_too}_bias", "BF16", experts, out)


def test_mxfp4() -> None:
    found = read_checkpoint(gpt_oss_20b(), facts("openai/gpt-oss-20b")).weights
    assert found.bytes == 13_761_264_768  # total_size of its model.safetensors.index.json
    assert found.parameters == 20_914_757_184
    assert found.dtype == "bfloat16"  # config.json does not say it


def test_fp8_keeps_one_weight_a_byte() -> None:
    tensors = [
        tensor("model.layers.0.self_attn.q_proj.weight", "F8_E4M3", 2048, 1024),
        tensor("model.layers.0.self_attn.q_proj.weight_scale_inv", "F32", 16, 8),
        tensor("model.embed_tokens.weight", "BF16", 1000, 1024),
    ]
    found = read_checkpoint(tensors, facts("Qwen/Qwen3-235B-A22B-FP8")).weights
    assert found.parameters == 2048 * 1024 + 1000 * 1024
    assert found.by_dtype == {"BF16": 2_048_000, "F32": 512, "F8_E4M3": 2_097_152}


@pytest.mark.parametrize(
    ("model_id", "name", "loaded"),
    [
        ("deepseek-ai/DeepSeek-V3", "model.layers.60.mlp.gate.weight", True),
        ("deepseek-ai/DeepSeek-V3", "model.layers.61.embed_tokens.weight", False),
        ("Qwen/Qwen3.5-27B", "mtp.layers.0.mlp.up_proj.weight", False),
        ("Qwen/Qwen3.5-27B", "lm_head.weight", True),
        ("google/gemma-3-4b-it", "language_model.lm_head.weight", False),
        ("google/gemma-3-4b-it", "vision_tower.vision_model.encoder.layers.26.mlp.fc1.weight", True),
        ("google/gemma-3-4b-it", "audio_tower.layers.50.weight", True),
        ("meta-llama/Llama-2-70b-hf", "model.layers.0.self_attn.rotary_emb.inv_freq", False),
        ("tiiuae/falcon-7b-instruct", "lm_head.weight", False),
        ("openai-community/gpt2", "h.0.attn.bias", False),
        ("openai-community/gpt2", "h.0.attn.c_attn.bias", True),
    ],
)
def test_what_vllm_does_not_load_is_left_out(model_id: str, name: str, loaded: bool) -> None:
    found = read_checkpoint(
        [tensor(name, "BF16", 10), tensor("model.norm.weight", "BF16", 7)], facts(model_id)
    )
    assert found.weights.bytes == (34 if loaded else 14)
    assert sum(found.left_out.values()) == (0 if loaded else 20)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("visual.blocks.0.attn.qkv.weight", True),
        ("model.visual.merger.mlp.0.weight", True),
        ("vision_tower.transformer.layers.0.attention.q_proj.weight", True),
        ("model.vision_tower.encoder.x", True),
        ("multi_modal_projector.linear_1.weight", True),
        ("vision_model.encoder.layers.0.ls1", True),
        ("mlp1.0.weight", True),
        ("model.layers.0.mlp.down_proj.weight", False),
        ("language_model.model.embed_tokens.weight", False),
    ],
)
def test_parameters_of_the_image_encoder(name: str, seen: bool) -> None:
    found = read_checkpoint([tensor(name, "BF16", 11)], facts("meta-llama/Llama-4-Scout-17B-16E-Instruct"))
    assert found.vision_parameters == (11 if seen else None)


# Files


def write(path: Path, header: bytes, length: int | None = None) -> Path:
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + b"weights")
    return path


def test_a_file_is_read_no_further_than_its_header(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "model.norm.weight": {"dtype": "BF16", "shape": [64], "data_offsets": [0, 128]},
    }
    path = write(tmp_path / "model.safetensors", json.dumps(header).encode())
    assert tensors_of(read_header(path)) == (Tensor("model.norm.weight", "BF16", (64,), 128),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n",
        b"\x05\x00\x00\x00\x00\x00\x00\x00[1,2]",
        b"\x04\x00\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x01",
        b"\x09\x00\x00\x00\x00\x00\x00\x00{",
    ],
)
def test_what_is_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a safetensors file.*git lfs pull"):
        read_header(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        read_header(tmp_path / "model.safetensors")


@pytest.mark.parametrize("entry", [1, None, {}, {"dtype": "BF16", "shape": 3, "data_offsets": [0, 1]}])
def test_an_entry_that_is_no_tensor(entry: object) -> None:
    with pytest.raises(CheckpointError, match=r"m\.safetensors: the entry of tensor 'x' has no dtype"):
        tensors_of({"x": entry}, "m.safetensors")


def test_an_empty_checkpoint() -> None:
    with pytest.raises(CheckpointError, match="no tensors"):
        read_checkpoint([], facts("microsoft/phi-4"))
