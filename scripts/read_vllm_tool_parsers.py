"""Reads the tool call parsers of each vLLM version out of its wheels, into ``infra/catalog/vllm_tool_parsers.csv``.

Usage, from the root of the repository, with wheels (or source archives) unpacked side by side as ``DIR/0.6.2/vllm``:
``python -m scripts.read_vllm_tool_parsers DIR``. The table is written anew from the versions of DIR. The sources are
read as syntax trees and never imported.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from infra.versions import version_key

FILE: Final = Path(__file__).resolve().parent.parent / "infra" / "catalog" / "vllm_tool_parsers.csv"
_FOLDERS: Final = (
    "tool_parsers",
    "entrypoints/openai/tool_parsers",
)  # where they are from 0.13 on, and before
_OLDEST: Final = "entrypoints/openai/cli_args.py"  # 0.6.2 has no registry: the flag has choices
_TABLE: Final = "_TOOL_PARSERS_TO_REGISTER"
_HEADER: Final = ("parser", "first", "last", "gone", "source")


def read_wheel(root: Path) -> dict[str, str]:
    """Read one version; ``root`` is its package, the folder ``vllm``.

    Returns:
        The names that ``--tool-call-parser`` takes, each with the file that says so.
    """
    found: dict[str, str] = {}
    for folder in _FOLDERS:
        for file in sorted((root / folder).glob("*.py")):
            for name in _registered(ast.parse(file.read_text(encoding="utf-8"))):
                found.setdefault(name, str(file.relative_to(root.parent)))
    if not found and (root / _OLDEST).exists():
        found = dict.fromkeys(_choices(root / _OLDEST), f"vllm/{_OLDEST}")
    return found


def rows(versions: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str, str, str]]:
    """The table's rows, of what :func:`read_wheel` found in each version: a run of versions with a parser each."""
    ordered = sorted(versions, key=version_key)
    for name in sorted({name for found in versions.values() for name in found}):
        first = last = ""
        for version in ordered:
            if name in versions[version]:
                first, last = first or version, version
            elif first:
                yield name, first, last, version, f"vllm {first}: {versions[first][name]}"
                first = ""
        if first:
            yield name, first, last, "", f"vllm {first}: {versions[first][name]}"


def _registered(tree: ast.Module) -> Iterator[str]:
    """Names of the decorator ``ToolParserManager.register_module``, and keys of the table of newer versions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                if (
                    isinstance(decorator, ast.Call)
                    and getattr(decorator.func, "attr", "") == "register_module"
                ):
                    given = [
                        *decorator.args,
                        *(word.value for word in decorator.keywords if word.arg == "name"),
                    ]
                    yield from (text for each in given for text in _texts(each))
        value = getattr(node, "value", None)
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == _TABLE and isinstance(value, ast.Dict):
            yield from (text for key in value.keys if key is not None for text in _texts(key))


def _choices(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and "--tool-call-parser" in [t for a in node.args for t in _texts(a)]:
            for word in node.keywords:
                if word.arg == "choices":
                    yield from _texts(word.value)


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.List | ast.Tuple):
        yield from (text for each in node.elts for text in _texts(each))


def main(folder: Path) -> None:
    """Read every version below ``folder`` and write the table."""
    found = {path.name: parsers for path in folder.iterdir() if (parsers := read_wheel(path / "vllm"))}
    if not found:
        sys.exit(
            f"{folder} holds no version: unpack wheels so that {folder}/0.20.0/vllm/{_FOLDERS[0]} exists"
        )
    with FILE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(rows(found))
    print(f"{FILE.name}: read {', '.join(sorted(found, key=version_key))}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: python -m scripts.read_vllm_tool_parsers DIR   (DIR/0.20.0/vllm, ...: unpacked wheels)"
        )
    main(Path(sys.argv[1]))
