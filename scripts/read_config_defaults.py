"""Reads what a key that a ``config.json`` leaves out means, into ``infra/cards/config_defaults.json``.

Usage, from the root of the repository, with the wheel of transformers unpacked as ``DIR/transformers``:
``python -m scripts.read_config_defaults DIR VERSION``. Only the keys and the model types that ``infra/cards/config.py``
reads are kept, and of those only whole numbers, truth values and texts: a default that is computed, such as
``num_key_value_heads`` from ``num_attention_heads``, is the reader's own. The sources are read as syntax trees
and never imported.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any, Final

from infra.cards.config import COMPOSITES, KEYS
from infra.cards.families import FAMILIES

FILE: Final = Path(__file__).resolve().parent.parent / "infra" / "cards" / "config_defaults.json"


def read(models: Path) -> dict[str, dict[str, Any]]:
    """The defaults by model type; ``models`` is the folder ``transformers/models``."""
    wanted = {family.defaults_of or kind for kind, family in FAMILIES.items()}
    wanted |= set(COMPOSITES) | {c.vision_type for c in COMPOSITES.values() if c.vision_type}
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(models.glob("*/configuration_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                kind, defaults = _read_class(node)
                if kind in wanted and defaults:
                    found[kind] = dict(sorted(defaults.items()))
    return dict(sorted(found.items()))


def _read_class(node: ast.ClassDef) -> tuple[str | None, dict[str, Any]]:
    kind: str | None = None
    defaults: dict[str, Any] = {}
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            if item.targets[0].id == "model_type":
                kind = _value(item.value)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            value = _value(item.value)
            if item.target.id in KEYS and isinstance(value, int | str):
                defaults[item.target.id] = value
    return kind, defaults


def _value(node: ast.expr) -> Any:
    """A constant, ``default=`` of a field, or a product of constants; None for anything else."""
    if isinstance(node, ast.Call):
        return next((_value(keyword.value) for keyword in node.keywords if keyword.arg == "default"), None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _value(node.left), _value(node.right)
        return left * right if isinstance(left, int) and isinstance(right, int) else None
    return node.value if isinstance(node, ast.Constant) else None


def main(arguments: list[str]) -> int:
    """Write the table."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder, version = arguments
    models = Path(folder) / "transformers" / "models"
    if not models.is_dir():
        print(
            f"{models}: there is no such folder. Unpack the wheel of transformers in {folder}.",
            file=sys.stderr,
        )
        return 1
    defaults = read(models)
    lines = ",\n".join(f"    {json.dumps(kind)}: {json.dumps(values)}" for kind, values in defaults.items())
    source = f"transformers {version}, src/transformers/models/*/configuration_*.py"
    FILE.write_text(
        f'{{\n  "source": {json.dumps(source)},\n  "defaults": {{\n{lines}\n  }}\n}}\n', encoding="utf-8"
    )
    print(f"{FILE.name}: {len(defaults)} model types of transformers {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
