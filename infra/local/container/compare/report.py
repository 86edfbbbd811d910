"""Judges differences by the explanations and writes them down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from infra.local.container.real.environment import VLLM_VERSION

Explanation = Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """One place where two answers differ."""

    where: str
    simulated: Any
    real: Any


@dataclass(frozen=True)
class Row:
    """One line of the table: a case without a difference, or one difference."""

    case: str
    verdict: str
    difference: Difference | None = None
    why: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the printed table, values cut to a readable length."""
        if self.difference is None:
            return (self.case, self.verdict, "", "", "", "")
        shown = (_short(self.difference.simulated), _short(self.difference.real))
        return (self.case, self.verdict, self.difference.where, *shown, self.why)


def explanation_for(
    case: str, difference: Difference, explanations: Sequence[Explanation]
) -> Explanation | None:
    """Return the entry that explains a difference, or None."""
    for entry in explanations:
        if fnmatchcase(case, entry["case"]) and fnmatchcase(difference.where, entry["where"]):
            return entry
    return None


def judge(results: Iterable[tuple[str, list[Difference]]], explanations: Sequence[Explanation]) -> list[Row]:
    """Return one row for each equal case and one for each difference."""
    rows: list[Row] = []
    for case, found in results:
        if not found:
            rows.append(Row(case, "equal"))
        for difference in found:
            entry = explanation_for(case, difference, explanations)
            verdict = "explained" if entry else "UNEXPLAINED"
            rows.append(Row(case, verdict, difference, entry["why"] if entry else ""))
    return rows


def unused(
    results: Iterable[tuple[str, list[Difference]]], explanations: Sequence[Explanation]
) -> list[Explanation]:
    """Return the entries that explain nothing any more."""
    met = [explanation_for(case, item, explanations) for case, found in results for item in found]
    return [entry for entry in explanations if entry not in met]


def counts(rows: Sequence[Row]) -> str:
    """Return the totals as a sentence."""
    cases = {row.case for row in rows}
    equal = sum(row.verdict == "equal" for row in rows)
    explained = sum(row.verdict == "explained" for row in rows)
    unexplained = sum(row.verdict == "UNEXPLAINED" for row in rows)
    rest = f"{explained} explained and {unexplained} unexplained differences in the rest"
    return f"{len(cases)} cases: {equal} equal; {rest}"


def markdown(rows: Sequence[Row], total: str) -> str:
    """Return the findings as a Markdown page."""
    day = datetime.now(UTC).date().isoformat()
    lines = [
        "# Simulated and real vLLM",
        "",
        f"Written by `python -m infra.local.container.compare --report docs/vllm-differences.md` on {day}: the "
        f"simulated container and vLLM {VLLM_VERSION} (CPU build, shrunk models with random weights) got the same "
        "arguments and the same requests. Compared: status, content type, every field and its value, every kind of "
        "streaming frame, and the text of refusals. Not compared: ids, times, words of answers and numbers of tokens "
        "(the simulation has no model, and a tokenizer of its own); start-up lines and memory (there is no GPU); "
        "Google's own build and older versions, whose arguments, texts and fields were read in the released wheels "
        "and not seen running.",
        "",
        f"{total}.",
        "",
        "## Differences",
        "",
        "| case | where | simulated | real | why |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row.difference is not None:
            one, other = _cell(row.difference.simulated), _cell(row.difference.real)
            lines.append(
                f"| {row.case} | `{row.difference.where}` | {one} | {other} | {row.why or row.verdict} |"
            )
    lines += ["", "## Equal", ""]
    lines += [f"- {row.case}" for row in rows if row.verdict == "equal"]
    return "\n".join(lines) + "\n"


def _short(value: Any, length: int = 120) -> str:
    text = str(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _cell(value: Any) -> str:
    text = _short(value, 240).replace("|", "\\|").replace("\n", " ")
    return f"`{text}`"
