"""The command-line flags of each vLLM version, as a table; knows no flag by name."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FlagTable", "Replacement", "load_flags", "version_key"]


@dataclass(frozen=True, slots=True)
class Replacement:
    """What took the place of a removed flag: ``use`` is empty when nothing did."""

    use: str
    note: str
    removed_in: str


@dataclass(frozen=True)
class FlagTable:
    """The flags of one version of vLLM and of Google's fork of it.

    ``switches`` take no value, ``values`` need one, ``either`` may have one. A switch in ``negatable`` also exists as
    ``--no-...``. ``first_seen`` and ``replaced`` span all versions.
    """

    version: str
    switches: frozenset[str]
    values: frozenset[str]
    either: frozenset[str]
    negatable: frozenset[str]
    fork: frozenset[str]
    replaced: Mapping[str, Replacement]
    first_seen: Mapping[str, str]

    @functools.cached_property
    def all(self) -> frozenset[str]:
        """Every flag that a Google image of this version is known to take, ``--no-...`` forms included."""
        negated = frozenset("--no-" + flag.removeprefix("--") for flag in self.negatable)
        return self.switches | self.values | self.either | self.fork | negated

    def __contains__(self, flag: object) -> bool:
        return flag in self.all

    def takes_value(self, flag: str) -> bool | None:
        """True: needs a value; False: must have none; None: may have one, or not known."""
        if flag in self.values or flag in self.fork:
            return True
        if flag in self.either or flag not in self.all:
            return None
        return False


def version_key(version: str) -> tuple[int, ...]:
    """Order versions: ``0.8.5.post1`` after ``0.8.5``, ``0.10.2`` after ``0.9.2``."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def load_flags(data: Mapping[str, Any]) -> dict[str, FlagTable]:
    """Build the table of every version in ``vllm_flags.json``, oldest version first."""
    replaced = {flag: Replacement(**entry) for flag, entry in data["replaced"].items()}
    fork = frozenset(data["fork"])
    first_seen: dict[str, str] = {}
    tables: dict[str, FlagTable] = {}
    for version in sorted(data["versions"], key=version_key):
        kinds = {kind: frozenset(flags) for kind, flags in data["versions"][version].items()}
        negatable = kinds["switch_with_no"]
        for flags in kinds.values():
            for flag in flags:
                first_seen.setdefault(flag, version)
        tables[version] = FlagTable(
            version,
            kinds["switch"] | negatable,
            kinds["value"],
            kinds["either"],
            negatable,
            fork,
            replaced,
            first_seen,
        )
    return tables
