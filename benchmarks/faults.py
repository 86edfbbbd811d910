"""The matrix of faults, counted: every call of the life of a stack's resources, with each fault that can befall it.

The same lives and checks as in `tests/faults`; every case must end as wanted. What is counted: how many ended so in the
run in which the fault struck, how many only when that run, having ended with a clean error, was repeated without it,
how often a struck call was sent, and how long the pauses before repetitions would have been in all.

    make benchmark-faults                                # prints the table; about five minutes
    .venv/bin/python benchmarks/faults.py --publish      # and writes benchmarks/data/faults.csv and docs/reliability.md
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from infra.local.cloud.testing import cloud_in_thread
from tests.faults.lives import GCP, VERTEX
from tests.faults.matrix import FAULTS, PAIRS, Call, Fault, calls_of, live, pairs

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "benchmarks" / "data" / "faults.csv"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by benchmarks/faults.py -->", "<!-- /faults -->"
LIVES = {life.name: life for life in (VERTEX, GCP)}


@dataclass
class Row:
    """One kind of fault in one life.

    Attributes:
        provider: "vertexserving", or "gcp", the stand-in.
        fault: its name.
        calls: how many calls it befell, each in a life of its own.
        at_once: how many lives went on as if nothing had happened.
        repeated: how many had one run end with a clean error, and went on with its repetition.
        failed: how many did neither.
        met: how often the faults struck.
        tries: how often a struck call was struck in one run, at most.
        longest_wait: the longest time that the pauses of one life would have taken, in seconds; 0 for gcp, whose pauses
            are not kept.
    """

    provider: str
    fault: str
    calls: int = 0
    at_once: int = 0
    repeated: int = 0
    failed: int = 0
    met: int = 0
    tries: int = 0
    longest_wait: int = 0


def measure(provider: str) -> list[Row]:
    """Every case of one life, and pairs of faults drawn at random, always the same ones."""
    warnings.simplefilter("ignore")
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    life = LIVES[provider]
    rows = []
    with cloud_in_thread() as cloud:
        calls = calls_of(cloud, life)

        def row(name: str, cases: Iterable[Sequence[tuple[Call, Fault]]]) -> None:
            counted = Row(provider, name)
            for case in cases:
                counted.calls += 1
                try:
                    outcome = live(cloud, life, case)
                except AssertionError as e:
                    counted.failed += 1
                    print(f"{provider}: {case[0][0]}: {name}: {e}", file=sys.stderr)
                    continue
                counted.at_once += not outcome.errors
                counted.repeated += bool(outcome.errors)
                counted.met += outcome.met
                counted.tries = max(counted.tries, outcome.sent)
                counted.longest_wait = max(counted.longest_wait, round(sum(outcome.pauses)))
            if counted.calls:
                rows.append(counted)

        for name, fault in FAULTS.items():
            row(name, ([(call, fault)] for call in calls if call.befalls(fault)))
        drawn = pairs(calls, PAIRS)
        row("two faults, drawn at random", ([(call, FAULTS[name]) for call, name in pair] for pair in drawn))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, the two providers side by side."""
    lines = [
        "| fault | calls | at once | after repetition | tries | longest wait "
        "| gcp: calls | at once | after repetition |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    found = {(row.provider, row.fault): row for row in rows}
    for name in dict.fromkeys(row.fault for row in rows):
        ours, theirs = found.get((VERTEX.name, name)), found.get((GCP.name, name))
        cells = [name]
        cells += (
            [
                str(ours.calls),
                str(ours.at_once),
                str(ours.repeated),
                str(ours.tries or ""),
                f"{ours.longest_wait} s" if ours.longest_wait else "",
            ]
            if ours
            else [""] * 5
        )
        cells += [str(theirs.calls), str(theirs.at_once), str(theirs.repeated)] if theirs else [""] * 3
        lines.append(f"| {' | '.join(cells)} |")
    total = {
        name: [
            sum(getattr(row, key) for row in rows if row.provider == name)
            for key in ("calls", "at_once", "repeated")
        ]
        for name in LIVES
    }
    ours_total, theirs_total = ([f"**{value}**" for value in total[name]] for name in (VERTEX.name, GCP.name))
    lines.append(f"| **together** | {' | '.join([*ours_total, '', '', *theirs_total])} |")
    return "\n".join(lines)


def publish(rows: Sequence[Row]) -> None:
    """Writes the figures into the data folder and the document."""
    with DATA.open("w", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the matrix; 1 if a case failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--publish", action="store_true", help="write benchmarks/data/faults.csv and docs/reliability.md"
    )
    options = parser.parse_args(arguments)
    with ProcessPoolExecutor(2) as pool:
        rows = [row for each in pool.map(measure, LIVES) for row in each]
    print(table(rows))
    failed = sum(row.failed for row in rows)
    if options.publish and not failed:
        publish(rows)
    print(
        f"{sum(row.calls for row in rows)} lives, {sum(row.met for row in rows)} faults met, {failed} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
