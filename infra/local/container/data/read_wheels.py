"""Write ``arguments.json``: what each command-line flag of vLLM takes, by version.

Usage: unpack vLLM wheels side by side (``DIR/0.6.2/vllm/...``) and run
``python -m infra.local.container.data.read_wheels DIR``. The wheels are read as syntax trees and never imported, so
no GPU library is needed. Kinds: ``flag`` (no value), ``switch`` (``--x`` and ``--no-x``), ``int``, ``size`` (an int
that may be written 4k or 1M), ``float``, ``json``, ``str``; ``a|b`` choices, ``int:8|16`` whole ones; a trailing
``+`` or ``*`` takes several values, ``=`` makes the value optional.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

_SIZES = {"max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes"}
_ADAPTERS = {"nullable_str": "str", "optional_str": "str", "str": "str", "int": "int", "float": "float"}


def _trees(root: Path) -> Iterator[tuple[bool, ast.Module]]:
    """Yield the modules that add flags, and whether they are the OpenAI server's own."""
    front = _front_ends(root)
    for path in [root / "engine/arg_utils.py", root / "entrypoints/api_server.py", *front]:
        if path.exists():
            yield path in front, ast.parse(path.read_text())


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
        for node in ast.parse(file.read_text()).body:
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
    if label in ("StoreBoolean",):
        return "true|false|True|False"
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
    many = words.get("nargs")
    if isinstance(many, ast.Constant) and many.value in ("+", "*"):
        kind += str(many.value)
    elif isinstance(many, ast.Constant) and many.value == "?":
        kind += "="
    return kind


def flags(root: Path) -> tuple[dict[str, str], dict[str, list[str]], set[str]]:
    """Return every flag of one wheel and what it takes, those with other names, and the OpenAI server's own."""
    classes, aliases = _configs(root)
    found: dict[str, str] = {}
    others: dict[str, list[str]] = {}
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
                others[main_name] = names
            spread = next((word.value for word in node.keywords if word.arg is None), None)
            if isinstance(spread, ast.Dict):
                pairs = zip(spread.keys, spread.values, strict=True)
                spread = next((value for key, value in pairs if key is None), None)
            kind: str | None = None
            if isinstance(spread, ast.Subscript) and isinstance(spread.slice, ast.Constant):
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
    return found, others, own


def quantization_methods(root: Path) -> list[str]:
    """Return the names that ``--quantization`` accepts: the keys of a dict in old wheels, a Literal in new ones."""
    tree = ast.parse((root / "model_executor/layers/quantization/__init__.py").read_text())
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
    """Read every version below ``folder`` and print the table as JSON."""
    table: dict[str, dict[str, list[str]]] = {}
    versions = sorted((path.name for path in folder.iterdir() if (path / "vllm").is_dir()), key=_order)
    names: dict[str, dict[str, list[str]]] = {}
    openai: dict[str, list[str]] = {}
    for version in versions:
        found, others, own = flags(folder / version / "vllm")
        for flag, kind in found.items():
            table.setdefault(flag, {}).setdefault(kind, []).append(version)
        for flag in sorted(own):
            openai.setdefault(flag, []).append(version)
        for flag, spelt in others.items():
            names.setdefault(flag, {}).setdefault(" ".join(spelt), []).append(version)
    body = {
        "source": "vllm wheels on the package index, read by read_wheels.py",
        "versions": versions,
        "quantization": {version: quantization_methods(folder / version / "vllm") for version in versions},
        "names": names,
        "openai_server_only": openai,
        "flags": table,
    }
    print(json.dumps(body, indent=0, sort_keys=True))


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.replace("post", "").split(".") if part.isdigit())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
