"""Reads one YAML file strictly: duplicate keys, YAML 1.1 surprises and bad bytes are errors that name the line.

Owns text to plain Python values (dict, list, str, int, float, bool, None) and the line of every key. Knows nothing of
what the keys mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from infra.recipes.errors import StackFileError, nearest, show_file

__all__ = ["Lines", "dotted", "parse_yaml", "read_text"]

Lines = Mapping[str, int]
"""Dotted key to 1-based line, as in ``replicas.autoscaling[0].target``; the whole document is the empty key."""

_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 40
_MAX_NODES: Final = (
    10_000  # aliases counted each time: nine aliases of nine aliases ... would fill the memory
)


def dotted(path: Sequence[str | int]) -> str:
    """Write a path of keys and list positions as ``a.b[0].c``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def read_text(path: Path) -> str:
    """Read a UTF-8 file of at most 1 MiB.

    Raises:
        StackFileError: missing (names the stack files that exist, closest first), a directory, unreadable, too big,
            or not UTF-8.
    """
    file = show_file(path)
    if path.is_dir():
        raise StackFileError(
            "is a directory, not a stack file.",
            file=file,
            choices=_stack_files(path, path.name),
            remedy="name one file in it",
        )
    if not path.exists():
        found = _stack_files(path.parent if path.parent.is_dir() else Path("stacks"), path.name)
        remedy = f"use {found[0]}" if found else "write the file, or correct its path"
        raise StackFileError("there is no such file.", file=file, choices=found, remedy=remedy)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise StackFileError(
                f"has {path.stat().st_size:,} bytes; a stack file has a few hundred and may have {_MAX_BYTES:,}.",
                file=file,
                remedy="name a stack file, not the model's weights",
            )
        data = path.read_bytes()
    except OSError as error:
        raise StackFileError(
            f"cannot be read: {error.strerror or error}.",
            file=file,
            remedy="make it a readable, regular file",
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StackFileError(
            f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8 text.",
            file=file,
            line=line,
            remedy="save the file as UTF-8",
        ) from error


def _stack_files(folder: Path, wanted: str) -> tuple[str, ...]:
    try:
        found = [show_file(p) for p in sorted(folder.glob("*.y*ml")) if p.is_file()]
    except OSError:
        return ()
    by_name = {Path(p).name: p for p in found}
    return tuple(by_name[name] for name in nearest(wanted, by_name))


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars only: ``yes``, ``on``, ``1_000``, ``0o17``, ``1:30`` and dates stay text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as the base class declares it


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, file: str) -> tuple[object, Lines]:
    """Parse one YAML document.

    Returns:
        The value and the line of every key.

    Raises:
        StackFileError: not YAML, more than one document, a duplicate key, a key that is not text, nesting beyond 40
            levels, or a tag (``!!python/...``).
    """
    try:
        loader = _Loader(text)
        loader.name = file
        node = loader.get_single_node()
        if node is None:
            return None, {"": 1}
        walk = _Walk(file)
        walk.visit(node, ())
        return loader.construct_document(node), walk.lines
    except yaml.MarkedYAMLError as error:
        # The YAML library's own error shows the line, which may hold a token: it must not follow in a traceback.
        raise _syntax_error(error, text, file) from None
    except yaml.reader.ReaderError as error:
        at = int(error.position)
        raise StackFileError(
            f"the character U+{ord(text[at]):04X} is not allowed in YAML.",
            file=file,
            line=text.count("\n", 0, at) + 1,
            remedy="remove it (an editor that shows control characters helps)",
        ) from None
    except (ValueError, RecursionError) as error:
        raise StackFileError(
            f"has a value that cannot be read: {str(error)[:80]}.",
            file=file,
            remedy="write an ordinary value",
        ) from None


class _Walk:
    """Records the line of every key; refuses duplicate keys, keys that are not text, and aliases without end.

    The constructor of PyYAML would silently keep the last duplicate.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self.nodes = 0

    def visit(self, node: yaml.Node, path: tuple[str | int, ...], depth: int = 0) -> None:
        self.nodes += 1
        line = node.start_mark.line + 1
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            raise StackFileError(
                f"nested more than {_MAX_DEPTH} deep, or more than {_MAX_NODES:,} values once aliases are written out.",
                file=self.file,
                key=dotted(path[:3]),
                line=line,
                remedy="write the values out instead of using anchors and aliases",
            )
        self.lines.setdefault(dotted(path), line)
        if (
            isinstance(node, yaml.ScalarNode)
            and len(node.value) > 400
            and node.tag.endswith((":int", ":float"))
        ):
            raise StackFileError(
                f"a number of {len(node.value):,} digits.",
                file=self.file,
                key=dotted(path),
                value=node.value,
                line=line,
                remedy="write an ordinary number",
            )
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, index), depth + 1)
        elif isinstance(node, yaml.MappingNode):
            self._mapping(node, path, depth)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...], depth: int) -> None:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.visit(value_node, (*path, "<<"), depth + 1)
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                scalar = isinstance(key_node, yaml.ScalarNode)
                raise StackFileError(
                    f"the key {key_node.value} is not text." if scalar else "a key is a list or a mapping.",
                    file=self.file,
                    key=dotted(path),
                    line=line,
                    remedy="keys of a stack file are words, such as model:",
                )
            key = str(key_node.value)
            if key in seen:
                raise StackFileError(
                    f"the key is there twice, on lines {seen[key]} and {line}; YAML would silently keep the last.",
                    file=self.file,
                    key=dotted((*path, key)),
                    line=line,
                    remedy=f"delete line {seen[key]} or line {line}",
                )
            seen[key] = line
            self.lines[dotted((*path, key))] = line
            self.visit(value_node, (*path, key), depth + 1)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> StackFileError:
    mark = error.problem_mark or error.context_mark
    start = error.context_mark or mark
    problem, context = (error.problem or error.context or "").strip(), error.context or ""
    rows = text.splitlines()
    line = mark.line + 1 if mark else None
    source = rows[mark.line] if mark and mark.line < len(rows) else ""
    remedy = "indent with two spaces a level, and write `key: value` with a space after the colon"
    if "\t" in source:
        problem = "a tab; YAML is indented with spaces."
        remedy = f"replace the tab on line {line} by spaces"
    elif "quoted scalar" in context and start:
        line, problem, remedy = (
            start.line + 1,
            "a quote is not closed.",
            f"close the quote on line {start.line + 1}",
        )
    elif "flow sequence" in context and start:
        line, problem = (
            start.line + 1,
            "a list that begins with [ is not closed, or a comma is missing in it.",
        )
        remedy = f"close the list of line {start.line + 1} with ]"
    elif "flow mapping" in context and start:
        line, problem = (
            start.line + 1,
            "a section that begins with { is not closed, or a comma is missing in it.",
        )
        remedy = f"close the section of line {start.line + 1} with }}"
    elif "could not determine a constructor" in problem:
        tag = problem.rsplit("'", 2)[-2] if "'" in problem else ""
        problem, remedy = f"the tag {tag} is not allowed.", "write a plain value"
    elif "expected a single document" in context:
        problem, remedy = (
            "has more than one YAML document.",
            f"delete the `---` on line {line} and what follows",
        )
    elif "undefined alias" in problem:
        problem = f"not YAML: {problem}."
        remedy = "define the anchor above, or quote a value that begins with *"
    elif "cannot start any token" in problem:
        problem = f"not YAML: {problem}."
        remedy = f"quote the value on line {line}"
    elif "mapping values are not allowed" in problem:
        problem = "not YAML: a colon where no key can be; the line, or the one above it, is indented or quoted wrongly."
        remedy += "; quote a value that holds `: `"
    else:
        problem = f"not YAML: {problem}."
    return StackFileError(problem, file=file, line=line, remedy=remedy)
