"""The peak that vLLM measures in its start-up run, in bytes.

The run fills the batch (all sequences, all tokens), so the peak is either the sampler's (float copies of one logits
matrix) or the widest layer's, plus what stays alive beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.fit.types import GIB, MIB, Gpu, Model, Options
from infra.fit.versions import CUBLAS, CUBLAS_HOPPER, RESERVED, Era
from infra.versions import version_key

# torch sorts fewer than 128 rows with another algorithm that needs 12.5 instead of 9.5 units.
_SMALL_SORT: Final = 12.5
_SORT: Final = 9.5
# Encoder positions of Llama 3.2 Vision are padded to a multiple of 8 inside the encoder.
_PAD: Final = 8
# Live tensors of the encoder's hidden size: before its layers (patches, tile positions, their gated sum, the sum),
# and inside (residual, norm, the MLP's 4 wide twice, five kept layers).
_BEFORE_LAYERS: Final = 4
_IN_LAYERS: Final = 15


@dataclass(frozen=True)
class Batch:
    """The start-up run's batch: sequences and tokens."""

    sequences: int
    tokens: int


@dataclass(frozen=True)
class Peak:
    """The peak in bytes, and the stages that it is made of: name, bytes in use, size of the largest tensor."""

    total: float
    stages: tuple[tuple[str, float, float], ...]


def batch(model: Model, options: Options, version: str, engine: str, gpu: Gpu, length: int) -> Batch:
    """Return the batch of the start-up run.

    V0 runs prompts that sum to max(max_model_len, 2048) tokens, unless chunked prefill is on (by itself above 32768
    tokens without LoRA and images). V1 runs ``max_num_batched_tokens``.
    """
    sequences = options.max_num_seqs or default_sequences(options, version, engine, gpu)
    if options.max_num_batched_tokens:
        return Batch(sequences, options.max_num_batched_tokens)
    if engine == "V0":
        automatic = length > 32768 and not options.enable_lora and model.vision is None
        chunked = automatic if options.enable_chunked_prefill is None else options.enable_chunked_prefill
        floor = 2048
        if model.vision is not None:
            floor = 5120 if version_key(version) >= version_key("0.6.3") else 4096
        small = 2048 if version_key(version) >= version_key("0.6.5") else 512
        return Batch(sequences, small if chunked else max(length, floor))
    tokens = 8192 if _large(gpu, version) and options.usage == "openai" else 2048
    if version_key(version) >= version_key("0.11.1"):
        tokens = min(tokens, sequences * length)
    if options.enable_chunked_prefill is False:
        tokens = max(tokens, length)
    return Batch(
        min(sequences, tokens) if version_key(version) >= version_key("0.10.1") else sequences, tokens
    )


def default_sequences(options: Options, version: str, engine: str, gpu: Gpu) -> int:
    """Return vLLM's default of ``max_num_seqs``."""
    if engine == "V0":
        return 256
    if options.usage != "openai" and version_key(version) >= version_key("0.9.2"):
        return 128
    if version_key(version) < version_key("0.8.4"):
        return 1024
    return 1024 if _large(gpu, version) else 256


def _large(gpu: Gpu, version: str) -> bool:
    """Say whether vLLM takes its large defaults: 70 GiB and more, from 0.9 not on an A100."""
    if version_key(version) < version_key("0.8.5"):
        return gpu.hopper_or_later and gpu.total >= 70
    return gpu.total >= 70 and ("A100" not in gpu.name or version_key(version) < version_key("0.9.0"))


def peak(model: Model, options: Options, gpu: Gpu, era: Era, run: Batch, size: int) -> Peak:
    """Return the activation peak of the start-up run in bytes, the greatest of its stages."""
    arch = model.architecture
    hidden, parallel = arch.hidden_size, options.tensor_parallel_size
    unit = 4.0 * run.sequences * arch.vocab_size
    coefficient = _SMALL_SORT if era.sampler == _SORT and 2 <= run.sequences < 128 else era.sampler
    cublas = (CUBLAS_HOPPER if gpu.hopper_or_later else CUBLAS) * MIB
    kept = float(run.tokens * hidden * size + run.sequences * hidden * size)
    if era.triton_filter:
        kept += 4.0 * min(gpu.multiprocessors, run.sequences) * arch.vocab_size
    sampler = coefficient * unit + kept
    inner = arch.intermediate_size or 4 * hidden
    forward = run.tokens * (3 * inner / parallel + 4 * hidden) * size
    stages = _vision(model, run, size)
    stages.append(("layers", forward + cublas, 2 * run.tokens * inner / parallel * size))
    stages.append(("sampler", sampler + cublas, unit))
    total = max(stage[1] for stage in stages) + era.resident * unit
    if era.reserved:
        share, most = RESERVED
        total += min(share * total, most * GIB)
    return Peak(total, tuple(stages))


def _vision(model: Model, run: Batch, size: int) -> list[tuple[str, float, float]]:
    """Return the stages of Llama 3.2 Vision's encoder in V0: one largest image for every sequence, all at once."""
    vision = model.vision
    if vision is None or not model.architecture.kinds.cross:
        return []
    if not (vision.image_size and vision.patch_size and vision.hidden_size):
        return []
    tiles = vision.max_num_tiles or 1
    # The images arrive as float32 and stay while their copy in the model's type is used.
    pixels = float(run.sequences * tiles * 3 * vision.image_size**2 * (4 + size))
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    tensor = float(run.sequences * tiles * patches * vision.hidden_size * size)
    padded = float(run.sequences * tiles * (-(-patches // _PAD) * _PAD) * vision.hidden_size * size)
    return [
        ("image patches", pixels + _BEFORE_LAYERS * tensor, tensor),
        ("image encoder", pixels + _IN_LAYERS * padded, 4 * padded),
    ]


def gib(size: float) -> float:
    """Turn bytes into GiB."""
    return size / GIB
