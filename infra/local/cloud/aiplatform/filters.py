"""`filter`, `orderBy`, `readMask` and paging of list methods."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.errors import GoogleError, invalid
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
Predicate = Callable[[Json], bool]

#: Page size when none is asked for, and the largest one. Sources: the clients' page loops work with any; the service
#: documents no number for these methods, so these are the usual ones of Google's APIs.
DEFAULT_PAGE, MAX_PAGE = 100, 1000
#: Parentheses and negations inside one another that a filter may have.
MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:(?P<punct>\(|\)|!=|<=|>=|=|:|<|>)|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<word>[^\s()=:!<>"']+))"""
)


@dataclass(frozen=True)
class Fields:
    """What a list method filters and orders by.

    Attributes:
        values: field name (camelCase) -> function from a resource to its text.
        operators: field name -> the operators it takes.
        order: names that `orderBy` takes.
        labels: whether `labels` is filterable.
    """

    values: Mapping[str, Callable[[Json], str]]
    operators: Mapping[str, Sequence[str]]
    order: Sequence[str] = ()
    labels: bool = True


def compile_filter(text: str, fields: Fields) -> Predicate:
    """The predicate of a filter expression; an empty one takes everything.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is not well formed or names a field or operator that isn't supported.
    """
    if not text.strip():
        return lambda item: True
    parser = _Parser(text, fields)
    predicate = parser.conjunction()
    if parser.peek() is not None:
        raise parser.bad()
    return predicate


class _Parser:
    def __init__(self, text: str, fields: Fields) -> None:
        self.text, self.fields = text, fields
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.bad()
            kind = "punct" if match["punct"] else "word" if match["word"] else "quoted"
            value = next(each for each in match.groupdict().values() if each is not None)
            self.tokens.append((kind, re.sub(r"\\(.)", r"\1", value) if kind == "quoted" else value))
            position = match.end()
        self.at = self.depth = 0

    def bad(self, why: str = "") -> GoogleError:
        return invalid(f'Invalid filter "{self.text}"{": " + why if why else "."}')

    def peek(self) -> tuple[str, str] | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> tuple[str, str]:
        token = self.peek()
        if token is None:
            raise self.bad("it ends too early.")
        self.at += 1
        return token

    def conjunction(self) -> Predicate:
        factors = [self.alternatives()]
        while (token := self.peek()) is not None and token != ("punct", ")"):
            if token == ("word", "AND"):
                self.take()
            factors.append(self.alternatives())
        return factors[0] if len(factors) == 1 else lambda item: all(factor(item) for factor in factors)

    def alternatives(self) -> Predicate:
        # OR binds tighter than AND in this language (AIP-160).
        terms = [self.term()]
        while self.peek() == ("word", "OR"):
            self.take()
            terms.append(self.term())
        return terms[0] if len(terms) == 1 else lambda item: any(term(item) for term in terms)

    def term(self) -> Predicate:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.bad(f"it is nested deeper than {MAX_DEPTH} levels.")
        try:
            return self.bare_term()
        finally:
            self.depth -= 1

    def bare_term(self) -> Predicate:
        token = self.take()
        if token == ("word", "NOT") or (
            token[0] == "word" and token[1].startswith("-") and len(token[1]) > 1
        ):
            if token[1] != "NOT":
                self.at -= 1
                self.tokens[self.at] = ("word", token[1][1:])
            inner = self.term()
            return lambda item: not inner(item)
        if token == ("punct", "("):
            predicate = self.conjunction()
            if self.take() != ("punct", ")"):
                raise self.bad("a parenthesis is not closed.")
            return predicate
        if token[0] == "punct":
            raise self.bad()
        return self.comparison(token[1])

    def comparison(self, name: str) -> Predicate:
        if name.endswith(".") and (after := self.peek()) is not None and after[0] == "quoted":
            name += self.take()[1]
        kind, operator = self.take()
        if kind != "punct" or operator in "()":
            raise self.bad(f'"{name}" needs a comparison.')
        value_kind, value = self.take()
        if value_kind == "punct":
            raise self.bad(f'"{name}{operator}" needs a value.')
        root, _, key = name.partition(".")
        if root == "labels" and self.fields.labels:
            return self.label(key, operator, value)
        field = _camel(name)
        if field not in self.fields.values:
            raise self.bad(f'Field "{name}" is not supported; supported: {", ".join(self.supported())}.')
        if operator not in self.fields.operators[field]:
            allowed = " ".join(self.fields.operators[field])
            raise self.bad(f'Field "{name}" supports {allowed}, not "{operator}".')
        read = self.fields.values[field]
        return (lambda item: read(item) == value) if operator == "=" else (lambda item: read(item) != value)

    def supported(self) -> list[str]:
        return [*self.fields.values, *(["labels"] if self.fields.labels else [])]

    def label(self, key: str, operator: str, value: str) -> Predicate:
        if not key:
            if operator != ":":
                raise self.bad('"labels" supports labels.KEY=VALUE, labels.KEY:* and labels:KEY.')
            return lambda item: value in item.get("labels", {})
        if operator == "=":
            return lambda item: item.get("labels", {}).get(key) == value
        if operator == "!=":
            return lambda item: item.get("labels", {}).get(key) != value
        if operator == ":":
            return lambda item: key in item.get("labels", {}) and value in ("*", item["labels"][key])
        raise self.bad('"labels" supports labels.KEY=VALUE, labels.KEY:* and labels:KEY.')


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def _order(text: str, fields: Fields) -> list[tuple[str, bool]]:
    """(field, descending) pairs; newest first when nothing is asked for."""
    result = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        words = part.split()
        name = _camel(words[0])
        if name not in fields.order or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
            supported = ", ".join(fields.order)
            raise invalid(f'Invalid order_by "{text}". Supported fields: {supported}; "desc" may follow.')
        result.append((name, words[1:] == ["desc"]))
    return result or [("createTime", True)]


def page(items: Iterable[Json], query: Mapping[str, Any], fields: Fields) -> tuple[list[Json], str]:
    """One page of resources and the next page's token ("" on the last).

    Args:
        items: all resources under the parent; each has `name`.
        query: the request with `filter`, `orderBy`, `pageSize`, `pageToken`.
        fields: what the method filters and orders by.

    Raises:
        GoogleError: INVALID_ARGUMENT for anything in the query that is not well formed.
    """
    wanted = compile_filter(query.get("filter", ""), fields)
    order = _order(query.get("orderBy", ""), fields)
    size = int(query.get("pageSize", 0))
    if size < 0:
        raise invalid(f"Invalid page_size {size}: it must not be negative.")
    size = min(size or DEFAULT_PAGE, MAX_PAGE)

    def keys(item: Json) -> list[str]:
        return [*(str(item.get(name, "")) for name, _ in order), item["name"]]

    def compare(left: list[str], right: list[str]) -> int:
        for (one, other), (_, descending) in zip(
            zip(left, right, strict=True), [*order, ("name", False)], strict=True
        ):
            if one != other:
                return (1 if one > other else -1) * (-1 if descending else 1)
        return 0

    ordered = sorted(
        (item for item in items if wanted(item)), key=lambda i: functools.cmp_to_key(compare)(keys(i))
    )
    token = query.get("pageToken", "")
    if token:
        after = _token_keys(token, len(order) + 1)
        ordered = [item for item in ordered if compare(keys(item), after) > 0]
    chosen = ordered[:size]
    more = len(ordered) > size
    return chosen, encode_token(json.dumps(keys(chosen[-1]))) if more else ""


def _token_keys(token: str, length: int) -> list[str]:
    try:
        keys = json.loads(decode_token(token))
    except ValueError as error:
        raise invalid("The provided page token is invalid.") from error
    if not isinstance(keys, list) or len(keys) != length or not all(isinstance(key, str) for key in keys):
        raise invalid("The provided page token is invalid.")
    return keys
