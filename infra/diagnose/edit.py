"""Changes the text of a stack file and nothing else of it: comments, order, blanks and quotes stay.

A change is made at the place that the YAML parser names, and counts only if the changed text then parses to exactly
what was meant.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from infra.recipes.yamlfile import parse_yaml

__all__ = ["Change", "EditError", "Remove", "diff", "edited"]

_INDENT: Final = 2
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./@:=-]*")

Scalar = str | int | float | bool


class Remove:
    """Stands for the value of a key that is taken out, so that its default counts."""

    def __repr__(self) -> str:
        return "REMOVE"


@dataclass(frozen=True)
class Change:
    """One key of a stack file, top level or ``section.key``, and its new value; a tuple for a list."""

    key: str
    value: Scalar | tuple[str, ...] | Remove


class EditError(Exception):
    """The change cannot be made without touching more of the file than it is about."""


def edited(text: str, changes: Iterable[Change]) -> str:
    """The text of a stack file with the changes.

    Raises:
        EditError: one cannot be made, such as inside an anchor or a tag.
        StackFileError: the text is no YAML.
    """
    for change in changes:
        before, _ = parse_yaml(text, "")
        wanted = _applied(before, change)
        if wanted == before:
            continue
        new = _edit(text, change)
        try:
            after, _ = parse_yaml(new, "")
        except Exception as error:
            raise EditError(f"{change.key} cannot be changed in place") from error
        if after != wanted:
            raise EditError(f"{change.key} cannot be changed in place")
        text = new
    return text


def diff(before: str, after: str, name: str) -> str:
    """The difference of two texts of one file, unified; empty where there is none."""
    return "".join(
        line if line.endswith("\n") else f"{line}\n"
        for line in difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
        )
    )


def _applied(document: Any, change: Change) -> Any:
    if not isinstance(document, dict):
        raise EditError("the file is no map of keys to values")
    made: dict[str, Any] = _copied(document)
    section, _, key = change.key.rpartition(".")
    parent: Any = made
    if section:
        parent = made.get(section)
        if parent is None:
            if isinstance(change.value, Remove):
                return document
            parent = made[section] = {}
    if not isinstance(parent, dict):
        raise EditError(f"{section} is no section")
    if isinstance(change.value, Remove):
        parent.pop(key, None)
        if section and not parent:
            del made[section]
    else:
        parent[key] = list(change.value) if isinstance(change.value, tuple) else change.value
    return made


def _copied(value: Any) -> Any:
    """A copy in which what was an alias is a value of its own."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _edit(text: str, change: Change) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # the caller's own parse is a dictionary
    section, _, key = change.key.rpartition(".")
    newline = "\r\n" if "\r\n" in text else "\n"
    parent: yaml.Node = root
    if section:
        pair = _pair(root, section)
        if pair is None:
            return _appended(
                text, f"{section}:", f"{' ' * _INDENT}{key}: {_written(change.value)}", newline=newline
            )
        parent = pair[1]
        if isinstance(parent, yaml.ScalarNode):  # `vllm:` with nothing in it
            at = _line_end(text, pair[0].end_mark.index)
            indent = " " * (pair[0].start_mark.column + _INDENT)
            return text[:at] + f"{newline}{indent}{key}: {_written(change.value)}" + text[at:]
    if not isinstance(parent, yaml.MappingNode):
        raise EditError(f"{change.key} cannot be changed in place")
    pair = _pair(parent, key)
    if isinstance(change.value, Remove):
        assert pair is not None
        if section and len(parent.value) == 1:
            outer = _pair(root, section)
            assert outer is not None
            return _without(text, root, outer)
        return _without(text, parent, pair)
    if pair is not None:
        return _replaced(text, pair, change.value)
    if parent.flow_style:
        at = parent.end_mark.index - 1
        comma = ", " if parent.value else ""
        return text[:at].rstrip() + f"{comma}{key}: {_written(change.value)}" + text[at:]
    last = parent.value[-1]
    at = _line_end(text, _last_index(last[1]))
    indent = " " * parent.value[0][0].start_mark.column
    return text[:at] + f"{newline}{indent}{key}: {_written(change.value)}" + text[at:]


def _pair(node: yaml.Node | None, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _replaced(text: str, pair: tuple[yaml.Node, yaml.Node], value: Any) -> str:
    node = pair[1]
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and isinstance(value, tuple):
        return _relisted(text, node, value)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        raise EditError("a value of several lines cannot be changed in place")
    if not isinstance(node, yaml.ScalarNode) and not getattr(node, "flow_style", False):
        raise EditError("a section cannot be replaced in place")
    if start == end:  # nothing after the colon
        at = text.index(":", pair[0].end_mark.index) + 1
        return text[:at] + f" {_written(value)}" + text[at:]
    return text[:start] + _written(value) + text[end:]


def _relisted(text: str, node: yaml.SequenceNode, value: Sequence[str]) -> str:
    """A list of one item a line, with other items: lines of items that stay are not touched."""
    items = [item.value for item in node.value]
    newline = "\r\n" if "\r\n" in text else "\n"
    for item in [each for each in node.value if each.value not in value][::-1]:
        start, end = _line_start(text, item.start_mark.index), _line_end(text, _last_index(item))
        text = text[:start] + text[end:].removeprefix("\r").removeprefix("\n")
    added = [each for each in value if each not in items]
    if added:
        kept = [each for each in _items(text, node) if each.value in value]
        if not kept:
            raise EditError("a list that is replaced as a whole cannot be changed in place")
        at = _line_end(text, _last_index(kept[-1]))
        indent = text[_line_start(text, kept[-1].start_mark.index) : kept[-1].start_mark.index]
        text = text[:at] + "".join(f"{newline}{indent}{_written(each)}" for each in added) + text[at:]
    return text


def _items(text: str, node: yaml.SequenceNode) -> list[yaml.Node]:
    """The items, in a changed text, of the list that begins where ``node`` began."""

    def walk(each: yaml.Node) -> Iterable[yaml.Node]:
        if isinstance(each, yaml.SequenceNode) and each.start_mark.line == node.start_mark.line:
            yield from each.value
        elif isinstance(each, yaml.MappingNode):
            for _, value in each.value:
                yield from walk(value)

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(walk(root)) if root is not None else []


def _without(text: str, parent: yaml.MappingNode, pair: tuple[yaml.Node, yaml.Node]) -> str:
    index = next(number for number, each in enumerate(parent.value) if each[0] is pair[0])
    if parent.flow_style:
        if index + 1 < len(parent.value):
            return text[: pair[0].start_mark.index] + text[parent.value[index + 1][0].start_mark.index :]
        start = parent.value[index - 1][1].end_mark.index if index else pair[0].start_mark.index
        return text[:start] + text[pair[1].end_mark.index :]
    start, end = _line_start(text, pair[0].start_mark.index), _line_end(text, _last_index(pair[1]))
    return text[:start] + text[end:].removeprefix("\r").removeprefix("\n")


def _appended(text: str, *lines: str, newline: str) -> str:
    end = "" if not text or text.endswith("\n") else newline
    return text + end + "".join(f"{line}{newline}" for line in lines)


def _last_index(node: yaml.Node) -> int:
    """Where the text of a node ends, without the blanks and comments that the parser counts to a block."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last_index(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _last_index(node.value[-1])
    return int(node.end_mark.index)


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if end and text[end - 1 : end] == "\r" else end


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(json.dumps(each) for each in value) + "]"
    text = str(value)
    plain = _PLAIN.fullmatch(text) and parse_yaml(f"k: {text}\n", "")[0] == {"k": text}
    return text if plain else json.dumps(text, ensure_ascii=False)
