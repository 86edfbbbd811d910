"""Whether files are a whole checkpoint of the model, by their names and sizes. Pure.

The same for a repository on the hub and for a prefix in a bucket: vLLM reads both the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from infra.cards import ModelCard
from infra.preflight.finding import Finding, Status

__all__ = ["CONFIGS", "INDEXES", "TOLERANCE", "gb", "has_tokenizer", "shards_of", "size", "weight_files"]

CONFIGS: Final = ("config.json", "params.json")
"""What a model's shape stands in: of transformers, and of Mistral's own format."""

INDEXES: Final = ("model.safetensors.index.json", "consolidated.safetensors.index.json")
"""Which tensor is in which file, as transformers and Mistral name it."""

TOLERANCE: Final = 0.05
"""Files hold more than what is loaded (`weights.bytes` of a card): headers, layers for multi-token prediction (DeepSeek
V3: 641 GiB of files, 627 GiB loaded: 2 %). What this check is for is further off: another precision, another model."""

_SHARD: Final = re.compile(r".*-\d+-of-\d+\.safetensors")
_TOKENIZERS: Final = frozenset(
    {"tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model"}
)
_OTHER: Final = (".bin", ".pt", ".pth", ".gguf")
_NOT_WEIGHTS: Final = ("adapter", "training_args", "optimizer", "scheduler", "rng_state")
_ELEMENT: Final = {"float32": 4}


def weight_files(sizes: Mapping[str, int]) -> dict[str, int]:
    """The files that vLLM loads, of all files of a folder with their bytes.

    safetensors before other formats; of two copies in safetensors the one in transformers' names, and the one that an
    index belongs to.
    """
    top = {
        name: size for name, size in sizes.items() if "/" not in name and not name.startswith(_NOT_WEIGHTS)
    }
    tensors = {name: size for name, size in top.items() if name.endswith(".safetensors")}
    named = {name: size for name, size in tensors.items() if not name.startswith("consolidated")}
    shards = {name: size for name, size in named.items() if _SHARD.fullmatch(name)}
    if shards and INDEXES[0] in top:
        return shards
    if "model.safetensors" in named:
        return {"model.safetensors": named["model.safetensors"]}
    return named or tensors or {name: size for name, size in top.items() if name.endswith(_OTHER)}


def shards_of(index: Any) -> frozenset[str] | None:
    """The files that an index names; None for what is no index."""
    found = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        return None
    files = list(found.values())
    return frozenset(files) if all(isinstance(file, str) for file in files) else None


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether a tokenizer is among the files: a file of it, not only its settings."""
    return any(name in _TOKENIZERS or name.endswith(".tiktoken") for name in names)


def size(check: str, where: str, files: Mapping[str, int], card: ModelCard, *, by_hand: str) -> Finding:
    """Compare the bytes of weight files with the catalogue's.

    Args:
        check: id of the finding.
        where: what holds them, for the evidence.
        files: the weight files with their bytes; not empty.
        card: the model.
        by_hand: the line that lists them.
    """
    total, wanted = sum(files.values()), card.weights.bytes
    many = f"{len(files)} weight file{'' if len(files) == 1 else 's'}"
    if not wanted:
        evidence = f"{where} has {many} of {gb(total)}; the catalogue has no size of {card.id}."
        return Finding(check=check, status=Status.SKIP, evidence=evidence, by_hand=by_hand)
    shape = card.architecture
    tied = shape.vocab_size * shape.hidden_size * _ELEMENT.get(card.weights.dtype or "", 2)
    # Some repositories store a tied table twice.
    expected = (wanted, wanted + tied) if shape.tie_word_embeddings else (wanted,)
    evidence = (
        f"{where} has {many} of {gb(total)} ({total:,} bytes), the catalogue {gb(wanted)} ({wanted:,} bytes)"
    )
    if any(abs(total - each) <= TOLERANCE * each for each in expected):
        within = f"{evidence}; {TOLERANCE:.0%} apart is taken as equal."
        return Finding(check=check, status=Status.PASS, evidence=within, by_hand=by_hand)
    return Finding(
        check=check,
        status=Status.WARN,
        evidence=f"{evidence}: {abs(total - wanted) / wanted:.0%} {'more' if total > wanted else 'less'}.",
        remedy=f"look whether these are the weights of {card.id}, whole and in its precision; what a GPU needs of "
        "memory is predicted with the catalogue's size",
        by_hand=by_hand,
    )


def gb(size: int) -> str:
    """Bytes for people, 10^9 a GB."""
    return f"{size / 1e9:.2f} GB"
