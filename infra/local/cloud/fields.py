"""Partial responses: the `fields=` query parameter of every Google API, e.g. `services/name,nextPageToken`."""

from __future__ import annotations

from typing import Any

from infra.local.cloud.errors import GoogleError, invalid

#: Field name -> what is wanted below it; an empty mask means everything.
Mask = dict[str, Any]
#: Levels that a selection may name; no message of these services has as many.
MAX_DEPTH = 50


def parse(text: str) -> Mask:
    """The mask in a `fields` value: commas, `a/b` and `a.b`, `a(b,c)` and the star.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is not well formed.
    """
    mask, rest = _list(text, text, 0)
    if rest:
        raise _bad(text)
    return mask


def apply(value: Any, mask: Mask) -> Any:
    """The part of `value` that `mask` names; lists are masked item by item."""
    if not mask:
        return value
    if isinstance(value, list):
        return [apply(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        if key in mask or "*" in mask:
            below = mask.get(key, mask.get("*"))
            part = apply(item, below or {})
            if part not in ({}, []) or not below:
                kept[key] = part
    return kept


def _list(text: str, whole: str, depth: int) -> tuple[Mask, str]:
    mask: Mask = {}
    while True:
        text = _path(text, whole, mask, depth)
        if not text.startswith(","):
            return mask, text
        text = text[1:]


def _path(text: str, whole: str, mask: Mask, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise _bad(whole)
    length = 0
    while length < len(text) and (text[length].isalnum() or text[length] in "_*-$@"):
        length += 1
    name, text = text[:length].strip(), text[length:]
    if not name:
        raise _bad(whole)
    existed = name in mask
    below: Mask = mask.setdefault(name, {})
    if text[:1] in {"/", "."}:
        part: Mask = {}
        text = _path(text[1:], whole, part, depth + 1)
    elif text.startswith("("):
        part, text = _list(text[1:], whole, depth + 1)
        if not text.startswith(")"):
            raise _bad(whole)
        text = text[1:]
    else:
        below.clear()
        return text
    if existed and not below:
        return text
    _merge(below, part)
    return text


def _merge(into: Mask, part: Mask) -> None:
    for key, below in part.items():
        if key in into and into[key] and below:
            _merge(into[key], below)
        else:
            into[key] = {} if key in into else below


def _bad(text: str) -> GoogleError:
    return invalid(f"Invalid field selection {text}", [("fields", f"Invalid field selection {text}")])
