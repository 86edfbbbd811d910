"""Reads the model architectures of vLLM out of its wheels, into ``infra/catalog/vllm_architectures.csv``.

Usage, from the root of the repository, with wheels (or source archives) unpacked side by side as ``DIR/0.6.2/vllm``:
``python -m scripts.read_vllm_architectures DIR``. Versions newer than the table's newest are added to it; with
``--anew`` the table is written from the versions of DIR alone, which should then be every release. The sources are read
as syntax trees and never imported, so no GPU library is needed. The format is described in ``infra/catalog/README.md``.
"""

from __future__ import annotations

import ast
import csv
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Final

from infra.versions import version_key

FILE: Final = Path(__file__).resolve().parent.parent / "infra" / "catalog" / "vllm_architectures.csv"

# The registry's tables of models that generate; pooling models and drafts of speculative decoding are left out.
_TABLES: Final = (
    "_GENERATION_MODELS",
    "_TEXT_GENERATION_MODELS",
    "_CONDITIONAL_GENERATION_MODELS",
    "_MULTIMODAL_MODELS",
    "_TRANSFORMERS_SUPPORTED_MODELS",
)
_MODELS: Final = "model_executor/models"
_PACKAGE: Final = "vllm.model_executor.models"


@dataclass(frozen=True)
class Row:
    """One architecture in a run of versions, ``first`` to ``last``, in which it has the same interfaces.

    ``gone`` is the first version read in which that is no longer so; empty while it is so in the newest.
    """

    architecture: str
    first: str
    last: str
    gone: str
    pipeline_parallel: str
    lora: str
    source: str


def read_wheel(root: Path) -> dict[str, tuple[bool, bool]]:
    """Read one version; ``root`` is its package, the folder ``vllm``.

    Returns:
        By architecture: whether it runs with pipeline parallelism, whether it takes LoRA adapters.
    """
    registry = root / _MODELS / "registry.py"
    if not registry.exists():  # before 0.6.3
        registry = root / _MODELS / "__init__.py"
    old = _old_pipeline_list(root)
    classes = _Classes(root)
    found: dict[str, tuple[bool, bool]] = {}
    for name, (module, class_name) in _registered(registry):
        pipeline = classes.has(module, class_name, "pp") if old is None else name in old
        found[name] = (pipeline, classes.has(module, class_name, "lora"))
    return found


def merge(rows: Sequence[Row], versions: Mapping[str, Mapping[str, tuple[bool, bool]]]) -> list[Row]:
    """Return the table with newer ``versions`` in it, each with what :func:`read_wheel` found."""
    done = list(rows)
    for version in sorted(versions, key=version_key):
        found = dict(versions[version])
        for place, row in enumerate(done):
            if row.gone:
                continue
            now = found.get(row.architecture)
            if now is not None and tuple(map(_word, now)) == (row.pipeline_parallel, row.lora):
                done[place] = replace(row, last=version)
                del found[row.architecture]
            else:
                done[place] = replace(row, gone=version)
        registry = "registry.py" if version_key(version) >= (0, 6, 3) else "__init__.py"
        source = f"vllm {version}: vllm/{_MODELS}/{registry} and the model's class"
        done += [
            Row(name, version, version, "", _word(pipeline), _word(lora), source)
            for name, (pipeline, lora) in found.items()
        ]
    return sorted(done, key=lambda row: (row.architecture, version_key(row.first)))


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _registered(file: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if not (isinstance(target, ast.Name) and target.id in _TABLES and isinstance(value, ast.Dict)):
            continue
        for key, entry in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(entry, ast.Tuple):
                module, class_name = (
                    str(part.value) for part in entry.elts if isinstance(part, ast.Constant)
                )
                yield str(key.value), (module, class_name)


def _old_pipeline_list(root: Path) -> frozenset[str] | None:
    """Return the list of architectures that vLLM 0.6.2 kept in ``config.py``; None where classes say it."""
    file = root / "config.py"
    if not file.exists():
        return None
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.List)):
            continue
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_PP_SUPPORTED_MODELS":
            return frozenset(str(item.value) for item in node.value.elts if isinstance(item, ast.Constant))
    return None


class _Classes:
    """The model classes of one version: which of vLLM's interfaces each has, through its bases."""

    _INTERFACES: Final = {"pp": ("SupportsPP", "supports_pp"), "lora": ("SupportsLoRA", "supports_lora")}

    def __init__(self, root: Path) -> None:
        self._root = root.parent
        self._module = functools.cache(self._read)

    def has(self, module: str, name: str, interface: str) -> bool:
        """Say whether a class, or one that it derives from, is marked with an interface."""
        marker, attribute = self._INTERFACES[interface]
        seen: set[tuple[str, str]] = set()
        todo = [(module if module.startswith("vllm.") else f"{_PACKAGE}.{module}", name)]
        while todo:
            here = todo.pop()
            if here in seen:
                continue
            seen.add(here)
            classes, imports = self._module(here[0])
            if here[1] == marker:
                return True
            node = classes.get(here[1])
            if node is None:
                if here[1] in imports:
                    todo.append(imports[here[1]])
                continue
            for item in node.body:
                target = item.target if isinstance(item, ast.AnnAssign) else None
                if isinstance(item, ast.Assign):
                    target = item.targets[0]  # type: ignore[assignment]
                value = getattr(item, "value", None)
                name = target.id if isinstance(target, ast.Name) else ""
                if name == attribute and isinstance(value, ast.Constant) and value.value is True:
                    return True
            for base in node.bases:
                base = base.value if isinstance(base, ast.Subscript) else base
                if isinstance(base, ast.Name):
                    todo.append((here[0], base.id))
                elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
                    todo.append((base.value.id, base.attr))
        return False

    def _read(self, module: str) -> tuple[dict[str, ast.ClassDef], dict[str, tuple[str, str]]]:
        """Return the classes of a module of vLLM's and what it imports from others."""
        path = self._root.joinpath(*module.split("."))
        file = next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.exists()), None)
        classes: dict[str, ast.ClassDef] = {}
        imports: dict[str, tuple[str, str]] = {}
        if file is None or not module.startswith("vllm."):
            return classes, imports
        here = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, node)
            elif isinstance(node, ast.ImportFrom):
                base = here[: len(here) - node.level + 1] if node.level else []
                origin = ".".join([*base, node.module] if node.module else base)
                for alias in node.names:
                    imports[alias.asname or alias.name] = (origin, alias.name)
        return classes, imports


def read_table(file: Path = FILE) -> list[Row]:
    """Read the table as it is; empty when there is none."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [Row(**row) for row in csv.DictReader(stream)]


def main(folder: Path, anew: bool) -> None:
    """Read the versions below ``folder`` and write the table."""
    rows = [] if anew else read_table()
    newest = max((version_key(row.last) for row in rows), default=(0, 0, 0, 0))
    found = [path.name for path in folder.iterdir() if (path / "vllm" / _MODELS).is_dir()]
    new = sorted((version for version in found if version_key(version) > newest), key=version_key)
    if not new:
        sys.exit(
            f"{folder} holds no version newer than the table's: unpack wheels so that"
            f" {folder}/0.20.0/vllm/{_MODELS}/registry.py exists, or write the table --anew"
        )
    rows = merge(rows, {version: read_wheel(folder / version / "vllm") for version in new})
    with FILE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(map(astuple, rows))
    print(f"{FILE.name}: read {', '.join(new)}")


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--anew"]
    if len(given) != 1:
        sys.exit(
            "usage: python -m scripts.read_vllm_architectures [--anew] DIR   (DIR/0.20.0/vllm, ...: wheels)"
        )
    main(Path(given[0]), "--anew" in sys.argv)
