"""The built-in responder: words for a container that has no language model.

It says what it is, and answers from the prompt alone, so the same request always gives the same text. Tool calls and
JSON are the smallest values that fit the given schema.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.local.container import tokens

_OPENINGS: Final = (
    "I am the built-in responder of the local Google Cloud, not a language model.",
    "This is the built-in responder of the local Google Cloud speaking, not a language model.",
    "No language model runs here: I am the built-in responder of the local Google Cloud.",
)
_QUOTE_WORDS: Final = 24


@dataclass(frozen=True)
class Question:
    """What the responder is asked: the user's text, what came with it, and the limits on the answer.

    ``max_tokens`` counts :mod:`infra.local.container.tokens` tokens. ``choice`` is the index of the alternative
    (``n`` > 1). ``schema`` asks for JSON that fits it; ``choices`` for one of these strings.
    """

    text: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choice: int = 0
    images: int = 0
    adapter: str | None = None
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    keep_stop: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer as pieces (one token each), why it ended (``stop`` or ``length``) and at which stop string."""

    pieces: tuple[str, ...]
    finish_reason: str
    stop_reason: str | None = None
    tokens: int = 0

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


def answer(question: Question) -> Answer:
    """Answer a question; the same question gives the same answer."""
    full = _words(question)
    pieces = tokens.tokenize(full)
    limited = pieces[: question.max_tokens]
    text = "".join(limited)
    cut, stop = _first_stop(text, question)
    if stop is not None:
        shown = tokens.tokenize(text[:cut])
        # The tokens of the stop string were generated even when it is not shown.
        made = tokens.count(text[: text.index(stop) + len(stop)])
        return Answer(tuple(shown), "stop", stop, made)
    if len(pieces) > question.max_tokens:
        return Answer(tuple(limited), "length", None, len(limited))
    # One more token than shown: a model ends with an end-of-text token, which vLLM counts.
    return Answer(tuple(limited), "stop", None, min(len(limited) + 1, question.max_tokens))


def _first_stop(text: str, question: Question) -> tuple[int, str | None]:
    found = [(text.find(stop), stop) for stop in question.stop if stop in text]
    if not found:
        return len(text), None
    position, stop = min(found)
    return position + (len(stop) if question.keep_stop else 0), stop


def _words(question: Question) -> str:
    if question.choices:
        return question.choices[_pick(question, len(question.choices))]
    if question.schema is not None:
        return json.dumps(smallest(question.schema))
    words = question.text.split()
    parts = [_OPENINGS[_pick(question, len(_OPENINGS))]]
    if question.images:
        parts.append(
            f"You sent {question.images} image{'s' if question.images > 1 else ''}, which I cannot see."
        )
    if question.adapter:
        parts.append(f"The LoRA adapter {question.adapter} was loaded; it changes nothing here.")
    if words:
        quoted = " ".join(words[-_QUOTE_WORDS:])
        dots = "… " if len(words) > _QUOTE_WORDS else ""
        parts.append(f"Your prompt has {len(words)} words and ends with: “{dots}{quoted}”.")
    else:
        parts.append("Your prompt is empty.")
    return " ".join(parts)


def _pick(question: Question, count: int) -> int:
    """Choose an alternative: the first without a seed, another for each further choice or seed."""
    if question.seed is None:
        return question.choice % count
    digest = hashlib.sha256(f"{question.seed}:{question.text}".encode()).digest()
    return (digest[0] + question.choice) % count


def call_arguments(parameters: Mapping[str, Any] | None) -> str:
    """Return the smallest JSON arguments that fit a tool's parameter schema."""
    return json.dumps(smallest(parameters or {"type": "object"}))


def chosen_tool(names: Sequence[str], prompt: str) -> str | None:
    """Return the first tool whose name, or every word of it, is in the prompt; None when there is none."""
    lowered = prompt.lower()
    said = set(re.findall(r"[a-z0-9]+", lowered))
    for name in names:
        parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
        if name.lower() in lowered or (parts and all(part in said for part in parts)):
            return name
    return None


def smallest(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """Return a small value that fits a JSON schema: required properties only, lower bounds, first enum value."""
    root = schema if root is None else root
    if depth > 16:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target: Any = root
        for part in filter(None, reference[1:].split("/")):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        return smallest(target, root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return smallest(schema[key][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties", {})
        required = schema.get("required", list(properties))
        return {name: smallest(properties.get(name, {}), root, depth + 1) for name in required}
    if kind == "array":
        least = schema.get("minItems", 0)
        return [smallest(schema.get("items", {}), root, depth + 1) for _ in range(least)]
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    return "x" * max(int(schema.get("minLength", 0)), 1)
