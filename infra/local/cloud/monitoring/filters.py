"""Monitoring filters: comparisons of a series' types and labels, all of which must hold.

A subset of the language at cloud.google.com/monitoring/api/v3/filters: `=` and `!=` with a text or with `starts_with`,
`ends_with` or `one_of`, joined by AND or by nothing. What is left out is refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.local.cloud.errors import GoogleError, invalid

#: A series as filters see it: "metric.type", "resource.type", "metric.labels.NAME", "resource.labels.NAME" -> text.
Facts = Mapping[str, str]
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>!=|=|[(),])|(?P<word>[\w./-]+))"""
)
_FUNCTIONS = ("starts_with", "ends_with", "one_of")
METRIC_TYPE = "metric.type"


@dataclass(frozen=True)
class Comparison:
    """One comparison.

    Attributes:
        selector: what is compared, a key of `Facts` or "project".
        function: "" for equality, else one of the functions.
        values: what it is compared with.
        negated: whether it is `!=`.
    """

    selector: str
    function: str
    values: tuple[str, ...]
    negated: bool

    def holds(self, facts: Facts) -> bool:
        """Whether a series meets it."""
        found = facts.get(self.selector, "")
        if self.function == "starts_with":
            met = found.startswith(self.values[0])
        elif self.function == "ends_with":
            met = found.endswith(self.values[0])
        else:
            met = found in self.values
        return met != self.negated


def parse(text: str) -> tuple[Comparison, ...]:
    """The comparisons of a filter.

    Raises:
        GoogleError: INVALID_ARGUMENT where the text is not of the language, or of a part that is not served here.
    """
    tokens = _tokens(text)
    found: list[Comparison] = []
    while tokens:
        if tokens[0] == ("word", "AND") and found:
            tokens.pop(0)
        found.append(_comparison(text, tokens))
    return tuple(found)


def metric_type(text: str, comparisons: tuple[Comparison, ...]) -> str:
    """The one metric type that a filter of time series must name.

    Raises:
        GoogleError: INVALID_ARGUMENT when it names none or several.
    """
    named = [each for each in comparisons if each.selector == METRIC_TYPE]
    if len(named) != 1 or named[0].negated or named[0].function or len(named[0].values) != 1:
        raise bad(text, 'a filter of time series names one metric type, as in metric.type = "…".')
    return named[0].values[0]


def bad(text: str, problem: str) -> GoogleError:
    """The refusal of a filter."""
    return invalid(f'Field filter had an invalid value of "{text}": {problem}')


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise bad(text, f"it cannot be read from character {position + 1} on.")
        kind = str(match.lastgroup)
        value = match[kind]
        if kind == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        elif kind == "word" and value in {"OR", "NOT"}:
            raise bad(text, f"the local cloud has no {value}.")
        found.append((kind, value))
        position = match.end()
    return found


def _comparison(text: str, tokens: list[tuple[str, str]]) -> Comparison:
    def take(*kinds: str) -> str:
        if not tokens or tokens[0][0] not in kinds:
            raise bad(text, "a comparison is SELECTOR = VALUE.")
        return tokens.pop(0)[1]

    name = re.sub(r"^(metric|resource)\.label\.", r"\1.labels.", take("word"))
    if not re.fullmatch(r"project|(metric|resource)\.type|(metric|resource)\.labels\.\w+", name):
        raise bad(text, f"{name} is nothing that a series has here.")
    sign = take("sign")
    if sign not in {"=", "!="}:
        raise bad(text, f"the local cloud compares with = and != only, not with {sign}.")
    quoted = bool(tokens) and tokens[0][0] == "text"
    value = take("text", "word")
    if quoted or not tokens or tokens[0] != ("sign", "("):
        return Comparison(name, "", (value,), sign == "!=")
    if value not in _FUNCTIONS:
        raise bad(text, f"the local cloud has no function {value}; it has {', '.join(_FUNCTIONS)}.")
    values: list[str] = []
    while tokens.pop(0)[1] != ")":
        values.append(take("text", "word"))
        if not tokens or tokens[0] not in {("sign", ","), ("sign", ")")}:
            raise bad(text, f"the list of {value} does not end.")
    if value != "one_of" and len(values) != 1:
        raise bad(text, f"{value} takes one text, not {len(values)}.")
    return Comparison(name, value, tuple(values), sign == "!=")
