"""Strict checking of a resource's inputs: what is wrong, where, and what would be right. Pure.

Values come from `infra.plugin`: plain ones, or UNKNOWN at any depth, which passes every check because a preview cannot
know it yet. A kind's `check` reports failures and goes on, so that one run shows all of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from infra.plugin import UNKNOWN, Asset

Report = Callable[[str, str], None]


class Kind(Protocol):
    """What a value must be."""

    def check(self, path: str, value: Any, report: Report) -> None:
        """Report what is wrong with `value`, which is neither None nor UNKNOWN."""


@dataclass(frozen=True)
class Text:
    """Text of a given form.

    Attributes:
        form: What is right, in words that end the sentence "... is not".
        pattern: The whole text matches it.
        longest: The most characters it may have.
        choices: The only values it may have.
        secret: The value is never repeated in a failure.
    """

    form: str = "text"
    pattern: str = r"(?s:.*)"
    longest: int | None = None
    choices: Collection[str] = ()
    secret: bool = False

    def check(self, path: str, value: Any, report: Report) -> None:
        shown = "the value (not shown, it is a secret)" if self.secret else show(value)
        if not isinstance(value, str):
            found = kind_of(value) if self.secret else f"{show(value)} ({kind_of(value)})"
            report(path, f"must be text, not {found}.")
        elif self.choices:
            if value not in self.choices:
                report(path, f"{shown} is not {self.form}; {closest(value, self.choices)}")
        elif not re.fullmatch(self.pattern, value):
            report(path, f"{shown} is not {self.form}.")
        elif self.longest is not None and len(value) > self.longest:
            report(path, f"has {len(value)} characters; at most {self.longest} are allowed.")


@dataclass(frozen=True)
class Whole:
    """A whole number between two limits, both included."""

    least: int
    most: int
    unit: str = ""

    def check(self, path: str, value: Any, report: Report) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            report(path, f"must be a whole number, not {show(value)} ({kind_of(value)}).")
        elif not self.least <= value <= self.most:
            unit = f" {self.unit}" if self.unit else ""
            report(path, f"is {value}; give {self.least} to {self.most}{unit}.")


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def check(self, path: str, value: Any, report: Report) -> None:
        if not isinstance(value, bool):
            report(path, f"must be true or false, not {show(value)} ({kind_of(value)}).")


@dataclass(frozen=True)
class Items:
    """A list whose items are of one kind."""

    item: Kind
    most: int | None = None

    def check(self, path: str, value: Any, report: Report) -> None:
        if not isinstance(value, list):
            report(path, f"must be a list, not {show(value)} ({kind_of(value)}).")
            return
        if self.most is not None and len(value) > self.most:
            report(path, f"has {len(value)} items; at most {self.most} are allowed.")
        for number, item in enumerate(value):
            if item is None:
                report(f"{path}[{number}]", "is null; give a value or leave the item out.")
            elif item is not UNKNOWN:
                self.item.check(f"{path}[{number}]", item, report)


@dataclass(frozen=True)
class Table:
    """A map with free keys of one form and values of one kind."""

    key: Text
    value: Kind
    most: int | None = None

    def check(self, path: str, value: Any, report: Report) -> None:
        if not isinstance(value, Mapping):
            report(path, f"must be a map, not {show(value)} ({kind_of(value)}).")
            return
        if self.most is not None and len(value) > self.most:
            report(path, f"has {len(value)} entries; at most {self.most} are allowed.")
        for key, item in value.items():
            self.key.check(path, key, report)
            if item is None:
                report(f"{path}.{key}", "is null; give a value or leave the entry out.")
            elif item is not UNKNOWN:
                self.value.check(f"{path}.{key}", item, report)


@dataclass(frozen=True)
class Record:
    """A map with named properties.

    Attributes:
        properties: The kind of each property.
        required: Those that must be there, each with a hint at what to give.
    """

    properties: Mapping[str, Kind]
    required: Mapping[str, str] = field(default_factory=dict)

    def check(self, path: str, value: Any, report: Report) -> None:
        if not isinstance(value, Mapping):
            report(path, f"must be a map, not {show(value)} ({kind_of(value)}).")
            return
        prefix = f"{path}." if path else ""
        for key in value:
            if key not in self.properties:
                report(f"{prefix}{key}", f"is not a property here; {closest(key, self.properties)}")
        for key, hint in self.required.items():
            if value.get(key) is None:
                report(f"{prefix}{key}", f"is missing; {hint}")
        for key, kind in self.properties.items():
            item = value.get(key)
            if item is not None and item is not UNKNOWN:
                kind.check(f"{prefix}{key}", item, report)


class Failures:
    """Collects failures as (property, reason).

    The engine prints the value of a property beside the reason, so a property is named only where that helps: at the
    top level, where it was given, and never for a secret. Elsewhere the reason begins with the path.
    """

    def __init__(self, given: Mapping[str, Any], secrets: Collection[str] = ()) -> None:
        self._given = given
        self._secrets = secrets
        self._found: list[tuple[str, str]] = []

    def __call__(self, path: str, reason: str) -> None:
        plain = isinstance(self._given.get(path), (str, int, float, bool)) and path not in self._secrets
        self._found.append((path if plain else "", reason if plain else f"{path}: {reason}"))

    def found(self) -> tuple[tuple[str, str], ...]:
        """All failures, in the order of discovery."""
        return tuple(self._found)


def known(value: Any) -> bool:
    """Whether a value is there and known: neither None nor UNKNOWN."""
    return value is not None and value is not UNKNOWN


def closest(word: str, choices: Collection[str]) -> str:
    """The choices in a sentence, the most similar ones first."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    if not near:  # a difference in case only is the most frequent mistake, and the least similar by letters
        near = [choice for choice in choices if choice.lower() == word.lower()][:1]
    rest = [choice for choice in choices if choice not in near]
    valid = ", ".join([*near, *rest])
    return f"did you mean {near[0]}? Valid: {valid}." if near else f"valid: {valid}."


def show(value: Any) -> str:
    """A value as a failure shows it: short, text in double quotes."""
    text = '"' + value + '"' if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = str(value).lower()
    return text if len(text) <= 80 else text[:77] + "..."


def kind_of(value: Any) -> str:
    """The kind of a value in words."""
    if value is None:
        return "null"
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (list, "a list"),
        (Mapping, "a map"),
        (Asset, "an asset"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
