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
from infra.fit.cache import state_elements
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
_GRAPH_STEP: Final = 8
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
    automatic = length > _AUTOMATIC_CHUNKS and plain and rules.on("chunks_automatic")
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
    hidden, cublas = card.architecture.hidden_size, rules.number("cublas") * MIB
    sampling = _sampling(card, options, gpu, rules, run, size)
    layers, widest = _layers(card, options, rules, run, size)
    if not logits:
        # A stage that passes hidden states on keeps two of them.
        layers += 2.0 * run.tokens * hidden * size
    workspace = _expert_scratch(card, options, rules, run)
    resident_experts = workspace if rules.text("moe_workspace") == "resident" else 0.0
    images = _images(card, options, rules, run) * size
    states = _states(card, options, rules, run, size)
    extra = resident_experts + images + cublas + states
    stages = _vision(card, run, size)
    encoder = _encoder(card, options, images, run, size)
    if encoder:
        stages.append(("image encoder", encoder + images + cublas, encoder / 2))
    stages.append(("layers", layers + extra, widest))
    stages.append(("sampler", sampling.total + extra if logits else 0.0, sampling.unit))
    compiling = rules.number("compile") * GIB
    total = max(stage[1] for stage in stages) + compiling
    reserved = 0.0
    if rules.text("budget") == "reserved":
        reserved = min(rules.number("reserved") * total, rules.number("reserved_most") * GIB)
    numbers = (
        ("S", str(sampling.sequences)),
        ("T", str(run.tokens)),
        ("u = 4 S V", _gib(sampling.unit)),
        ("c", f"{sampling.coefficient:g}"),
        ("c u", _gib(sampling.sorting if logits else 0.0)),
        ("filter", _gib(sampling.filter)),
        ("hidden + rows", _gib(sampling.kept)),
        ("layers", _gib(layers)),
        *((name, _gib(bytes_)) for name, bytes_, _ in stages if name.startswith("image")),
        ("experts", _gib(resident_experts)),
        ("images", _gib(images)),
        ("states", _gib(states)),
        ("cuBLAS", _gib(cublas)),
        ("compiling", _gib(compiling)),
        ("kept by torch", _gib(reserved)),
    )
    return Peak(
        total + reserved,
        tuple(stages),
        tuple((name, value) for name, value in numbers if value != _gib(0.0)),
        "max(c u + filter + hidden + rows, layers, image stages) + experts + images + states + cuBLAS + compiling"
        " + kept by torch",
        rules.number("resident") * sampling.unit if logits else 0.0,
        sampling.warm_up if logits else 0.0,
        sampling.unit,
        workspace,
    )


@dataclass(frozen=True)
class _Sampling:
    """The sampler's peak in bytes: ``coefficient`` matrices of ``unit`` bytes, a buffer, and what stays alive."""

    sequences: int
    unit: float
    coefficient: float
    filter: float
    kept: float
    warm_up: float
    runs: bool

    @property
    def sorting(self) -> float:
        """Copies of the logits."""
        return self.coefficient * self.unit if self.runs else 0.0

    @property
    def total(self) -> float:
        """All of it; nothing where the run samples nothing."""
        return self.sorting + self.filter + self.kept if self.runs else 0.0


def _sampling(
    card: ModelCard, options: Options, gpu: Gpu, rules: Accounting, run: Batch, size: int
) -> _Sampling:
    arch, v0 = card.architecture, "V0" in rules.facts
    sequences = min(run.sequences, run.tokens)
    if v0 and card.vision is not None and not arch.kinds.cross:
        # V0 cuts the sequences to as many as have room for an image each.
        sequences = max(1, min(sequences, run.tokens // _image_tokens(card)))
    unit = 4.0 * sequences * arch.vocab_size
    # Logits of a float32 model are twice as wide; a published 0.19 log agrees to 0.005 GiB.
    coefficient = rules.number("sampler") + (0.5 if size == 4 else 0.0)
    rows = sequences * arch.hidden_size * size * rules.whole("picked_rows")
    kept = float(run.tokens * arch.hidden_size * size + rows)
    filter_bytes = 4.0 * min(gpu.multiprocessors, sequences) * arch.vocab_size if rules.on("filter") else 0.0
    cut = options.max_num_batched_tokens is None and run.tokens < length_of(card, options)
    runs = not (v0 and cut and not rules.on("chunks_sample"))
    warm_up = rules.number("warm_up") * unit + filter_bytes + kept
    return _Sampling(sequences, unit, coefficient, filter_bytes, kept, warm_up, runs)


def _layers(
    card: ModelCard, options: Options, rules: Accounting, run: Batch, size: int
) -> tuple[float, float]:
    """Return the widest layer's peak, and its largest tensor, in bytes."""
    arch, parallel, tokens = card.architecture, options.tensor_parallel_size, run.tokens
    hidden = arch.hidden_size
    inner = max(arch.intermediate_size or 4 * hidden, hidden) / parallel
    dense = arch.experts is None or arch.experts.num_dense_layers > 0
    wide = (3 if arch.gated_mlp else 2) * inner if dense else 0.0
    forward = float(tokens * (wide + 4 * hidden) * size)
    if eight_bit_activations(card, options):
        forward += float(tokens * (inner + 3 * hidden))
    if rules.text("moe_workspace") == "transient":
        forward += _expert_scratch(card, options, rules, run)
    return max(forward, _mla_scratch(card, options, rules, run, size)), 2 * tokens * inner * size


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


def _states(card: ModelCard, options: Options, rules: Accounting, run: Batch, size: int) -> float:
    """Return the bytes of V0's buffer of states: one for each of ``max_num_seqs``, in the model's type.

    V0 makes it in the start-up run, beside the KV cache, where V1 takes a request's states from the cache's blocks.
    """
    arch = card.architecture
    if arch.state is None or "V0" not in rules.facts:
        return 0.0
    layers = arch.kinds.mamba + arch.kinds.linear or arch.num_hidden_layers
    # As many as the CUDA graph of the next size takes.
    sequences = -(-run.sequences // _GRAPH_STEP) * _GRAPH_STEP
    elements = state_elements(arch.state, options.tensor_parallel_size)
    return float(layers / options.pipeline_parallel_size * sequences * sum(elements) * size)


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
