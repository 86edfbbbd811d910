"""Ids that are derived from content, so that a repeated create finds what is already there instead of paying twice.

The Vertex AI API has no request id; it lets the caller choose the ids of endpoints, models and deployed models. Pure
and light: the provider's process imports it in every preview.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

__all__ = ["content_hash", "deployed_model_id", "endpoint_id", "model_id"]

_MODEL_ID_MAX: Final = 63
_HASH_DIGITS: Final = 10


def content_hash(obj: Any) -> str:
    """Hash a JSON value: sha256, 64 hex digits, over JSON with sorted keys and no spaces.

    Tuples count as lists and mappings as objects, so a value hashes the same before and after a trip through JSON.

    Raises:
        TypeError: the value holds something that JSON cannot.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _number(content: Any, digits: int) -> str:
    """A number of exactly ``digits`` digits, the first not 0, that stands for the content."""
    low = 10 ** (digits - 1)
    return str(low + int(content_hash(content), 16) % (9 * low))


def endpoint_id(project: str, region: str, stack: str) -> str:
    """The id of a stack's endpoint: 9 digits (Google's Terraform provider takes digits only, the API at most 9)."""
    return _number(("endpoint", project, region, stack), 9)


def model_id(slug: str, content: Any) -> str:
    """The id of an uploaded model: a readable part, a dash, ten hex digits of its content's hash.

    Args:
        slug: any text, such as a stack file's name; letters, digits, ``-`` and ``_`` of it are kept, in lower case.
        content: a JSON value that changes when the model must be uploaded anew.

    Returns:
        At most 63 characters that match ``^[a-z_][a-z0-9_-]*$``.
    """
    word = (
        re.sub(r"[^a-z0-9_]+", "-", slug.lower()).strip("-")[: _MODEL_ID_MAX - _HASH_DIGITS - 1].rstrip("-")
    )
    if not word or not re.match(r"[a-z_]", word):
        word = f"m-{word}"[: _MODEL_ID_MAX - _HASH_DIGITS - 1].rstrip("-")
    return f"{word}-{content_hash(content)[:_HASH_DIGITS]}"


def deployed_model_id(content: Any) -> str:
    """The id of a deployed model: 10 digits, the longest that the API accepts.

    Args:
        content: a JSON value that changes when the model must be deployed anew.
    """
    return _number(content, 10)
