"""What a LoRA adapter in PEFT's format says of itself: ``adapter_config.json`` and the header of its weights.

Pure, but for :func:`read_adapter`, which reads a folder. Whether a model takes the adapter is for
:mod:`infra.recipes.adapters`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.cards.checkpoint import CheckpointError, Tensor, read_header, tensors_of

__all__ = ["CONFIG", "WEIGHTS", "Adapter", "AdapterConfig", "AdapterError", "parse_config", "read_adapter"]

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_OTHER_WEIGHTS: Final = ("adapter_model.bin", "adapter_model.pt")
_BESIDE: Final = (
    "new_embeddings.safetensors",
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""What vLLM reads beside the two: ``vllm/lora/models.py`` of 0.6.2, and a tokenizer of the adapter's own
(``get_lora_tokenizer``, until 0.11). Optimizer states and training arguments, which trainers leave there, are none."""
_LARGEST_CONFIG: Final = 2**20  # bytes; real ones have some hundred


class AdapterError(Exception):
    """What should be an adapter is none: ``problem`` is a sentence, ``remedy`` what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """``adapter_config.json``, as far as vLLM and we read it.

    ``rank`` is the largest of ``r`` and ``rank_pattern``. ``peft_type`` and ``base_model`` are empty where the file has
    none. ``target_modules`` are the names of a list; empty for a pattern or a word such as ``all-linear``.
    """

    rank: int
    peft_type: str = ""
    base_model: str = ""
    target_modules: frozenset[str] = frozenset()
    modules_to_save: tuple[str, ...] = ()
    bias: str = "none"
    use_dora: bool = False
    init_lora_weights: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in a folder.

    ``files`` are the names of those that a server reads. ``tensors`` are those of the weights.
    """

    config: AdapterConfig
    tensors: tuple[Tensor, ...]
    files: tuple[str, ...]


def parse_config(content: bytes) -> AdapterConfig:
    """Read ``adapter_config.json``.

    Raises:
        AdapterError: it is no JSON object, or lacks what vLLM needs (``PEFTHelper`` of ``vllm/lora/peft_helper.py``:
            ``r``, ``lora_alpha`` and ``target_modules``).
    """
    again = f"save the adapter again with PEFT's save_pretrained, which writes {CONFIG}"
    try:
        document = json.loads(content)
    except ValueError:
        raise AdapterError(f"{CONFIG} is not JSON.", again) from None
    if not isinstance(document, Mapping):
        raise AdapterError(f"{CONFIG} holds no JSON object.", again)
    kind = _text(document, "peft_type")
    missing = [key for key in ("r", "lora_alpha", "target_modules") if document.get(key) is None]
    if missing and kind in ("", "LORA"):
        raise AdapterError(f"{CONFIG} has no {' and no '.join(missing)}, which vLLM needs.", again)
    rank = document.get("r", 0)
    if isinstance(rank, bool) or not isinstance(rank, int) or (rank < 1 and kind in ("", "LORA")):
        raise AdapterError(f"{CONFIG} has r: {rank!r}, which is no rank.", again)
    pattern = document.get("rank_pattern") or {}
    ranks = [each for each in pattern.values() if isinstance(each, int)] if isinstance(pattern, dict) else []
    return AdapterConfig(
        rank=max([rank, *ranks]),
        peft_type=kind,
        base_model=_text(document, "base_model_name_or_path"),
        target_modules=frozenset(_names(document, "target_modules")),
        modules_to_save=_names(document, "modules_to_save"),
        bias=_text(document, "bias") or "none",
        use_dora=document.get("use_dora") is True,
        init_lora_weights=_text(document, "init_lora_weights"),
    )


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter from a folder: its configuration, and the header of its weights.

    Raises:
        AdapterError: there is no such folder, a file is missing, or one is not what it should be.
    """
    if not folder.is_dir():
        raise AdapterError(f"there is no folder {folder.name}/ in {folder.parent.name or '.'}/.", _SAVE)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if CONFIG not in names:
        below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))[:3]
        more = f", or name the folder that has it: {', '.join(below)}" if below else ""
        raise AdapterError(f"the folder has no {CONFIG}.", f"{_SAVE}{more}")
    try:
        size = (folder / CONFIG).stat().st_size
        if size > _LARGEST_CONFIG:
            raise AdapterError(f"{CONFIG} has {size} bytes.", _SAVE)
        config = parse_config((folder / CONFIG).read_bytes())
    except OSError as error:
        raise AdapterError(f"{CONFIG} cannot be read: {error.strerror}.", "make it readable") from None
    if WEIGHTS not in names:
        other = next((name for name in _OTHER_WEIGHTS if name in names), None)
        if other is not None:
            remedy = "save it again with save_pretrained(…, safe_serialization=True)"
            raise AdapterError(f"the weights are in {other}, which is a pickle; {WEIGHTS} is needed.", remedy)
        raise AdapterError(f"the folder has no {WEIGHTS}.", _SAVE)
    if _is_pointer(folder / WEIGHTS):
        raise AdapterError(f"{WEIGHTS} is only a Git LFS pointer to the file.", "git lfs pull")
    try:
        header = read_header(folder / WEIGHTS)
        tensors = tensors_of(header, WEIGHTS)
        whole = 8 + _header_bytes(folder / WEIGHTS) + sum(tensor.bytes for tensor in tensors)
        size = (folder / WEIGHTS).stat().st_size
    except (CheckpointError, OSError) as error:
        said = str(error).removeprefix(f"{folder / WEIGHTS}: ").partition(" If it is")[0]
        raise AdapterError(f"{WEIGHTS}: {said}", "copy the file again") from None
    if size != whole:
        text = f"{WEIGHTS} has {size} bytes, and its header says {whole}: it is not whole."
        raise AdapterError(text, "copy the file again")
    if not tensors:
        raise AdapterError(f"{WEIGHTS} holds no tensor.", _SAVE)
    return Adapter(config, tensors, (CONFIG, WEIGHTS, *(name for name in _BESIDE if name in names)))


_SAVE: Final = "save the adapter there with PEFT's save_pretrained"


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False  # said by who reads all of it


_POINTER: Final = b"version https://git-lfs"


def _header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def _text(document: Mapping[str, Any], key: str) -> str:
    found = document.get(key)
    return found if isinstance(found, str) else ""


def _names(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = document.get(key)
    return tuple(str(each) for each in found) if isinstance(found, list) else ()
