"""The peak that vLLM measures in its start-up run, in bytes.

The run fills the batch (all sequences, all tokens), so the peak is either the sampler's (float copies of one logits
matrix) or the widest layer's, plus what stays alive beside it. Against the activations that published logs print:
V1 0.17 to 0.19, 62 rows, median error 0.005 GiB; V1 to 0.16, 15 rows, 0.005; V0, 21 rows, 0.02.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.cards import ModelCard
from infra.fit.accounting import Accounting
from infra.fit.types import GIB, MIB, Gpu, Options
from infra.fit.weights import quantization

# Encoder positions of Llama 3.2 Vision are padded to a multiple of 8 inside the encoder.
_PAD: Final = 8
# Live tensors of the encoder's hidden size: before its layers (patches, tile positions, their gated sum, the sum),
# and inside (residual, norm, the MLP's 4 wide twice, five kept layers).
_BEFORE_LAYERS: Final = 4
_IN_LAYERS: Final = 15
# V0 takes chunked prefill by itself for longer lengths than this.
_AUTOMATIC_CHUNKS: Final = 32768
_V0_FLOOR: Final = 2048
# Latent vectors that the start-up run may project up at once (vLLM 0.11 and later).
_MLA_SCRATCH: Final = 65536
# Qwen's encoders take two frames a patch and merge two by two patches into a token.
_FRAMES: Final = 2
_MERGED: Final = 4
# What an image takes where the card does not say: CLIP at 336 pixels, patches of 14.
_IMAGE_TOKENS: Final = 576


@dataclass(frozen=True)
class Batch:
    """The start-up run's batch: sequences and tokens."""

    sequences: int
    tokens: int


@dataclass(frozen=True)
class Peak:
    """The peak in bytes, and what it is made of.

    ``stages`` are name, bytes in use, size of the largest tensor; ``numbers`` the symbols of the formula; ``resident``
    is the sampler's state, ``sampler`` what a warm-up of the sampler needs after the cache is there, ``unit`` one
    logits matrix in float32, ``experts`` the experts' scratch whether it counts or not.
    """

    total: float
    stages: tuple[tuple[str, float, float], ...]
    numbers: tuple[tuple[str, str], ...]
    formula: str
    resident: float
    sampler: float
    unit: float
    experts: float


def batch(card: ModelCard, options: Options, rules: Accounting, length: int) -> Batch:
    """Return the batch of the start-up run.

    V0 runs prompts that sum to max(max_model_len, 2048) tokens, unless chunked prefill is on (by itself above 32768
    tokens without LoRA and images). V1 runs ``max_num_batched_tokens``.
    """
    sequences = options.max_num_seqs or rules.whole("max_num_seqs")
    if options.max_num_batched_tokens:
        tokens = options.max_num_batched_tokens
        return Batch(sequences if "V0" in rules.facts else min(sequences, tokens), tokens)
    if "V0" in rules.facts:
        return Batch(sequences, _v0_tokens(card, options, rules, length))
    tokens = rules.whole("max_num_batched_tokens")
    if rules.since("0.11.1"):
        tokens = min(tokens, sequences * length)
    if options.enable_chunked_prefill is False:
        tokens = max(tokens, length)
    # From 0.10.1 vLLM lowers the sequences to the batch.
    return Batch(min(sequences, tokens) if rules.since("0.10.1") else sequences, tokens)


def _v0_tokens(card: ModelCard, options: Options, rules: Accounting, length: int) -> int:
    plain = not (options.enable_lora or card.vision is not None or card.architecture.sliding_window)
    automatic = length > _AUTOMATIC_CHUNKS and plain
    if automatic if options.enable_chunked_prefill is None else options.enable_chunked_prefill:
        return rules.whole("prefill_chunk")
    floor = rules.whole("prefill_image_floor") if card.vision is not None else _V0_FLOOR
    return max(length, floor)


def peak(
    card: ModelCard,
    options: Options,
    gpu: Gpu,
    rules: Accounting,
    run: Batch,
    size: int,
    *,
    logits: bool = True,
) -> Peak:
    """Return the activation peak of the start-up run in bytes.

    Args:
        card: the model.
        options: vLLM's options.
        gpu: the GPU.
        rules: what the vLLM version does.
        run: the run's batch.
        size: bytes of the model's type.
        logits: whether the GPU's pipeline stage makes logits.
    """
    arch = card.architecture
    hidden, parallel, tokens = arch.hidden_size, options.tensor_parallel_size, run.tokens
    sequences = min(run.sequences, tokens)
    images = _images(card, options, rules, run)
    if "V0" in rules.facts and card.vision is not None and not arch.kinds.cross:
        sequences = max(1, min(sequences, tokens // _image_tokens(card)))
    unit = 4.0 * sequences * arch.vocab_size
    coefficient = rules.number("sampler")
    if size == 4:
        # Logits of a float32 model are twice as wide; a published 0.19 log agrees to 0.005 GiB.
        coefficient += 0.5
    cublas = rules.number("cublas") * MIB
    kept = float(tokens * hidden * size + sequences * hidden * size * rules.whole("picked_rows"))
    filter_bytes = 4.0 * min(gpu.multiprocessors, sequences) * arch.vocab_size if rules.on("filter") else 0.0
    sampler = coefficient * unit + filter_bytes + kept
    automatic = options.max_num_batched_tokens is None
    if (
        "V0" in rules.facts
        and automatic
        and tokens < length_of(card, options)
        and not rules.on("chunks_sample")
    ):
        sampler = 0.0
    inner = max(arch.intermediate_size or 4 * hidden, hidden)
    wide = (3 if arch.gated_mlp else 2) * inner / parallel
    dense = arch.experts is None or arch.experts.num_dense_layers > 0
    forward = float(tokens * ((wide if dense else 0) + 4 * hidden) * size)
    if eight_bit_activations(card, options):
        forward += float(tokens * (inner / parallel + 3 * hidden))
    workspace, transient = _experts(card, options, rules, run)
    forward += transient
    stages = _vision(card, run, size)
    if not logits:
        forward += 2.0 * tokens * hidden * size
        sampler = 0.0
    latent = _mla_scratch(card, options, rules, run, size)
    image_bytes = images * size
    extra = workspace + image_bytes + cublas
    encoder = _encoder(card, options, images, run, size)
    if encoder:
        stages.append(("image encoder", encoder + image_bytes + cublas, encoder / 2))
    stages.append(("layers", max(forward, latent) + extra, 2 * tokens * inner / parallel * size))
    stages.append(("sampler", sampler + extra if logits else 0.0, unit))
    compiling = rules.number("compile") * GIB
    total = max(stage[1] for stage in stages) + compiling
    resident = rules.number("resident") * unit if logits else 0.0
    formula = "max(c u + filter + hidden + rows, layers) + experts + images + cuBLAS + compiling"
    numbers = (
        ("S", str(sequences)),
        ("T", str(tokens)),
        ("u = 4 S V", _gib(unit)),
        ("c", f"{coefficient:g}"),
        ("c u", _gib(coefficient * unit if logits else 0.0)),
        ("filter", _gib(filter_bytes)),
        ("hidden + rows", _gib(kept)),
        ("layers", _gib(max(forward, latent))),
        ("experts", _gib(workspace)),
        ("images", _gib(image_bytes)),
        ("cuBLAS", _gib(cublas)),
        ("compiling", _gib(compiling)),
    )
    if rules.text("budget") == "reserved":
        total += min(rules.number("reserved") * total, rules.number("reserved_most") * GIB)
        formula = f"({formula}) + what torch keeps"
    warm = (3.5 * unit + filter_bytes + kept) if "V2" in rules.facts else sampler
    scratch = _expert_scratch(card, options, rules, run)
    return Peak(total, tuple(stages), numbers, formula, resident, warm, unit, scratch)


def length_of(card: ModelCard, options: Options) -> int:
    """Return ``max_model_len`` in force, tokens."""
    return options.max_model_len or card.architecture.max_position_embeddings


def eight_bit_activations(card: ModelCard, options: Options) -> bool:
    """Whether layers quantise what goes into them to eight bits, which takes a copy of one byte an element."""
    method = (quantization(card, options) or "").lower()
    bits = card.weights.quantization_bits
    words = ("w8a8", "fp8", "compressed", "modelopt", "fbgemm")
    return any(word in method for word in words) and bits in (None, 8)


def _gib(size: float) -> str:
    return f"{size / GIB:.3f} GiB"


def _experts(card: ModelCard, options: Options, rules: Accounting, run: Batch) -> tuple[float, float]:
    """Return the experts' scratch that stays, and that which goes with the layer, in bytes."""
    how = rules.text("moe_workspace")
    size = 0.0 if how == "none" else _expert_scratch(card, options, rules, run)
    return (size, 0.0) if how == "resident" else (0.0, size)


def _expert_scratch(card: ModelCard, options: Options, rules: Accounting, run: Batch) -> float:
    experts = card.architecture.experts
    if experts is None:
        return 0.0
    hidden = card.architecture.hidden_size
    width = experts.moe_intermediate_size / options.tensor_parallel_size
    chunk = rules.whole("moe_chunk")
    tokens = min(run.tokens, chunk) if chunk else run.tokens
    return float(tokens * experts.num_experts_per_tok * (max(width, hidden) + max(2 * width, hidden)) * 2)


def _mla_scratch(card: ModelCard, options: Options, rules: Accounting, run: Batch, size: int) -> float:
    mla = card.architecture.mla
    if mla is None or not rules.since("0.11.0") or "V0" in rules.facts:
        return 0.0
    rows = min(max(8 * length_of(card, options), 4 * run.sequences * 16), _MLA_SCRATCH)
    heads = card.architecture.num_attention_heads / options.tensor_parallel_size
    return rows * heads * (mla.qk_nope_head_dim + mla.v_head_dim) * size


def _image_tokens(card: ModelCard) -> int:
    vision = card.vision
    if vision is None:
        return 0
    return vision.max_tokens_per_image or vision.tokens_per_image or _IMAGE_TOKENS


def _images(card: ModelCard, options: Options, rules: Accounting, run: Batch) -> float:
    """Return the elements of encoder outputs and pixels that V1's run keeps alive through the text pass."""
    vision = card.vision
    if (
        vision is None
        or "V0" in rules.facts
        or not rules.on("image_profile")
        or options.images_per_prompt < 1
    ):
        return 0.0
    each = _image_tokens(card)
    budget = max(run.tokens, each)
    count = -(-budget // each) if rules.text("image_rounding") == "up" else max(budget // each, 1)
    count = min(count, run.sequences * options.images_per_prompt)
    rows = budget if rules.on("image_blow_up") else each
    pixels = 3.0 * (vision.image_size or 336) ** 2 * (vision.max_num_tiles or 1)
    return count * (rows * card.architecture.hidden_size + pixels)


def _encoder(card: ModelCard, options: Options, images: float, run: Batch, size: int) -> float:
    """Return the bytes of an encoder's own peak in V1: pixels, one hidden state and one MLP for every patch.

    A published series of Qwen2-VL (0.28) grows by 60 KiB a token of the largest image, which is this. No image is
    longer than ``max_model_len``.
    """
    vision = card.vision
    if not images or vision is None or not (vision.hidden_size and vision.patch_size):
        return 0.0
    each = min(_image_tokens(card), length_of(card, options))
    patches = (vision.image_size // vision.patch_size) ** 2 if vision.image_size else _MERGED * each
    count = max(run.tokens // each, 1)
    inner = vision.intermediate_size or 4 * vision.hidden_size
    width = _FRAMES * 3 * vision.patch_size**2 + vision.hidden_size + inner
    return float(count * patches * width * size)


def _vision(card: ModelCard, run: Batch, size: int) -> list[tuple[str, float, float]]:
    """Return the stages of Llama 3.2 Vision's encoder in V0: one largest image for every sequence, all at once."""
    vision = card.vision
    if vision is None or not card.architecture.kinds.cross:
        return []
    if not (vision.image_size and vision.patch_size and vision.hidden_size):
        return []
    tiles = vision.max_num_tiles or 1
    # The images arrive as float32 and stay while their copy in the model's type is used.
    pixels = float(run.sequences * tiles * 3 * vision.image_size**2 * (4 + size))
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    tensor = float(run.sequences * tiles * patches * vision.hidden_size * size)
    padded = float(run.sequences * tiles * (-(-patches // _PAD) * _PAD) * vision.hidden_size * size)
    side = tiles * (-(-patches // _PAD) * _PAD)
    mask = float(run.sequences * side * side * size)
    return [
        ("image patches", pixels + _BEFORE_LAYERS * tensor, tensor),
        ("image mask", pixels + (_BEFORE_LAYERS + 1) * tensor + 2 * mask, mask),
        ("image encoder", pixels + mask + _IN_LAYERS * padded, 4 * padded),
    ]
