"""The logging query language, as much of it as readers of container logs use.

    resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id=123
    severity>=ERROR (textPayload:"CUDA out of memory" OR jsonPayload.message=~"^RuntimeError") -labels.kind=noise
    timestamp>="2026-08-22T10:00:00Z"

Comparisons: = != > >= < <= : =~ !~ on any field path, `field:*` for presence, a value list in parentheses, bare words
(searched in every field), log_id("NAME"), SEARCH("words") and SEARCH(field, "words"). Words side by side are joined by
AND; NOT and "-" negate; OR binds tighter than AND, as it does at Google. Severities compare by level, times as times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from infra.local.cloud.errors import GoogleError, invalid
from infra.rfc3339 import parse_time

Json = dict[str, Any]
Predicate = Callable[[Json], bool]
#: Parentheses and negations inside one another that a filter may have.
MAX_DEPTH = 50
#: Levels. Source: google/logging/type/log_severity.proto.
SEVERITIES = {
    "DEFAULT": 0,
    "DEBUG": 100,
    "INFO": 200,
    "NOTICE": 300,
    "WARNING": 400,
    "ERROR": 500,
    "CRITICAL": 600,
    "ALERT": 700,
    "EMERGENCY": 800,
}
_TOKENS = re.compile(
    r"\s+|--[^\n]*|(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<op>!=|>=|<=|=~|!~|=|>|<|:)"
    r"|(?P<paren>[()])|(?P<comma>,)|(?P<minus>-(?=[\w(\"]))|(?P<word>[^\s\"'()=<>:!~,]+(?:(?<=\.)\"[^\"]*\"[^\s\"'()=<>:!~,]*)*)"
)


def severity_number(text: str) -> int | None:
    """The level of a severity name or number; None if it is neither."""
    if re.fullmatch(r"[0-9]{1,3}", text):
        return int(text) if int(text) in SEVERITIES.values() else None
    return SEVERITIES.get({"WARN": "WARNING", "FATAL": "CRITICAL"}.get(text.upper(), text.upper()))


def compile_filter(text: str) -> Predicate:
    """The predicate of a filter; an empty one matches every entry.

    Raises:
        GoogleError: INVALID_ARGUMENT "Unparseable filter: …" with the place.
    """
    parser = _Parser(text)
    if parser.peek() is None:
        return lambda _entry: True
    predicate = parser.conjunction()
    if parser.peek() is not None:
        raise parser.error()
    return predicate


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._scan(text))
        self.position = self.depth = 0

    def _scan(self, text: str) -> Iterator[tuple[str, str, int]]:
        place = 0
        while place < len(text):
            found = _TOKENS.match(text, place)
            if found is None:
                raise self._error_at(place)
            if found.lastgroup:
                yield found.lastgroup, found[0], place
            place = found.end()

    def peek(self) -> tuple[str, str, int] | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self) -> tuple[str, str, int]:
        token = self.peek()
        if token is None:
            raise self.error()
        self.position += 1
        return token

    def error(self) -> GoogleError:
        token = self.peek()
        return self._error_at(token[2] if token else len(self.text))

    def _error_at(self, place: int) -> GoogleError:
        line = self.text.count("\n", 0, place) + 1
        column = place - (self.text.rfind("\n", 0, place) + 1) + 1
        shown = self.text[place : place + 20] or "end of filter"
        return invalid(f"Unparseable filter: syntax error at line {line}, column {column}, token '{shown}'")

    def _keyword(self, word: str) -> bool:
        token = self.peek()
        if token is not None and token[:2] == ("word", word):
            self.position += 1
            return True
        return False

    def conjunction(self) -> Predicate:
        parts = [self.disjunction()]
        while True:
            explicit = self._keyword("AND")
            token = self.peek()
            if token is None or token[1] == ")":
                if explicit:
                    raise self.error()
                break
            parts.append(self.disjunction())
        return lambda entry: all(part(entry) for part in parts)

    def disjunction(self) -> Predicate:
        parts = [self.negation()]
        while self._keyword("OR"):
            parts.append(self.negation())
        return lambda entry: any(part(entry) for part in parts)

    def negation(self) -> Predicate:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise invalid(f"Unparseable filter: it is nested deeper than {MAX_DEPTH} levels")
        try:
            return self._negation()
        finally:
            self.depth -= 1

    def _negation(self) -> Predicate:
        token = self.peek()
        if self._keyword("NOT") or (token is not None and token[0] == "minus"):
            if token is not None and token[0] == "minus":
                self.position += 1
            inner = self.negation()
            return lambda entry: not inner(entry)
        return self.primary()

    def primary(self) -> Predicate:
        kind, text, _ = self.take()
        if text == "(" and kind == "paren":
            inner = self.conjunction()
            self._close()
            return inner
        if kind not in {"word", "string"} or (kind == "word" and text in {"AND", "OR", "NOT"}):
            self.position -= 1
            raise self.error()
        following = self.peek()
        if kind == "word" and following is not None and following[1] == "(":
            return self._function(text)
        if following is None or following[0] != "op":
            return _anywhere(_unquote(kind, text))
        operator = self.take()[1]
        path = _unquote(kind, text) if kind == "string" else text
        return self._values(path, operator)

    def _function(self, name: str) -> Predicate:
        self.take()
        given: list[str] = []
        while True:
            kind, text, _ = self.take()
            if kind not in {"word", "string"}:
                self.position -= 1
                raise self.error()
            given.append(_unquote(kind, text))
            following = self.peek()
            if following is None or following[0] != "comma":
                break
            self.take()
        self._close()
        if name == "log_id" and len(given) == 1:
            return lambda entry: unquote(str(entry.get("logName", "")).rpartition("/logs/")[2]) == given[0]
        if name == "SEARCH" and len(given) <= 2:
            names = [] if len(given) == 1 else _names(given[0])
            return _search(names, given[-1])
        raise invalid(
            f"Unparseable filter: the local cloud has no function {name} with {len(given)} argument(s); use "
            'log_id("NAME"), SEARCH("words") or SEARCH(field, "words").'
        )

    def _values(self, path: str, operator: str) -> Predicate:
        kind, text, _ = self.take()
        if (kind, text) != ("paren", "("):
            return self._value(path, operator, kind, text)
        parts: list[Predicate] = []
        every = False
        while True:
            negated = self._keyword("NOT")
            kind, text, _ = self.take()
            part = self._value(path, operator, kind, text)
            parts.append(_inverse(part) if negated else part)
            if self._keyword("OR"):
                continue
            if self._keyword("AND"):
                every = True
                continue
            break
        self._close()
        return lambda entry: (all if every else any)(part(entry) for part in parts)

    def _value(self, path: str, operator: str, kind: str, text: str) -> Predicate:
        if kind == "minus":
            kind, rest, _ = self.take()
            text = "-" + rest
        if kind not in {"word", "string"}:
            self.position -= 1
            raise self.error()
        if operator in {"=~", "!~"}:
            try:
                re.compile(_unquote(kind, text))
            except re.error as error:
                raise invalid(f"Unparseable filter: invalid regular expression '{text}': {error}") from error
        if (
            path == "severity"
            and severity_number(_unquote(kind, text)) is None
            and operator not in {"=~", "!~", ":"}
        ):
            raise invalid(f"Unparseable filter: invalid severity '{text}'; one of {', '.join(SEVERITIES)}.")
        if (
            path in {"timestamp", "receiveTimestamp"}
            and operator != ":"
            and parse_time(_unquote(kind, text)) is None
        ):
            raise invalid(f"Unparseable filter: invalid timestamp '{text}'")
        return _comparison(path, operator, _unquote(kind, text), bare=kind == "word")

    def _close(self) -> None:
        token = self.peek()
        if token is None or token[1] != ")":
            raise self.error()
        self.position += 1


def _unquote(kind: str, text: str) -> str:
    if kind != "string":
        return text
    return re.sub(
        r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), text[1:-1]
    )


def _inverse(predicate: Predicate) -> Predicate:
    return lambda entry: not predicate(entry)


def _anywhere(text: str) -> Predicate:
    wanted = text.lower()
    return lambda entry: any(wanted in str(leaf).lower() for leaf in _leaves(entry))


def _search(names: list[str], text: str) -> Predicate:
    """Every word of `text` is a word of one of the field's values, whatever the case."""
    wanted = set(re.findall(r"\w+", text.lower()))

    def matches(entry: Json) -> bool:
        values = _resolve(entry, names) if names else _leaves(entry)
        return any(wanted <= set(re.findall(r"\w+", str(value).lower())) for value in values)

    return matches


def _names(path: str) -> list[str]:
    return [name.strip('"') for name in re.findall(r'"[^"]*"|[^.]+', path)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _comparison(path: str, operator: str, wanted: str, *, bare: bool) -> Predicate:
    names = _names(path)

    def matches(entry: Json) -> bool:
        if operator == ":" and wanted == "*" and bare:
            return next(_resolve(entry, names), None) is not None
        if path == "severity" and "severity" not in entry:
            return _compare(path, operator, "DEFAULT", wanted)
        found = list(_resolve(entry, names))
        if operator in {"!=", "!~"}:
            return not any(
                _compare(path, {"!=": "=", "!~": "=~"}[operator], value, wanted) for value in found
            )
        return any(_compare(path, operator, value, wanted) for value in found)

    return matches


def _resolve(value: Any, names: list[str]) -> Iterator[Any]:
    if not names:
        if isinstance(value, dict):
            yield from _leaves(value)
        elif isinstance(value, list):
            yield from value
        elif value is not None:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _resolve(item, names)
    elif isinstance(value, dict):
        # A label's key may hold dots: try the longest name first.
        for length in range(len(names), 0, -1):
            key = ".".join(names[:length])
            for candidate in (key, _camel(key)):
                if candidate in value:
                    yield from _resolve(value[candidate], names[length:])
                    return


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _compare(path: str, operator: str, value: Any, wanted: str) -> bool:
    if operator == ":":
        return wanted.lower() in _text(value).lower()
    if operator == "=~":
        return re.search(wanted, _text(value)) is not None
    left, right = _ordered(path, value, wanted)
    if left is None or right is None:
        return False
    return bool(
        {"=": left == right, "!=": left != right}.get(operator)
        if operator in {"=", "!="}
        else {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[operator]
    )


def _ordered(path: str, value: Any, wanted: str) -> tuple[Any, Any]:
    if path == "severity":
        return severity_number(str(value)), severity_number(wanted)
    if path in {"timestamp", "receiveTimestamp"}:
        return parse_time(str(value)), parse_time(wanted)
    if isinstance(value, bool):
        return _text(value), wanted.lower()
    if isinstance(value, int | float):
        try:
            return float(value), float(wanted)
        except (ValueError, OverflowError):
            return None, None
    # Google compares text without regard to case.
    return str(value).lower(), wanted.lower()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
