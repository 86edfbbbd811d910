"""Kills a deployment at random times and around every HTTP call, goes on as a user would, and counts what is left.

The real engine deploys a copy of the project to a local cloud. In four phases (`up`, a rolling `change`, `scale` in
place, `destroy`) the whole process tree, the engine, the vertexserving plugin or the gcp plugin is killed with
SIGKILL: at random times, and at each call that a recorded run makes. A request that is held at the server is lost with
its client, carried out after the kill, or was carried out before it. Then `vertex-vllm recover` runs where the engine
demands it, the same command runs again, and `destroy` after it.

    hit        the kill came while there was something to kill
    converged  the command ended well, a preview has no changes, state and cloud are those of a run without a kill, and
               the endpoint answers (for destroy: it ended well)
    orphans    what exists in the cloud beside that, and anything but enabled APIs after the destroy
    doubles    deployments that a run without a kill does not make: of another id, or of the same id a second time
    GPU-s      their GPU-seconds by the local cloud's account, from a machine's start to its end. A stage of a
               deployment lasts 0.05 s here, and 0.7 s for 4 s after a kill; so it is a count of seconds of this clock

    .venv/bin/python benchmarks/chaos.py --random 200 --jobs 2 --out .local/chaos.jsonl
    .venv/bin/python benchmarks/chaos.py --only up:call-10:after:machine
    .venv/bin/python benchmarks/chaos.py --random 10 --calls 0 --seed 7 --phases up,destroy

Cases are appended to the JSONL file as they end; the same command line goes on where it was interrupted. Exit status 1
where a case failed, with the line that repeats it.
"""

from __future__ import annotations

import argparse
import atexit
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks.crashes.case import KINDS, PHASES, Case, at_random, boundaries, parse
from benchmarks.crashes.run import Recording, record, run
from benchmarks.crashes.world import World
from infra.local.engine.pulumi import installed_engine

Json = dict[str, Any]
_world: World | None = None
#: Columns of the table in a pipe.
_PIPE = 140


def main() -> int:
    """Runs the cases that the options choose; 1 where one failed."""
    arguments = _arguments()
    out = Console(highlight=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = _PIPE
    only = [parse(text) for text in arguments.only]
    phases = sorted({case.phase for case in only}, key=PHASES.index) if only else arguments.phases
    begun = time.monotonic()
    recordings = {phase: record(_here(), phase) for phase in phases}
    for phase, recording in recordings.items():
        seconds = recording.picture.seconds
        out.print(f"[dim]{phase}: {len(recording.calls)} calls, {seconds:.1f} s without a kill[/]")
        if arguments.list_calls:
            for number, call in enumerate(recording.calls):
                out.print(f"  call-{number:<3} {call.owner:8} {call}", markup=False)
    if arguments.list_calls:
        return 0
    cases = only or _cases(arguments, recordings)
    done = {} if only else _read(arguments.out)
    wanted = [case for case in cases if str(case) not in done]
    out.print(
        f"[dim]{len(cases)} cases, {len(cases) - len(wanted)} of them done before; seed {arguments.seed}[/]"
    )
    results = {name: done[name] for name in map(str, cases) if name in done}
    with arguments.out.open("a") as file:
        for result in _all(wanted, recordings, arguments.jobs):
            results[result["case"]] = result
            file.write(json.dumps(result) + "\n")
            file.flush()
            _say(out, result, len(results), len(cases))
    _table(out, results.values())
    failed = [result for result in results.values() if not result["good"]]
    seconds = time.monotonic() - begun
    out.print(f"{len(results)} cases, {len(failed)} failed, {seconds:.0f} s. Each: {arguments.out}")
    for result in failed:
        out.print(
            f"again: .venv/bin/python benchmarks/chaos.py --seed {arguments.seed} --only {result['case']}",
            markup=False,
        )
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listed = lambda text: [each for each in text.split(",") if each]  # noqa: E731
    parser.add_argument("--random", type=int, default=20, metavar="N", help="kills at random times (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the random times, and of --calls N (1)")
    parser.add_argument(
        "--calls", default="all", metavar="N", help="kills around calls: all, or N drawn from them (all)"
    )
    parser.add_argument("--phases", type=listed, default=list(PHASES), help=",".join(PHASES))
    parser.add_argument("--kinds", type=listed, default=list(KINDS), help=",".join(KINDS))
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help="this case, e.g. up:call-10:after:machine"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time (1)")
    parser.add_argument("--out", type=Path, default=Path(".local/chaos.jsonl"), help="results, a line a case")
    parser.add_argument(
        "--list-calls", action="store_true", help="only show the recorded calls and their numbers"
    )
    arguments = parser.parse_args()
    for given, known in ((arguments.phases, PHASES), (arguments.kinds, KINDS)):
        if wrong := sorted(set(given) - set(known)):
            parser.error(f"{', '.join(wrong)}: there are {', '.join(known)}")
    if arguments.calls != "all" and not arguments.calls.isdigit():
        parser.error(f"--calls {arguments.calls}: all, or a number")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    return arguments


def _cases(arguments: argparse.Namespace, recordings: dict[str, Recording]) -> list[Case]:
    found = [
        case
        for phase, recording in recordings.items()
        for case in boundaries(phase, recording.calls, arguments.kinds)
    ]
    if arguments.calls != "all":
        found = random.Random(arguments.seed).sample(found, min(int(arguments.calls), len(found)))
    return found + at_random(arguments.random, arguments.seed, arguments.phases, arguments.kinds)


def _all(cases: Sequence[Case], recordings: dict[str, Recording], jobs: int) -> Iterator[Json]:
    """Runs the cases, `jobs` at a time, each job in a world of its own."""
    if jobs == 1:
        for case in cases:
            yield run(_here(), case, recordings[case.phase]).as_dict()
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_one, case, recordings[case.phase]) for case in cases]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:  # Ctrl-C, or a case that raised: those that have not begun do not begin
            pool.shutdown(cancel_futures=True)


def _one(case: Case, recording: Recording) -> Json:
    return run(_here(), case, recording).as_dict()


def _here() -> World:
    """The world of this process."""
    global _world
    if _world is None:
        engine = installed_engine()
        if engine is None:
            sys.exit("The Pulumi engine is not installed; make setup installs it.")
        _world = World(engine)
        atexit.register(_world.close)
    return _world


def _read(path: Path) -> dict[str, Json]:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {result["case"]: result for result in lines}


def _say(out: Console, result: Json, number: int, count: int) -> None:
    mark = "[green]good[/]" if result["good"] else "[red]FAILED[/]"
    note = "" if result["killed"] else " [dim](over before the kill)[/]"
    out.print(f"{number}/{count} {mark} {result['case']} {result['seconds']} s{note}")
    for problem in [*result["problems"], *result["orphans"]] if not result["good"] else ():
        out.print(f"    {problem.strip()}", markup=False)


def _table(out: Console, results: Iterable[Json]) -> None:
    table = Table(title="kill -9, then the same command again")
    for title in ("phase", "killed", "when"):
        table.add_column(title)
    for title in ("cases", "hit", "recovered", "converged", "orphans", "doubles", "GPU-s wasted"):
        table.add_column(title, justify="right")
    groups: dict[tuple[str, str, str], list[Json]] = {}
    for result in results:
        case = parse(result["case"])
        when = "random" if case.at_call is None else case.when
        if case.then == "destroy":
            when += ", then destroy"
        groups.setdefault((case.phase, case.kind, when), []).append(result)
    order = sorted(groups, key=lambda group: (PHASES.index(group[0]), KINDS.index(group[1]), group[2]))
    for group in order:
        table.add_row(*group, *_figures(groups[group]))
    table.add_section()
    table.add_row("all", "", "", *_figures([result for group in groups.values() for result in group]))
    out.print(table)


def _figures(results: Sequence[Json]) -> list[str]:
    return [
        str(len(results)),
        str(sum(result["killed"] for result in results)),
        str(sum(result["recovered"] for result in results)),
        str(sum(result["converged"] for result in results)),
        str(sum(len(result["orphans"]) for result in results)),
        str(sum(result["doubles"] for result in results)),
        f"{sum(result['gpu_seconds'] for result in results):.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
