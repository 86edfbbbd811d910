"""Whether the value of a flag is one that vLLM's argparse reads, by what the flag takes.

The words for what a flag takes are those of ``infra/catalog/README.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from infra.recipes.errors import nearest

__all__ = ["Wanted", "read_boolean", "read_size", "wanted"]

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG])")
_UNITS: Final[Mapping[str, int]] = {
    "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a flag takes, in ``words``; its ``choices``, closest to the value first, where they are a list.

    ``example`` stands for a value in a corrected line.
    """

    words: str
    example: str
    choices: tuple[str, ...] = ()


def wanted(kind: str, value: str) -> Wanted | None:
    """What a flag wants when ``value`` is not that; None when it is.

    Args:
        kind: what the flag takes, such as ``int`` or ``auto|half``.
        value: what it is given.
    """
    base = kind.rstrip("+*=")
    if base.startswith("int:"):
        return _of_numbers(base.removeprefix("int:").split("|"), value)
    if "|" in base:
        choices = base.split("|")
        near = nearest(value, choices)
        return None if value in choices else Wanted(f"one of {', '.join(choices)}", near[0], near)
    reader = _READERS.get(base)
    if reader is None:
        return None
    read, words, example = reader
    try:
        read(value)
    except (ValueError, OverflowError, RecursionError):
        return Wanted(words, example)
    return None


def _of_numbers(choices: list[str], value: str) -> Wanted | None:
    try:
        number = int(value)
    except ValueError:
        near = tuple(choices)
    else:
        if number in map(int, choices):
            return None
        near = tuple(sorted(choices, key=lambda choice: abs(int(choice) - number)))
    return Wanted(f"one of {', '.join(choices)}", near[0], near)


def read_size(text: str) -> int:
    """Read ``4096``, ``4k`` (thousands) or ``4K`` (1024s).

    Raises:
        ValueError: it is none of them, or not a whole number.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        return int(text)
    value = float(match[1]) * _UNITS[match[2]]
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def read_boolean(text: str) -> bool:
    """Read ``true`` or ``False``, in any case.

    Raises:
        ValueError: it is neither.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _size_or_auto(text: str) -> None:
    if text != "auto":
        read_size(text)


_READERS: Final[Mapping[str, tuple[Callable[[str], object], str, str]]] = {
    "int": (int, "a whole number", "NUMBER"),
    "float": (float, "a number", "NUMBER"),
    "size": (read_size, "a whole number, such as 4096 or 4k", "4096"),
    "size_or_auto": (_size_or_auto, "a whole number, such as 4096 or 4k, or auto", "4096"),
    "bool": (read_boolean, "true or false", "true"),
    "json": (json.loads, "JSON", "{...}"),
}
