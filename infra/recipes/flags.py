"""The command-line flags of each vLLM version, as a table; knows no flag by name.

``infra/catalog/vllm_flags.json`` holds every fact once, with the version in which it became so;
``scripts/read_vllm_flags.py`` writes it. Here it is read for one version at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.versions import version_key

__all__ = ["FlagTable", "FlagTables", "ForkFlag", "Replacement", "at_version"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Replacement:
    """What took the place of a removed flag: ``use`` is empty when nothing did."""

    use: str
    note: str
    removed_in: str


@dataclass(frozen=True, slots=True)
class ForkFlag:
    """A flag of Google's images that no release of vLLM has, or that takes more there.

    ``images`` are those that Google's notebooks pass it to. ``values``, where not empty, are the fork's own; the flag
    and its other values are vLLM's.
    """

    takes: str
    images: tuple[str, ...]
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlagTable:
    """The flags of one version of vLLM and of Google's fork of it.

    ``takes`` says what each of vLLM's flags takes, ``fork`` what those of the fork do; the words are described in
    ``infra/catalog/README.md``. ``other_names`` are more spellings of a flag (``-tp``), ``openai_only`` the flags that
    the plain ``api_server`` has not, ``quantization`` the methods that ``--quantization`` knows. ``first_seen`` and
    ``replaced`` span all versions.
    """

    version: str
    takes: Mapping[str, str]
    fork: Mapping[str, str]
    other_names: Mapping[str, tuple[str, ...]]
    openai_only: frozenset[str]
    quantization: tuple[str, ...]
    replaced: Mapping[str, Replacement]
    first_seen: Mapping[str, str]

    @functools.cached_property
    def negatable(self) -> frozenset[str]:
        """The switches that also exist as ``--no-...``."""
        return frozenset(flag for flag, kind in self.takes.items() if kind == "switch")

    @functools.cached_property
    def switches(self) -> frozenset[str]:
        """The flags that take no value."""
        return self.negatable | {flag for flag, kind in self.takes.items() if kind == "flag"}

    @functools.cached_property
    def either(self) -> frozenset[str]:
        """The flags that may have a value."""
        return frozenset(flag for flag, kind in self.takes.items() if kind.endswith(("=", "*")))

    @functools.cached_property
    def values(self) -> frozenset[str]:
        """The flags that need a value."""
        return frozenset(self.takes) - self.switches - self.either

    @functools.cached_property
    def all(self) -> frozenset[str]:
        """Every flag that a Google image of this version is known to take, ``--no-...`` forms included."""
        negated = {"--no-" + flag.removeprefix("--") for flag in self.negatable}
        return frozenset(self.takes) | frozenset(self.fork) | negated

    def __contains__(self, flag: object) -> bool:
        return flag in self.all

    def takes_value(self, flag: str) -> bool | None:
        """True: needs a value; False: must have none; None: may have one, or not known."""
        if flag in self.values or flag in self.fork:
            return True
        if flag in self.either or flag not in self.all:
            return None
        return False


class FlagTables:
    """``vllm_flags.json``, parsed; a version's table is derived when it is first asked for.

    ``versions`` are those whose flags are known exactly, oldest first.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.versions: tuple[str, ...] = tuple(data["versions"])
        self._index = {version: index for index, version in enumerate(self.versions)}
        self._tables: dict[str, FlagTable] = {}

    @functools.cached_property
    def fork(self) -> Mapping[str, ForkFlag]:
        """The flags of Google's images, whatever their version of vLLM."""
        return {
            flag: ForkFlag(entry["takes"], tuple(entry["images"]), tuple(entry.get("values", ())))
            for flag, entry in self._data["fork"].items()
        }

    def of(self, version: str) -> FlagTable:
        """Return the flags of a version, or of the closest older (for the oldest: the oldest) version known."""
        wanted = version_key(version)
        older = [known for known in self.versions if version_key(known) <= wanted]
        known = older[-1] if older else self.versions[0]
        if known not in self._tables:
            self._tables[known] = self._derive(known)
        return self._tables[known]

    def _derive(self, version: str) -> FlagTable:
        data = self._data
        names = self._section("other_names", version)
        return FlagTable(
            version,
            takes=self._section("flags", version),
            fork={flag: entry["takes"] for flag, entry in data["fork"].items()},
            other_names={flag: tuple(text.split()) for flag, text in names.items()},
            openai_only=frozenset(self._section("openai_server_only", version)),
            quantization=tuple(at_version(data["quantization"], self._index, version) or ()),
            replaced=self._replaced,
            first_seen=self._first_seen,
        )

    def _section(self, name: str, version: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for flag, changes in self._data[name].items():
            value = at_version(changes, self._index, version)
            if value is not None:
                found[flag] = value
        return found

    @functools.cached_property
    def _first_seen(self) -> dict[str, str]:
        return {flag: next(iter(changes)) for flag, changes in self._data["flags"].items()}

    @functools.cached_property
    def _replaced(self) -> dict[str, Replacement]:
        found: dict[str, Replacement] = {}
        for flag, entry in self._data["replaced"].items():
            changes = self._data["flags"][flag]
            gone = next(since for since, kind in changes.items() if kind is None)
            found[flag] = Replacement(entry["use"], entry["note"], gone)
        return found


def at_version(changes: Mapping[str, _T], index: Mapping[str, int], version: str) -> _T | None:
    """Return what holds in a version, of changes such as ``{"0.6.2": "int", "0.20.0": None}``, oldest first.

    Args:
        changes: the version in which something became so, and what; None is that it ended.
        index: the place of each version, oldest first.
        version: one of them.
    """
    value: _T | None = None
    for since, became in changes.items():
        if index[since] > index[version]:
            break
        value = became
    return value
