"""Bytes that the weights take on one GPU.

The sum over the tensors as vLLM fuses them (query, key and value in one; gate and up in one), each rounded as
PyTorch's allocator rounds: up to 512 bytes, and from 10 MiB to a multiple of 2 MiB where that adds at most 1 MiB.
Checked against 56 published 16-bit loads of vLLM 0.4 to 0.19: 50 of them within 0.0065 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from infra.cards import Architecture, ModelCard
from infra.fit.accounting import Accounting
from infra.fit.types import GIB, MIB, Options
from infra.versions import version_key

_SIZES: Final = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
# Encoders that vLLM repeats on every GPU; the others are split like the language model.
_REPEATED_VISION: Final = frozenset({"Mistral3ForConditionalGeneration", "PixtralForConditionalGeneration"})
# Without rotary tables: positions are learned (OPT, GPT-2), or biases (MPT, BLOOM).
_LEARNED_POSITIONS: Final = frozenset({"OPTForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM"})
_NO_ROTARY: Final = _LEARNED_POSITIONS | {"BloomForCausalLM", "MPTForCausalLM", "JambaForCausalLM"}
# A count nearer to the published one than this is right but for biases and norms.
_EXACT: Final = 0.0003
# A checkpoint's size nearer to its shapes' than this is right but for scales.
_TRUSTED: Final = 0.02
# gpt-oss: the MXFP4 kernels pad the experts' 2880 on one side to 3072; published loads of 0.11 and 0.19.
_MXFP4_PADDING: Final = 3072 / 2880


@dataclass(frozen=True)
class Tensor:
    """Tensors of one shape on one GPU: ``elements`` of one, how many (``count``), and what they are.

    ``kind`` is ``linear`` (quantised with the checkpoint), ``expert`` (likewise), ``embedding`` or ``other``.
    """

    elements: float
    count: float
    kind: str


@dataclass(frozen=True)
class Loaded:
    """What one GPU holds after loading, in bytes; ``parts`` are named shares, ``basis`` says how they were found."""

    total: float
    parts: tuple[tuple[str, float], ...]
    basis: str


def element_bytes(card: ModelCard, options: Options) -> int:
    """Return the bytes of an unquantised weight: ``auto`` keeps the checkpoint's type, but float32 is loaded halved."""
    if options.dtype != "auto":
        return _SIZES.get(options.dtype, 2)
    return 2


def quantization(card: ModelCard, options: Options) -> str | None:
    """Return the method: the flag's, else the checkpoint's."""
    return options.quantization or card.weights.quantization


@lru_cache(maxsize=256)
def _bytes_each(method: str | None, bits: int | None, group: int | None) -> float:
    """Return the bytes of one quantised weight, scales and zeros included."""
    if method is None:
        return 2.0
    name = method.lower()
    width = bits or _bits(name)
    if "bitsandbytes" in name or "bnb" in name:
        return width / 8 + (1 / 64 + 4 / 16384 if width == 4 else 0)
    if "mxfp4" in name:
        return 17 / 32
    if "nvfp4" in name or "modelopt_fp4" in name:
        return 9 / 16
    if width >= 8:
        grouped = "gptq" in name or "awq" in name
        return width / 8 + (2 / (group or 128) if grouped else 4 / 16384)
    zeros = width / 8 if "marlin" not in name or "awq" in name else 0.0
    return width / 8 + (2 + zeros) / (group or 128)


def _bits(name: str) -> int:
    for digits, width in (("int8", 8), ("w8", 8), ("8bit", 8), ("int3", 3), ("2bit", 2), ("aqlm", 2)):
        if digits in name:
            return width
    if any(word in name for word in ("fp8", "fbgemm", "8-bit")):
        return 8
    if any(
        word in name for word in ("awq", "gptq", "int4", "w4", "4-bit", "4bit", "bitsandbytes", "bnb", "fp4")
    ):
        return 4
    return 8 if "compressed" in name or "modelopt" in name else 4


def shapes(
    arch: Architecture, parallel: int, *, first: bool = True, last: bool = True, layers: float | None = None
) -> Iterator[Tensor]:
    """Yield the language model's tensors on one GPU.

    Args:
        arch: the architecture.
        parallel: tensor parallel size.
        first: whether the GPU's pipeline stage holds the embedding.
        last: whether it holds the output matrix.
        layers: layers of the stage; all when None.
    """
    hidden = arch.hidden_size
    table = -(-arch.vocab_size // 64) * 64 / parallel * hidden
    if first or (last and arch.tie_word_embeddings):
        yield Tensor(table, 1, "embedding")
    if last and not arch.tie_word_embeddings:
        yield Tensor(table, 1, "embedding")
    if first and arch.name in _LEARNED_POSITIONS:
        yield Tensor(arch.max_position_embeddings * hidden, 1, "other")
    share = 1.0 if layers is None else layers / arch.num_hidden_layers
    yield Tensor(hidden, 2 * arch.num_hidden_layers * share + 1, "other")
    for kind, count in arch.kinds.items():
        if kind in ("mamba", "linear"):
            yield from _state_layer(arch, parallel, count * share)
        elif kind != "none" or not (arch.kinds.mamba or arch.kinds.linear):
            yield from _attention(arch, parallel, count * share, full=kind in ("full", "cross"))
    yield from _mlp(arch, parallel, share)


def _attention(arch: Architecture, parallel: int, count: float, *, full: bool) -> Iterator[Tensor]:
    hidden = arch.hidden_size
    heads = arch.num_attention_heads / parallel
    if arch.mla is not None:
        mla = arch.mla
        width = mla.qk_nope_head_dim + mla.qk_rope_head_dim
        if mla.q_lora_rank:
            yield Tensor(hidden * mla.q_lora_rank, count, "linear")
            yield Tensor(mla.q_lora_rank * heads * width, count, "linear")
        else:
            yield Tensor(hidden * heads * width, count, "linear")
        yield Tensor(hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim), count, "linear")
        yield Tensor(mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim), count, "linear")
        yield Tensor(heads * mla.v_head_dim * hidden, count, "linear")
        return
    width, kv_heads = arch.head_dim, arch.num_key_value_heads
    if full:
        width = arch.full_head_dim or width
        kv_heads = arch.full_num_key_value_heads or kv_heads
    value = arch.v_head_dim or width
    each = max(kv_heads / parallel, 1)
    yield Tensor(hidden * (heads * width + each * (width + value)), count, "linear")
    yield Tensor(heads * value * hidden, count, "linear")


def _state_layer(arch: Architecture, parallel: int, count: float) -> Iterator[Tensor]:
    state = arch.state
    if state is None:
        return
    inner = state.num_heads * state.head_dim
    hidden = arch.hidden_size
    gates = state.num_heads * (2 if arch.kinds.linear else 1)
    yield Tensor(hidden * (inner + state.conv_channels + gates) / parallel, count, "linear")
    yield Tensor(inner * hidden / parallel, count, "linear")
    yield Tensor(state.conv_channels * state.conv_kernel / parallel, count, "other")


def _mlp(arch: Architecture, parallel: int, share: float) -> Iterator[Tensor]:
    hidden, experts, kinds = arch.hidden_size, arch.experts, arch.kinds
    layers = arch.num_hidden_layers
    if kinds.none and (kinds.mamba or kinds.linear):
        # Nemotron-H: a layer is a state, attention or an MLP; elsewhere every layer has an MLP.
        layers = kinds.none
    dense = layers if experts is None else experts.num_dense_layers
    # Without an ordinary MLP's width in the card: four times the hidden size, as in GPT-2.
    inner = arch.intermediate_size or 4 * hidden
    up = 2 if arch.gated_mlp else 1
    if dense:
        yield Tensor(up * inner * hidden / parallel, dense * share, "linear")
        yield Tensor(inner * hidden / parallel, dense * share, "linear")
    if experts is not None:
        sparse = (layers - dense) * share
        each = experts.num_experts * experts.moe_intermediate_size * hidden / parallel
        yield Tensor(up * each, sparse, "expert")
        yield Tensor(each, sparse, "expert")
        yield Tensor(experts.num_experts * hidden, sparse, "other")
        if experts.shared_intermediate_size:
            shared = experts.shared_intermediate_size * hidden / parallel
            yield Tensor(up * shared, sparse, "linear")
            yield Tensor(shared, sparse, "linear")


@lru_cache(maxsize=512)
def counted_parameters(arch: Architecture) -> float:
    """Return the language model's parameters, counted from its shapes; biases and odd parts are not in it."""
    padding = (-(-arch.vocab_size // 64) * 64 - arch.vocab_size) * arch.hidden_size
    tables = 1 if arch.tie_word_embeddings else 2
    return sum(tensor.elements * tensor.count for tensor in shapes(arch, 1)) - padding * tables


def loaded(card: ModelCard, options: Options, version: str, stage: int = 0) -> Loaded:
    """Return what one GPU of a pipeline stage holds after loading.

    Weights by shape; where the shapes do not add up to the published parameters, these, shared out as the shapes are;
    of a quantised checkpoint its size likewise, where it is more than 2 % off. To that come the rotary table, an image
    encoder, and LoRA slots where they count.

    Args:
        card: the model.
        options: vLLM's options.
        version: vLLM's version.
        stage: the pipeline stage, from 0.
    """
    arch = card.architecture
    parallel, stages = options.tensor_parallel_size, options.pipeline_parallel_size
    size = element_bytes(card, options)
    method = quantization(card, options)
    each = _bytes_each(method, card.weights.quantization_bits, card.weights.group_size)
    if method is None:
        each = float(size)
    experts_only = method is not None and "mxfp4" in method
    layers = layers_of(arch.num_hidden_layers, stages, stage)
    first, last = stage == 0, stage == stages - 1
    sums = {"linear": 0.0, "expert": 0.0, "embedding": 0.0, "other": 0.0}
    for tensor in shapes(arch, parallel, first=first, last=last, layers=layers):
        width = float(size)
        if tensor.kind == "expert" or (tensor.kind == "linear" and not experts_only):
            width = each
        padded = _MXFP4_PADDING if tensor.kind == "expert" and experts_only else 1.0
        sums[tensor.kind] += _rounded(tensor.elements * width * padded) * tensor.count
    text = sum(sums.values())
    vision = _vision_bytes(card, size, parallel) if first else 0.0
    basis = "shapes"
    factor = _correction(card, method, each, size)
    if factor is not None:
        text *= factor
        sums = {name: value * factor for name, value in sums.items()}
        basis = "checkpoint size"
    extra_gib = 0.0
    if experts_only:
        extra_gib = Accounting(version, frozenset()).number("mxfp4_extra")
    if arch.mla is not None:
        extra_gib += Accounting(version, frozenset()).number("mla_extra")
    parts = [
        ("kernels' scratch", extra_gib * GIB),
        ("layers", sums["linear"] + sums["other"]),
        ("experts", sums["expert"]),
        ("embedding and output matrices", sums["embedding"]),
        ("image encoder", vision),
        ("rotary table", rotary_bytes(card, options)),
    ]
    if options.enable_lora:
        extra = vocabulary(card, options, version) - -(-arch.vocab_size // 64) * 64
        parts.append(("LoRA vocabulary", extra / parallel * arch.hidden_size * size * 2))
        if _lora_in_weights(version):
            parts.append(("LoRA slots", lora_bytes(card, options, version)))
    kept = tuple((name, value) for name, value in parts if value)
    return Loaded(sum(value for _, value in kept), kept, basis)


def layers_of(layers: int, stages: int, stage: int) -> int:
    """Return the layers of a pipeline stage: as even as can be, what is left over to the middle stages, last first."""
    share, rest = divmod(layers, stages)
    extra = [0] * stages
    for index in range(rest):
        extra[(stages - 2 - index) % stages] += 1
    return share + extra[stage]


def _correction(card: ModelCard, method: str | None, each: float, size: int) -> float | None:
    """Return by what the shapes' bytes must be multiplied, None when they are right as they are."""
    counted = counted_parameters(card.architecture)
    vision = (card.vision.parameters or 0) if card.vision is not None else 0
    weights = card.weights
    if method is not None and method == weights.quantization and weights.bytes is not None:
        return _by_size(card, method, each, size)
    known = weights.parameters
    if known is None and weights.quantization is None and weights.bytes is not None:
        known = weights.bytes // (4 if weights.dtype == "float32" else 2)
    if known is not None:
        if abs(counted + vision - known) <= _EXACT * known:
            return None
        return max((known - vision) / counted, 0.01)
    return None


def _by_size(card: ModelCard, method: str, each: float, size: int) -> float | None:
    """Return the factor between a quantised checkpoint's size and what its shapes make of it; None when they agree."""
    vision = (card.vision.parameters or 0) if card.vision is not None else 0
    experts_only = "mxfp4" in method
    whole = 0.0
    for tensor in shapes(card.architecture, 1):
        quantised = tensor.kind == "expert" or (tensor.kind == "linear" and not experts_only)
        whole += tensor.elements * tensor.count * (each if quantised else size)
    factor = ((card.weights.bytes or 0) - vision * size) / whole
    return None if abs(factor - 1) <= _TRUSTED else max(factor, 0.01)


def _vision_bytes(card: ModelCard, size: int, parallel: int) -> float:
    if card.vision is None or not card.vision.parameters:
        return 0.0
    split = 1 if card.architecture.name in _REPEATED_VISION else parallel
    return card.vision.parameters * size / split


def vocabulary(card: ModelCard, options: Options, version: str) -> int:
    """Return the vocabulary as allocated: padded to 64; with LoRA up to 0.11.2 256 rows more an adapter, to 256."""
    size = card.architecture.vocab_size
    if options.enable_lora and version_key(version) < version_key("0.11.3"):
        size += 256 * options.max_loras
        return -(-size // 256) * 256
    return -(-size // 64) * 64


def rotary_bytes(card: ModelCard, options: Options) -> float:
    """Return the rotary table's bytes: one row of the rotated width for every position, in the weights' type."""
    arch = card.architecture
    if arch.name in _NO_ROTARY:
        return 0.0
    width = arch.rotary_dim if arch.rotary_dim is not None else arch.head_dim
    if arch.mla is not None:
        width = arch.mla.qk_rope_head_dim
    rows = arch.rotary_positions or max(arch.max_position_embeddings, options.max_model_len or 0)
    return float(rows * width * element_bytes(card, options))


def lora_bytes(card: ModelCard, options: Options, version: str) -> float:
    """Return the bytes of the LoRA slots: every supported module has buffers, whatever an adapter uses.

    Experts have them from 0.11.1 on (vllm-project/vllm pull request 21229; read in ``lora/layers/fused_moe.py`` of
    0.32.0): every expert of every layer, so a gigabyte and more a slot.
    """
    arch = card.architecture
    parallel = options.tensor_parallel_size
    hidden, width = arch.hidden_size, arch.head_dim
    inner = arch.intermediate_size or 4 * hidden
    attention = 2 * arch.num_attention_heads * width + 2 * arch.num_key_value_heads * width
    layers, experts = arch.num_hidden_layers, arch.experts
    dense = layers if experts is None else experts.num_dense_layers
    widths = layers * (4 * hidden + attention / parallel) + dense * 3 * (hidden + inner / parallel)
    if experts is not None and version_key(version) >= version_key("0.11.1"):
        each = 3 * (hidden + experts.moe_intermediate_size / parallel)
        widths += (layers - dense) * experts.num_experts * each
    if experts is not None and experts.shared_intermediate_size:
        widths += (layers - dense) * 3 * (hidden + experts.shared_intermediate_size / parallel)
    embeddings = 2 * (arch.vocab_size + hidden)
    slots = options.max_loras * options.max_lora_rank
    return 2.0 * slots * (widths + embeddings)


def _lora_in_weights(version: str) -> bool:
    return (
        True if version_key(version) >= version_key("0.8.0") else version_key(version) < version_key("0.7.0")
    )


def weights_gib(card: ModelCard, options: Options, version: str) -> float:
    """Return the GiB that one GPU (of the first pipeline stage) holds after loading."""
    return loaded(card, options, version).total / GIB


def _rounded(count: float) -> float:
    up = -(-count // 512) * 512
    if up < 10 * MIB:
        return up
    even = -(-up // (2 * MIB)) * 2 * MIB
    return even if even - up <= MIB else up
