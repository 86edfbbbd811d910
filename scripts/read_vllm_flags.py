"""Reads the command-line flags of vLLM out of its wheels, into ``infra/catalog/vllm_flags.json``.

Usage, from the root of the repository, with wheels (or source archives) unpacked side by side as ``DIR/0.6.2/vllm``:
``python -m scripts.read_vllm_flags DIR``. The versions of DIR are replaced or added, the others stay, and so do
``fork`` and ``replaced``, which are written by hand. The sources are read as syntax trees and never imported, so no GPU
library is needed. The format is described in ``infra/catalog/README.md``.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.recipes.flags import at_version
from infra.versions import version_key

FILE: Final = Path(__file__).resolve().parent.parent / "infra" / "catalog" / "vllm_flags.json"

# Sizes that may be written 4k: human_readable_int in get_kwargs of vllm/engine/arg_utils.py.
_SIZES: Final = {"max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes"}
_ADAPTERS: Final = {
    "nullable_str": "str",
    "optional_str": "str",
    "str": "str",
    "int": "int",
    "float": "float",
}
# Keywords of add_argument that decide by themselves what a flag takes, whatever a configuration class says.
_DECISIVE: Final = {"action", "choices"}


@dataclass(frozen=True)
class Wheel:
    """What one version says: ``takes`` by flag, ``names`` besides the flag's own, the OpenAI server's own flags."""

    takes: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    own: frozenset[str]
    quantization: tuple[str, ...]
    has_plain_server: bool


def read_wheel(root: Path) -> Wheel:
    """Read one version; ``root`` is its package, the folder ``vllm``."""
    takes, names, own = _flags(root)
    plain = (root / "entrypoints/api_server.py").exists()
    return Wheel(takes, names, frozenset(own), tuple(_quantization_methods(root)), plain)


def merge(data: Mapping[str, Any], wheels: Mapping[str, Wheel]) -> dict[str, Any]:
    """Return the table with the versions of ``wheels`` in it.

    A version without the plain server keeps the rule of the last that had one: a flag which that server took is not the
    OpenAI server's own.
    """
    versions = sorted({*data["versions"], *wheels}, key=version_key)
    sections: dict[str, dict[str, dict[str, Any]]] = {}
    for name in ("flags", "other_names", "openai_server_only"):
        sections[name] = {version: _of(data, name, version) for version in data["versions"]}
    methods = {version: _methods(data, version) for version in data["versions"]}
    for version in versions:
        wheel = wheels.get(version)
        if wheel is None:
            continue
        own = set(wheel.own)
        before = versions[versions.index(version) - 1] if versions[0] != version else None
        if not wheel.has_plain_server and before is not None:
            own -= set(sections["flags"][before]) - set(sections["openai_server_only"][before])
        sections["flags"][version] = dict(wheel.takes)
        sections["other_names"][version] = {flag: " ".join(more) for flag, more in wheel.names.items()}
        sections["openai_server_only"][version] = dict.fromkeys(own, True)
        methods[version] = list(wheel.quantization)
    return {
        "source": data["source"],
        "versions": versions,
        **{name: _by_flag(section, versions) for name, section in sections.items()},
        "quantization": _changes({version: methods[version] for version in versions}),
        "fork": data["fork"],
        "replaced": data["replaced"],
    }


def text_of(data: Mapping[str, Any]) -> str:
    """Return the file's text: one line for each flag, so that a new version reads as a short diff."""
    parts = []
    for name, value in data.items():
        if isinstance(value, dict):
            lines = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
            parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _of(data: Mapping[str, Any], section: str, version: str) -> dict[str, Any]:
    index = {known: place for place, known in enumerate(data["versions"])}
    found = {flag: at_version(changes, index, version) for flag, changes in data[section].items()}
    return {flag: value for flag, value in found.items() if value is not None}


def _methods(data: Mapping[str, Any], version: str) -> list[str]:
    index = {known: place for place, known in enumerate(data["versions"])}
    return list(at_version(data["quantization"], index, version) or ())


def _by_flag(section: Mapping[str, Mapping[str, Any]], versions: Iterable[str]) -> dict[str, Any]:
    flags = sorted({flag for table in section.values() for flag in table})
    return {flag: _changes({version: section[version].get(flag) for version in versions}) for flag in flags}


def _changes(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    last: Any = None
    for version, value in values.items():
        if value != last:
            found[version] = last = value
    return found


def _trees(root: Path) -> Iterator[tuple[bool, ast.Module]]:
    """Yield the modules that add flags, and whether they are the OpenAI server's own."""
    front = _front_ends(root)
    for path in [root / "engine/arg_utils.py", root / "entrypoints/api_server.py", *front]:
        if path.exists():
            yield path in front, ast.parse(path.read_text(encoding="utf-8"))


def _front_ends(root: Path) -> list[Path]:
    """Return the modules that hold the OpenAI server's own flags; they moved several times."""
    return sorted((root / "entrypoints").rglob("cli_args.py"))


def _configs(root: Path) -> tuple[dict[str, dict[str, ast.expr]], dict[str, ast.expr]]:
    """Return the annotations of every class and the Literal aliases of the configuration modules."""
    files = [root / "config.py", *sorted((root / "config").glob("*.py")), *_front_ends(root)]
    files.append(root / "engine/arg_utils.py")
    classes: dict[str, dict[str, ast.expr]] = {}
    aliases: dict[str, ast.expr] = {}
    for file in files:
        if not file.exists():
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                fields = {
                    item.target.id: item.annotation
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
                for base in node.bases:
                    if isinstance(base, ast.Name):
                        fields = {**classes.get(base.id, {}), **fields}
                classes[node.name] = fields
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                aliases[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                aliases[node.target.id] = node.value
    return classes, aliases


class _Types:
    """The names inside a type annotation: which built-in types and which literal values."""

    def __init__(self, aliases: dict[str, ast.expr]) -> None:
        self.aliases = aliases
        self.names: set[str] = set()
        self.literals: list[str] = []

    def read(self, node: ast.expr, depth: int = 0) -> None:
        """Collect the names and literals of an annotation."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if isinstance(node, ast.BinOp):
            self.read(node.left, depth)
            self.read(node.right, depth)
        elif isinstance(node, ast.Subscript):
            name = _name(node.value)
            if name == "Literal":
                self.names.add("Literal")
                parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                for part in parts:
                    if isinstance(part, ast.Constant):
                        self.literals.append(str(part.value))
                    else:
                        self.read(part, depth)
                return
            if name in ("list", "List", "tuple", "Tuple", "set", "dict", "Dict"):
                self.names.add(name.lower())
                inner = _Types(self.aliases)
                for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
                    inner.read(part, depth)
                self.literals += inner.literals
                self.names |= {f"of {item}" for item in inner.names}
                return
            for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
                self.read(part, depth)
        elif isinstance(node, ast.Name | ast.Attribute):
            name = _name(node)
            alias = self.aliases.get(name)
            if alias is not None and depth < 4 and isinstance(alias, ast.Subscript | ast.BinOp):
                self.read(alias, depth + 1)
            else:
                self.names.add(name)

    def kind(self, field: str) -> str:
        """Return the kind of flag that vLLM's ``get_kwargs`` makes of this annotation."""
        if "bool" in self.names:
            return "switch"
        if "Literal" in self.names and "list" not in self.names:
            return _choices(sorted(self.literals)) if "str" not in self.names else "str"
        if self.names & {"tuple", "list", "set"}:
            inner = "int" if "of int" in self.names else "float" if "of float" in self.names else "str"
            return inner + "+"
        if "int" in self.names:
            return "size" if field in _SIZES else "int"
        if "float" in self.names:
            return "float"
        if "dict" in self.names or any(name.endswith("Config") for name in self.names):
            return "json"
        return "str"


def _choices(values: list[str]) -> str:
    """Write choices as ``a|b``; whole numbers as ``int:8|16``."""
    unique = list(dict.fromkeys(values))
    if unique and all(value.isdigit() for value in unique):
        return "int:" + "|".join(sorted(unique, key=int))
    return "|".join(unique)


def _name(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _from_keywords(call: ast.Call, aliases: dict[str, ast.expr]) -> str:
    words = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    action = words.get("action")
    label = action.value if isinstance(action, ast.Constant) else _name(action) if action is not None else ""
    if label in ("store_true", "store_false"):
        return "flag"
    if label == "BooleanOptionalAction":
        return "switch"
    choices = words.get("choices")
    if isinstance(choices, ast.Name):
        choices = aliases.get(choices.id, choices)
    if isinstance(choices, ast.List | ast.Tuple | ast.Set):
        values = [str(item.value) for item in choices.elts if isinstance(item, ast.Constant)]
        starred = [item for item in choices.elts if isinstance(item, ast.Starred)]
        return _choices(values) if not starred else "str"
    kind = "str"
    given = words.get("type")
    if given is not None:
        text = ast.unparse(given)
        kind = (
            "json" if "json" in text else next((v for k, v in _ADAPTERS.items() if text.endswith(k)), "str")
        )
        if "int" in text and kind == "str":
            kind = "size" if "human" in text else "int"
    if label == "StoreBoolean":
        kind = "bool"
    many = words.get("nargs")
    if isinstance(many, ast.Constant) and many.value in ("+", "*"):
        kind += str(many.value)
    elif isinstance(many, ast.Constant) and many.value == "?":
        kind += "="
    return kind


def _flags(root: Path) -> tuple[dict[str, str], dict[str, tuple[str, ...]], set[str]]:
    """Return every flag of one version and what it takes, other names, and the OpenAI server's own flags."""
    classes, aliases = _configs(root)
    found: dict[str, str] = {}
    others: dict[str, tuple[str, ...]] = {}
    own: set[str] = set()
    for front, tree in _trees(root):
        groups: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                call = node.value
                if _name(call.func) == "get_kwargs" and isinstance(node.targets[0], ast.Name):
                    groups[node.targets[0].id] = _name(call.args[0])
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr != "add_argument":
                continue
            names = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            if not names or not any(name.startswith("--") for name in names):
                continue
            main_name = next(name for name in names if name.startswith("--"))
            if len(names) > 1:
                others[main_name] = tuple(name for name in names if name != main_name)
            spread = next((word.value for word in node.keywords if word.arg is None), None)
            if isinstance(spread, ast.Dict):
                pairs = zip(spread.keys, spread.values, strict=True)
                spread = next((value for key, value in pairs if key is None), None)
            kind: str | None = None
            decided = any(word.arg in _DECISIVE for word in node.keywords)
            if not decided and isinstance(spread, ast.Subscript) and isinstance(spread.slice, ast.Constant):
                field = str(spread.slice.value)
                annotation = classes.get(groups.get(_name(spread.value), ""), {}).get(field)
                if annotation is not None:
                    types = _Types(aliases)
                    types.read(annotation)
                    kind = types.kind(field)
            if kind is None:
                kind = _from_keywords(node, aliases)
            if front and main_name not in found:
                own.add(main_name)
            found[main_name] = kind
    for name, annotation in {
        **classes.get("BaseFrontendArgs", {}),
        **classes.get("FrontendArgs", {}),
    }.items():
        types = _Types(aliases)
        types.read(annotation)
        flag = "--" + name.replace("_", "-")
        if flag not in found:
            own.add(flag)
            found[flag] = types.kind(name)
    length = "--max-model-len"
    source = root / "engine/arg_utils.py"
    if found.get(length) == "size" and "human_readable_int_or_auto" in source.read_text(encoding="utf-8"):
        found[length] = "size_or_auto"
    return found, others, own


def _quantization_methods(root: Path) -> list[str]:
    """Return the names that ``--quantization`` accepts: the keys of a dict in old wheels, a Literal in new ones."""
    tree = ast.parse((root / "model_executor/layers/quantization/__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if _name(target) == "QUANTIZATION_METHODS" and isinstance(value, ast.Dict):
            return [str(key.value) for key in value.keys if isinstance(key, ast.Constant)]
        if _name(target) in ("QuantizationMethods", "QUANTIZATION_METHODS") and isinstance(
            value, ast.Subscript | ast.List
        ):
            elements = value.elts if isinstance(value, ast.List) else getattr(value.slice, "elts", [])
            return [str(item.value) for item in elements if isinstance(item, ast.Constant)]
    return []


def main(folder: Path) -> None:
    """Read every version below ``folder`` and write the table."""
    found = sorted(path.name for path in folder.iterdir() if (path / "vllm").is_dir())
    if not found:
        sys.exit(
            f"{folder} holds no version: unpack wheels so that {folder}/0.20.0/vllm/engine/arg_utils.py exists"
        )
    wheels = {version: read_wheel(folder / version / "vllm") for version in found}
    data = json.loads(FILE.read_text(encoding="utf-8"))
    FILE.write_text(text_of(merge(data, wheels)), encoding="utf-8")
    print(f"{FILE.name}: read {', '.join(sorted(found, key=version_key))}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.read_vllm_flags DIR   (DIR/0.20.0/vllm, ...: unpacked wheels)")
    main(Path(sys.argv[1]))
