"""How vLLM's memory accounting changed between releases, read from ``infra/catalog/vllm_memory.csv``.

A row of that table is one term's value, from the version in ``since``, under the conditions in ``when``; of the rows
that apply the last one in the file counts. So the next release of vLLM is a new row.
"""

from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.versions import version_key

_TABLE: Final = Path(__file__).resolve().parents[1] / "catalog" / "vllm_memory.csv"


@dataclass(frozen=True)
class Row:
    """One value of one term.

    ``when`` are words that must all be among the facts of a start-up; a word after ``!`` must not be. ``basis`` says
    how the value is known: ``measured`` (published start-up logs agree), ``read`` (in vLLM's code), ``guess``.
    """

    term: str
    since: tuple[int, ...]
    when: tuple[str, ...]
    value: str
    unit: str
    basis: str
    source: str

    def applies(self, version: tuple[int, ...], facts: frozenset[str]) -> bool:
        """Whether the row holds for a version under these facts."""
        if self.since > version:
            return False
        return all((word[1:] not in facts) if word[0] == "!" else (word in facts) for word in self.when)


class Constants:
    """The whole table. Use :func:`constants`; other ones are made by the calibration and by tests."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        self._terms: Mapping[str, tuple[Row, ...]] = {
            term: tuple(group)
            for term, group in itertools.groupby(
                sorted(self.rows, key=lambda row: row.term), lambda row: row.term
            )
        }

    def of(self, term: str) -> tuple[Row, ...]:
        """The rows of one term, as they stand in the table."""
        return self._terms.get(term, ())


@functools.lru_cache(maxsize=1)
def constants() -> Constants:
    """The table of the catalogue."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return Constants(
            Row(
                row["term"],
                version_key(row["since"]),
                tuple(row["when"].split()),
                row["value"],
                row["unit"],
                row["basis"],
                row["source"],
            )
            for row in csv.DictReader(file)
        )


class Accounting:
    """What one vLLM version does under the facts of one start-up.

    Args:
        version: vLLM's version.
        facts: words such as ``V1``, ``tp>1``, ``hopper``, ``moe``; see ``infra/catalog/README.md``.
        table: the constants; the catalogue's when None.

    Raises:
        ValueError: ``version`` is not a version.
    """

    def __init__(self, version: str, facts: frozenset[str], table: Constants | None = None) -> None:
        self.version = version
        self.facts = facts
        self._key = version_key(version)
        self._table = table or constants()

    def row(self, term: str) -> Row:
        """The row that counts; every term has one that applies to all versions.

        Raises:
            KeyError: there is no such term.
        """
        for row in reversed(self._table.of(term)):
            if row.applies(self._key, self.facts):
                return row
        raise KeyError(term)

    def text(self, term: str) -> str:
        """The value as a word."""
        return self.row(term).value

    def number(self, term: str) -> float:
        """The value as a number."""
        return float(self.row(term).value)

    def whole(self, term: str) -> int:
        """The value as a whole number."""
        return int(float(self.row(term).value))

    def since(self, version: str) -> bool:
        """Whether this is that version or a later one."""
        return self._key >= version_key(version)

    def on(self, term: str) -> bool:
        """Whether the value is 1."""
        return self.row(term).value == "1"
