"""Errors of stack files, settings and the catalogue; their text is the instruction that repairs the input.

Every error names the file, the line where it is known, the dotted key and the value, then the valid choices (closest
first) and the line to write. Errors of one input are collected: a :class:`StackError` may carry several ``problems``.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

__all__ = [
    "ABSENT",
    "DoesNotFit",
    "FlagError",
    "HardwareMismatch",
    "OverBudget",
    "PlanError",
    "SettingsError",
    "StackError",
    "StackFileError",
    "UnknownImage",
    "UnknownKey",
    "UnknownMachine",
    "UnknownModel",
    "UnknownRegion",
    "ValueProblem",
    "has_hf_token",
    "hide_secrets",
    "nearest",
    "raise_problems",
    "show_file",
    "show_value",
]

_SHOWN_CHOICES: Final = 8
_SECRET_FLAG: Final = re.compile(
    r"(--(?:[\w-]*[_-])?(?:hf[_-]token|api[_-]key|password|passphrase)[=\s]\s*)[^\s'\"]+", re.IGNORECASE
)
_HF_TOKEN: Final = re.compile(
    r"hf_[A-Za-z0-9]{20,}"
)  # huggingface.co/docs/hub/security-tokens: hf_ and letters
_T = TypeVar("_T")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = 4
_REPR.maxlevel = 3
_REPR.maxlong = 40


class _Absent:
    """The value of a key that is not there."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Final = _Absent()


def has_hf_token(text: str) -> bool:
    """Whether a text holds what looks like a Hugging Face token."""
    return _HF_TOKEN.search(text) is not None


def hide_secrets(value: _T) -> _T:
    """Hide Hugging Face tokens, and values of flags that are secret, in a text or in the texts of a list or section."""
    hidden: Any = value
    if isinstance(value, str):
        hidden = _SECRET_FLAG.sub(r"\1(hidden)", _HF_TOKEN.sub("hf_(hidden)", value))
    elif isinstance(value, list | tuple):
        hidden = type(value)(hide_secrets(part) for part in value)
    elif isinstance(value, dict):
        hidden = {hide_secrets(key): hide_secrets(part) for key, part in value.items()}
    return cast(_T, hidden)


def show_value(value: object) -> str:
    """Write a value as YAML would (``true``, ``null``), shortened, never over more than one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return _REPR.repr(value)
    except ValueError:  # an integer beyond the interpreter's limit for decimal text
        return "a number of thousands of digits"


def show_file(path: str | Path) -> str:
    """Write a path relative to the working directory when it lies below it, else as given."""
    text = str(path)
    try:
        relative = os.path.relpath(text)
    except ValueError:  # another drive
        return text
    return text if relative.startswith("..") or not os.path.isabs(text) else relative


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+|\d+[a-z]*", text.casefold()))


def nearest(value: object, choices: Iterable[str]) -> tuple[str, ...]:
    """Sort ``choices`` by likeness to ``value``, closest first; case and punctuation count little.

    Likeness is that of the letters plus the share of common words (``8b`` is a word), plus a little where the choice
    holds the value.
    """
    found = tuple(choices)
    if not isinstance(value, str) or not value:
        return found
    wanted, words = _plain(value[:200]), _words(value[:200])

    def score(choice: str) -> float:
        plain, others = _plain(choice), _words(choice)
        if plain == wanted:
            return 4.0
        common = len(words & others) / len(words | others) if words | others else 0.0
        inside = 0.5 if wanted and wanted in plain else 0.0
        return difflib.SequenceMatcher(None, wanted, plain, autojunk=False).ratio() + common + inside

    return tuple(sorted(found, key=lambda choice: -score(choice)))


class StackError(Exception):
    """One problem (or several, see ``problems``) of a stack file or of what it asks for.

    No part of it holds a Hugging Face token or an API key, whatever the input held.

    Attributes:
        file: the file as shown to the user; empty when the input was no file.
        key: dotted key, list positions in brackets; empty when the whole file is meant.
        value: the offending value, :data:`ABSENT` when the key is missing.
        problem: what is wrong, one sentence.
        choices: valid values, closest first.
        remedy: what to write or do.
        line: 1-based line in ``file`` when known.
        problems: the single problems; ``(self,)`` for a single one.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        key: str = "",
        value: object = ABSENT,
        choices: Sequence[str] = (),
        remedy: str = "",
        line: int | None = None,
        problems: Sequence[StackError] = (),
    ) -> None:
        self.problem = problem = hide_secrets(problem)
        self.file = file
        self.key = hide_secrets(key)
        self.value = hide_secrets(value)
        self.choices = tuple(choices)
        self.remedy = hide_secrets(remedy)
        self.line = line
        self.problems: tuple[StackError, ...] = tuple(problems) or (self,)
        super().__init__(problem)

    @property
    def said(self) -> str:
        """What is wrong with which value where, without choices and remedy: the text's first line."""
        place = self.file
        if self.line is not None:
            place += f":{self.line}" if place else f"line {self.line}"
        subject = self.key
        if not isinstance(self.value, _Absent):
            subject += f" = {show_value(self.value)}" if subject else show_value(self.value)
        return ": ".join(part for part in (place, subject, self.problem) if part)

    def __str__(self) -> str:
        if len(self.problems) > 1:
            head = f"{len(self.problems)} problems in {self.file or 'the stack file'}:"
            return "\n".join([head, *(str(p) for p in self.problems)])
        lines = [self.said]
        if self.choices:
            shown = ", ".join(self.choices[:_SHOWN_CHOICES])
            more = len(self.choices) - _SHOWN_CHOICES
            lines.append(f"    choices: {shown}" + (f" and {more} more" if more > 0 else ""))
        if self.remedy:
            lines.append(f"    fix: {self.remedy}")
        return "\n".join(lines)


class StackFileError(StackError):
    """The file cannot be read, is not the YAML that is expected, or has values of the wrong type."""


class UnknownKey(StackFileError):
    """A key that no stack file has; usually misspelt."""


class SettingsError(StackError):
    """A wrong, missing or unknown setting of an environment (``Pulumi.<stack>.yaml``)."""


class OverBudget(SettingsError):
    """A stack that costs more than the budget of its environment."""


class PlanError(StackError):
    """The stack file is well formed but what it asks for cannot work."""


class UnknownModel(PlanError):
    """A model id that the catalogue does not have."""


class UnknownMachine(PlanError):
    """A machine type that Vertex AI does not offer for serving."""


class HardwareMismatch(PlanError):
    """Accelerator, count, machine and model do not belong together."""


class UnknownRegion(PlanError):
    """A region that does not exist, or does not serve the accelerator."""


class UnknownImage(PlanError):
    """A container image that Vertex AI cannot pull or that is not for GPUs of this machine."""


class FlagError(PlanError):
    """A vLLM argument that the image's vLLM version refuses."""


class DoesNotFit(PlanError):
    """A model that would not start for want of GPU memory."""


class ValueProblem(PlanError):
    """A value that vLLM or Vertex AI refuses for this model, machine or image."""


def raise_problems(problems: Sequence[StackError], *, file: str, kind: type[StackError]) -> None:
    """Raise nothing for no problem, the problem itself for one, one error of ``kind`` that holds them all for several.

    Problems are shown in the order of the file's lines.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise problems[0]
    ordered = sorted(problems, key=lambda p: p.line if p.line is not None else 0)
    raise kind(f"{len(ordered)} problems", file=file, problems=ordered)
