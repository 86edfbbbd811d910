"""Reads what each quantization method needs of a GPU out of vLLM's wheels, into ``infra/catalog/quantization.csv``.

Usage, from the root of the repository, with wheels (or source archives) unpacked side by side as ``DIR/0.6.2/vllm``:
``python -m scripts.read_vllm_quantization DIR``. The table is written anew from the versions of DIR, which should be
every release that a catalogued image has. The sources are read as syntax trees and never imported. A row says what
holds from its version on; one without a capability, that the method is gone.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from infra.versions import version_key

FILE: Final = Path(__file__).resolve().parent.parent / "infra" / "catalog" / "quantization.csv"
_FOLDER: Final = "model_executor/layers/quantization"
_HEADER: Final = ("method", "vllm_version", "compute_capability", "source")


def read_wheel(root: Path) -> dict[str, tuple[int, str]]:
    """Read one version; ``root`` is its package, the folder ``vllm``.

    Returns:
        By method: the least compute capability times ten, and the file that says so. Methods of other platforms than
        CUDA are left out.
    """
    classes: dict[str, tuple[ast.ClassDef, str]] = {}
    for file in sorted((root / _FOLDER).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = (node, str(file.relative_to(root.parent)))
    found: dict[str, tuple[int, str]] = {}
    for method, name in _methods(root / _FOLDER / "__init__.py"):
        least = _capability(name, classes)
        if least is not None and least[0] >= 0:
            found[method] = least
    return found


def rows(versions: dict[str, dict[str, tuple[int, str]]]) -> Iterator[tuple[str, str, str, str]]:
    """The table's rows, of what :func:`read_wheel` found in each version."""
    for method in sorted({method for found in versions.values() for method in found}):
        last: int | None = None
        for version in sorted(versions, key=version_key):
            now = versions[version].get(method)
            if (now[0] if now else None) == last:
                continue
            last = now[0] if now else None
            if now is None:
                yield method, version, "", f"vllm {version}: no longer in vllm/{_FOLDER}/__init__.py"
            else:
                yield method, version, f"{now[0] / 10:.1f}", f"vllm {version}: get_min_capability of {now[1]}"


def _methods(file: Path) -> Iterator[tuple[str, str]]:
    """The names of methods and of their classes: the largest dictionary of the two in the module."""
    tables: list[list[tuple[str, str]]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            pairs = [
                (str(key.value), value.id)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(value, ast.Name)
            ]
            tables.append(pairs)
    yield from max(tables, key=len, default=[])


def _capability(name: str, classes: dict[str, tuple[ast.ClassDef, str]]) -> tuple[int, str] | None:
    node, file = classes.get(name, (None, ""))
    if node is None:
        return None
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "get_min_capability":
            last = item.body[-1]
            value = last.value if isinstance(last, ast.Return) else None
            return (
                (value.value, file)
                if isinstance(value, ast.Constant) and isinstance(value.value, int)
                else None
            )
    for base in node.bases:
        if isinstance(base, ast.Name) and (least := _capability(base.id, classes)) is not None:
            return least
    return None


def main(folder: Path) -> None:
    """Read every version below ``folder`` and write the table."""
    found = sorted(path.name for path in folder.iterdir() if (path / "vllm" / _FOLDER).is_dir())
    if not found:
        sys.exit(f"{folder} holds no version: unpack wheels so that {folder}/0.20.0/vllm/{_FOLDER} exists")
    with FILE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(rows({version: read_wheel(folder / version / "vllm") for version in found}))
    print(f"{FILE.name}: read {', '.join(sorted(found, key=version_key))}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: python -m scripts.read_vllm_quantization DIR   (DIR/0.20.0/vllm, ...: unpacked wheels)"
        )
    main(Path(sys.argv[1]))
