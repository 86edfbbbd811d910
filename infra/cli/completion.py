"""What a shell offers as values of options: the names that this clone has. Light, for it runs at every TAB."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["levels", "model_ids", "stack_names"]

ROOT: Final = Path(__file__).resolve().parents[2]
_MODELS: Final = "infra/catalog/models"
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def stack_names(incomplete: str) -> list[str]:
    """Stacks with a settings file, `Pulumi.STACK.yaml`."""
    names = [file.name[len("Pulumi.") : -len(".yaml")] for file in ROOT.glob("Pulumi.*.yaml")]
    return sorted(name for name in names if name.startswith(incomplete))


def model_ids(incomplete: str) -> list[str]:
    """Models of the catalogue, by their Hugging Face id."""
    owners = ROOT / _MODELS
    names = [file.relative_to(owners).with_suffix("").as_posix() for file in owners.glob("*/*.yaml")]
    return sorted(name for name in names if name.startswith(incomplete))


def levels(incomplete: str) -> list[str]:
    """Severities of Cloud Logging, in lower case."""
    return [level for level in _LEVELS if level.startswith(incomplete)]
