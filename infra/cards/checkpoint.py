"""Reads the headers of safetensors files: parameters and bytes of a checkpoint, as vLLM would load it.

A safetensors file begins with a table of its tensors, so what a checkpoint weighs is known from a few kilobytes of it.
Tensors that vLLM does not load are left out: layers for multi-token prediction, an output matrix that is the
input's, tables that are computed. In quantised checkpoints the packed weights are counted one by one and scales are not
counted. Pure, but for :func:`read_header`, which reads the beginning of a file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.cards.config import ConfigFacts
from infra.cards.families import Dtype
from infra.cards.types import Weights

__all__ = ["Checkpoint", "CheckpointError", "Tensor", "read_checkpoint", "read_header", "tensors_of"]

_LARGEST_HEADER: Final = 100_000_000  # bytes, as in the safetensors format's own reader


class CheckpointError(Exception):
    """What should be a safetensors file, its header or its index is not; the text says which file and what to do."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint: its safetensors type (``BF16``, ``F8_E4M3``, ...), its shape, its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint weighs.

    ``vision_parameters`` are those of image encoder and projector (None: there are none). ``left_out`` are the bytes
    that the files have and vLLM does not load, by the reason.
    """

    weights: Weights
    vision_parameters: int | None
    left_out: Mapping[str, int]


def read_header(path: Path) -> Mapping[str, Any]:
    """Read the header of a safetensors file, and nothing behind it.

    Raises:
        CheckpointError: the file cannot be read or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise CheckpointError(
                    f"{path}: not a safetensors file: its header would have {length} bytes.{_LFS}"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not a safetensors file: its header is not JSON.{_LFS}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: not a safetensors file: its header is not a table of tensors.{_LFS}")
    return header


_LFS: Final = " If it is a Git LFS pointer (a few lines of text), fetch the file itself: git lfs pull."


def tensors_of(header: Mapping[str, Any], file: str = "safetensors header") -> tuple[Tensor, ...]:
    """The tensors of a header.

    Raises:
        CheckpointError: an entry is not one of a tensor.
    """
    found: list[Tensor] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            found.append(
                Tensor(name, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]), end - begin)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{file}: the entry of tensor {name!r} has no dtype, shape and data_offsets. Download the file again."
            ) from error
    return tuple(found)


# Where image encoder and projector are, by the beginnings of names in the checkpoints that vLLM loads.
_VISION: Final = re.compile(
    r"(model\.)?(visual|vision_tower|vision_model|vision_encoder|vision|multi_modal_projector|mm_projector|mlp1"
    r"|vision_language_adapter|patch_merger|image_newline|embed_vision|vision_embed_tokens)\b"
)
# Tables that are computed from the configuration.
_COMPUTED: Final = re.compile(r"(^|\.)(rotary_(pos_)?emb\.inv_freq|(attn|attention)\.(masked_)?bias)$")
# Names of numbers that belong to a quantised weight and are none themselves.
_SCALES: Final = re.compile(
    r"(scales?|scale_inv|scale_2|zeros|zero_point|g_idx|absmax|quant_map|weight_shape|bitsandbytes__\w+|workspace"
    r"|global_scale|input_scale|k_scale|v_scale|azp_adj)$"
)
_OUTPUT: Final = re.compile(r"(language_model\.)?(lm_head|embed_out|output)\.weight$")
_LAYER: Final = re.compile(r"(?:model\.|language_model\.|backbone\.)*layers\.(\d+)\.")
# Bits that one element of a packed tensor's type holds.
_PACKED: Final = {"I32": 32, "U8": 8, "I8": 8}
_FLOATS: Final[Mapping[str, Dtype]] = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def read_checkpoint(tensors: Iterable[Tensor], facts: ConfigFacts) -> Checkpoint:
    """Add up the tensors of a checkpoint.

    Args:
        tensors: those of all its files.
        facts: what its ``config.json`` says (:func:`infra.cards.config.read_config`).

    Raises:
        CheckpointError: there is no tensor.
    """
    left_out: dict[str, int] = {}
    by_dtype: dict[str, int] = {}
    parameters = vision = 0
    for tensor in tensors:
        reason = _not_loaded(tensor.name, facts)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + tensor.bytes
            continue
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.bytes
        count = _parameters(tensor, facts)
        parameters += count
        vision += count if _VISION.match(tensor.name) else 0
    if not by_dtype:
        raise CheckpointError(
            "the checkpoint has no tensors; its safetensors files are empty. Download them again."
        )
    quantised = facts.quantization
    return Checkpoint(
        Weights(
            parameters=parameters or None,
            bytes=sum(by_dtype.values()),
            by_dtype=dict(sorted(by_dtype.items())) if len(by_dtype) > 1 else None,
            dtype=facts.dtype or _dtype(by_dtype),
            quantization=quantised.method if quantised else None,
            quantization_bits=quantised.bits if quantised else None,
            group_size=quantised.group_size if quantised else None,
        ),
        vision or None,
        left_out,
    )


def _not_loaded(name: str, facts: ConfigFacts) -> str | None:
    """Why vLLM does not load a tensor; None when it does."""
    if _COMPUTED.search(name):
        return "computed"
    if facts.architecture.tie_word_embeddings and _OUTPUT.match(name):
        return "the output matrix, which is the input's"
    layer = _LAYER.match(name)
    beyond = layer is not None and int(layer[1]) >= facts.architecture.num_hidden_layers
    if name.startswith(("mtp.", "model.mtp.")) or beyond:
        return "multi-token prediction, loaded only to speculate"
    return None


def _parameters(tensor: Tensor, facts: ConfigFacts) -> int:
    """How many weights a tensor holds, however they are packed."""
    elements = math.prod(tensor.shape)
    quantised = facts.quantization
    if quantised is None:
        return elements
    if _SCALES.search(tensor.name):
        return 0
    width = _PACKED.get(tensor.dtype)
    if width is None or not quantised.bits or quantised.bits >= width:
        return elements
    return elements * width // quantised.bits


def _dtype(by_dtype: Mapping[str, int]) -> Dtype | None:
    """The float type with the most bytes, for a file that does not say its type (gpt-oss, MiniMax M2.5)."""
    floats: Sequence[str] = [kind for kind in by_dtype if kind in _FLOATS]
    return _FLOATS[max(floats, key=lambda kind: by_dtype[kind])] if floats else None
