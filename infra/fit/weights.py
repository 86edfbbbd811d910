"""Bytes that the weights take on one GPU.

The sum over the tensors as vLLM fuses them (query, key and value in one; gate and up in one), each rounded as
PyTorch's allocator rounds: up to 512 bytes, and from 10 MiB to a multiple of 2 MiB where that adds at most 1 MiB.
"""

from __future__ import annotations

from typing import Final

from infra.fit.types import GIB, MIB, Model, Options
from infra.versions import version_key

_SIZES: Final = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}


def element_bytes(model: Model, options: Options, version: str) -> int:
    """Return the bytes of an unquantised weight: ``auto`` keeps the checkpoint's type, but float32 is loaded halved."""
    if options.dtype != "auto":
        return _SIZES.get(options.dtype, 2)
    return 2


def weights_gib(model: Model, options: Options, version: str) -> float:
    """Return the GiB that one GPU holds after loading: weights, rotary table, LoRA buffers where they count.

    A quantised checkpoint is known by its size only: its bytes are shared out evenly, embeddings and all.
    """
    parallel = options.tensor_parallel_size * options.pipeline_parallel_size
    size = element_bytes(model, options, version)
    if model.weights.quantization and model.weights.bytes:
        loaded = model.weights.bytes / parallel
    elif model.architecture.experts and model.weights.bytes:
        # Expert shapes are not in the card: the checkpoint's own size, shared out.
        loaded = model.weights.bytes * size / 2 / parallel
    else:
        loaded = _dense_bytes(model, options, version, size)
    loaded += _rotary_bytes(model)
    if options.enable_lora:
        loaded += lora_bytes(model, options)
    return loaded / GIB


def _dense_bytes(model: Model, options: Options, version: str, size: int) -> float:
    arch = model.architecture
    parallel = options.tensor_parallel_size
    hidden, width = arch.hidden_size, arch.head_dim
    heads = arch.num_attention_heads / parallel
    kv_heads = max(arch.num_key_value_heads / parallel, 1)
    inner = (arch.intermediate_size or 4 * hidden) / parallel
    layer = sum(
        _rounded(count * size)
        for count in (
            hidden * (heads + 2 * kv_heads) * width,
            heads * width * hidden,
            2 * inner * hidden,
            inner * hidden,
            hidden,
            hidden,
        )
    )
    layers = arch.num_hidden_layers / options.pipeline_parallel_size
    table = _rounded(vocabulary(model, options, version) / parallel * hidden * size)
    embeddings = table * (1 if arch.tie_word_embeddings else 2) / options.pipeline_parallel_size
    vision = 0.0
    if model.vision is not None and model.vision.parameters:
        vision = model.vision.parameters * size / parallel
    return layers * layer + embeddings + _rounded(hidden * size) + vision


def vocabulary(model: Model, options: Options, version: str) -> int:
    """Return the vocabulary as allocated: padded to 64; with LoRA up to 0.11.2 256 rows more an adapter, to 256."""
    size = model.architecture.vocab_size
    if options.enable_lora and version_key(version) < version_key("0.11.3"):
        size += 256 * options.max_loras
        return -(-size // 256) * 256
    return -(-size // 64) * 64


def _rotary_bytes(model: Model) -> float:
    """Return the rotary table's bytes: one row of the head's width for every position, two bytes each."""
    return model.architecture.max_position_embeddings * model.architecture.head_dim * 2


def lora_bytes(model: Model, options: Options) -> float:
    """Return the bytes of the LoRA slots: every supported module has buffers, whatever an adapter uses."""
    arch = model.architecture
    parallel = options.tensor_parallel_size
    hidden, width = arch.hidden_size, arch.head_dim
    inner = arch.intermediate_size or 4 * hidden
    attention = 2 * arch.num_attention_heads * width + 2 * arch.num_key_value_heads * width
    layer = 7 * hidden + (attention + 3 * inner) / parallel
    embeddings = 2 * (arch.vocab_size + hidden)
    slots = options.max_loras * options.max_lora_rank
    return 2 * slots * (arch.num_hidden_layers * layer + embeddings)


def _rounded(count: float) -> float:
    up = -(-count // 512) * 512
    if up < 10 * MIB:
        return up
    even = -(-up // (2 * MIB)) * 2 * MIB
    return even if even - up <= MIB else up
