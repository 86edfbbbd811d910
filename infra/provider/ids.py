"""Ids made from content: the same content always has the same id, so that a repeated create finds its earlier work.

Not taken from `infra.recipes`, whose import loads pydantic: 0.27 s of every preview, for three functions.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_LONGEST = 63  # characters of a model id
_DIGITS = 10  # of a deployed model's id, the most that the API takes


def content_hash(content: Any) -> str:
    """The sha256 of a JSON value, in hexadecimal; the order of keys does not count."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def model_id(word: str, content: Any) -> str:
    """A readable word, a dash, and ten digits of the content's hash: `^[a-z_][a-z0-9_-]{0,62}$`."""
    word = re.sub(r"[^a-z0-9_]+", "-", word.lower()).strip("-")
    word = word if re.match(r"[a-z_]", word) else f"m-{word}"
    return f"{word[: _LONGEST - 11].rstrip('-')}-{content_hash(content)[:10]}"


def deployed_model_id(content: Any) -> str:
    """A number of ten digits, the first of them not 0."""
    least = 10 ** (_DIGITS - 1)
    return str(least + int(content_hash(content), 16) % (9 * least))
