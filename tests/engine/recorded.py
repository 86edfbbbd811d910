"""Which stacks have their states recorded, and how each is set up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.engine.support import EngineStack

STATES: Final = Path(__file__).parent / "states"
"""A folder for each version, a file for each variant: what `pulumi stack export` wrote."""


@dataclass(frozen=True)
class Variant:
    """One stack.

    Attributes:
        changes: What differs from the shipped stack file, see `EngineStack.change_stack_file`.
        settings: Settings of the stack.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


VARIANTS: Final[Mapping[str, Variant]] = {
    "plain": Variant(),
    "dedicated": Variant({"endpoint": {"dedicated": True}}),
    "spot": Variant({"hardware": {"spot": True}, "replicas": {"max_replica_count": 2}}),
    "telemetry": Variant(settings={"telemetry": True}),
    "lora": Variant({"lora": {"sql": "nvidia/llama-3.1-8b-sql"}}),
}


def apply(stack: EngineStack, variant: Variant) -> None:
    """Gives a stack the stack file and the settings of a variant."""
    if variant.changes:
        stack.change_stack_file(variant.changes)
    stack.configure(maxUsdPerHour=None, **variant.settings)
