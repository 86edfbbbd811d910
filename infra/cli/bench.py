"""``vertex-vllm bench``: load on an endpoint, and how fast its tokens come."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import Exit, fail, print_json, table_console
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, give_up, target

if TYPE_CHECKING:
    from rich.console import Console

    from infra.bench.compare import Change
    from infra.bench.load import Kind, Outcome
    from infra.bench.results import Level, Price, Run
    from infra.bench.run import Plan
    from infra.client import Endpoint

__all__ = ["bench"]

_MOST_LEVELS: Final = 12
_NEAR_LIMIT_S: Final = 57.0
"""No request of less can have reached the 60 s of the shared host, nor what a dedicated one is usually set to."""
_GIVEN_UP: Final = ("no whole answer in", "no byte for", "not sent")
_AT_ONCE_S: Final = 5e-5  # 20,000 tokens a second of one answer
_MOST: Final = {"concurrency": 512.0, "rate": 100.0}
_WIDE: Final = 118
_COLUMNS: Final = {
    "answers": "\nanswers",
    "errors": "\nerrors",
    "requests": "\nreq/s",
    "tokens": "output\ntokens/s",
    "ttft50": "TTFT ms\np50",
    "ttft95": "\np95",
    "ttft99": "\np99",
    "tpot50": "TPOT ms\np50",
    "tpot95": "\np95",
    "tpot99": "\np99",
    "latency50": "latency s\np50",
    "latency95": "\np95",
    "usd": "USD/1M\noutput",
}
_WIDE_ONLY: Final = {"requests", "ttft99", "tpot99", "latency50", "latency95"}
_LOAD, _PRICE, _RESULT = "Load", "Price", "Result"


def bench(
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…", help="Closed loop: requests under way at once (1,4,16).", rich_help_panel=_LOAD
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R,R,…",
            help="Open loop instead: requests a second, at random times.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    requests: Annotated[
        int, typer.Option(min=1, max=10_000, help="Most requests a level.", rich_help_panel=_LOAD)
    ] = 100,
    seconds: Annotated[
        float,
        typer.Option(
            min=1, max=3600, help="Seconds a level after which none is sent.", rich_help_panel=_LOAD
        ),
    ] = 60,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds a request may take.", rich_help_panel=_LOAD)
    ] = 120,
    input_tokens: Annotated[
        int, typer.Option(min=16, max=1_000_000, help="Tokens of a prompt, about.", rich_help_panel=_LOAD)
    ] = 256,
    output_tokens: Annotated[
        int, typer.Option(min=1, max=100_000, help="Tokens of an answer: max_tokens.", rich_help_panel=_LOAD)
    ] = 128,
    ignore_eos: Annotated[
        bool,
        typer.Option(
            help="Whether every answer has all of --output-tokens; a field of vLLM's.", rich_help_panel=_LOAD
        ),
    ] = True,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help='Own prompts, one a line: text, or {"prompt": "…"}.', rich_help_panel=_LOAD
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="A LoRA adapter, else empty.", rich_help_panel=_LOAD)
    ] = "",
    seed: Annotated[int, typer.Option(help="Of words and random times.", rich_help_panel=_LOAD)] = 0,
    stack_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Stack file for the price, where the endpoint is not found by its stack.",
            rich_help_panel=_PRICE,
        ),
    ] = None,
    usd_per_hour: Annotated[
        float | None,
        typer.Option(min=0.0001, help="Own price of all replicas.", rich_help_panel=_PRICE),
    ] = None,
    read: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="RUN.json", help="Show a saved run; nothing is sent.", rich_help_panel=_RESULT
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="RUN.json", help="An earlier run to compare with.", rich_help_panel=_RESULT),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="RUN.json", help="Keep the run, with every time.", rich_help_panel=_RESULT),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw it.", rich_help_panel=_RESULT)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=_RESULT)] = False,
) -> None:
    """Measure an endpoint under load: time to first token, time per output token, throughput, errors, cost.

    It sends streaming chat requests to the endpoint that you name, and to no other: one to warm up, then each level.
    Before that it says how many requests and tokens that can be at most. Ctrl-C keeps the levels that ended.

    \b
    TTFT     from sending a request (in an open loop: from when it was due) to
             the first piece with text; what a connection takes to open
             before there is any load is not counted
    TPOT     (last piece - first piece) / (output tokens - 1)
    latency  to the last piece
    Tokens are those that the server counts. Times and throughput are of whole
    answers.

    \b
    Examples:
      vertex-vllm bench --stack dev
      vertex-vllm bench --stack dev --rate 0.5,1,2,4 --save monday.json
      vertex-vllm bench --stack dev --compare monday.json --plot bench.svg
      vertex-vllm bench --from tuesday.json --compare monday.json
      vertex-vllm bench --endpoint 1234567890 --project my-project \\
        --region us-central1 --stack-file stacks/my.yaml --json

    \b
    Exit status:
      0  measured; requests that failed are in the table
      2  wrong usage, an endpoint or a file that cannot be read, or a run that
         cannot be written
      8  no request had a whole answer; or Vertex AI, pulumi or the credentials
         do not work
    """
    from datetime import UTC, datetime

    from infra.bench.load import Bounds
    from infra.bench.prompts import PromptsProblem, from_file
    from infra.bench.results import Run, RunProblem, Workload, read_run
    from infra.bench.run import Plan

    given = [
        name
        for name, value in (("--stack", stack), ("--outputs", outputs), ("--endpoint", endpoint))
        if value
    ]
    for option, path in (("--save", save), ("--plot", plot)):
        if path is not None and path.is_dir():
            fail(f"{option} {path}: is a folder. Name a file in it.")
        if path is not None and not path.absolute().parent.is_dir():
            fail(f"{option} {path}: there is no folder {path.parent}.")
    try:
        before = None if compare is None else read_run(compare)
        kept = None if read is None else read_run(read)
    except RunProblem as problem:
        fail(problem)
    if kept is not None:
        if given:
            raise typer.BadParameter(f"sends nothing, so it goes without {given[0]}.", param_hint="--from")
        run, interrupted = kept, False
    else:
        kind, values = _levels(concurrency, rate)
        found = target(stack, outputs, endpoint, project, region, asked=True)
        price, hardware = _price(found, stack_file, usd_per_hour)
        try:
            plan = Plan(
                kind=kind,
                values=values,
                bounds=Bounds(requests=requests, seconds=seconds, timeout=timeout),
                workload=Workload(
                    input_tokens=None if prompts else input_tokens,
                    output_tokens=output_tokens,
                    ignore_eos=ignore_eos,
                    prompts=None if prompts is None else prompts.name,
                ),
                prompts=None if prompts is None else from_file(prompts),
                model=model,
                seed=seed,
            )
        except PromptsProblem as problem:
            fail(problem)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        levels, interrupted = _measured(found, plan)
        run = Run(
            created=created,
            endpoint=found.name,
            hardware=hardware,
            workload=plan.workload,
            price=price,
            local=found.local,
            levels=levels,
        )
    written = _write(run, before, save=save, plot=plot)
    if as_json:
        print_json(_as_dict(run, before))
    else:
        _show(table_console(), run, before)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if not written:
        raise typer.Exit(Exit.BAD_INPUT)
    if not any(level.completed for level in run.levels):
        raise typer.Exit(Exit.NO_ANSWER)


# What is asked -----------------------------------------------------------------------------------------------------


def _levels(concurrency: str | None, rate: str | None) -> tuple[Kind, tuple[float, ...]]:
    """The levels that were asked for; exits where they make no sense."""
    if concurrency is not None and rate is not None:
        raise typer.BadParameter("goes without --concurrency: a loop is open or closed.", param_hint="--rate")
    kind: Kind = "concurrency" if rate is None else "rate"
    option, text = f"--{kind}", rate if rate is not None else "1,4,16" if concurrency is None else concurrency
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of numbers, such as 1,4,16.", param_hint=option
        ) from None
    if not 1 <= len(values) <= _MOST_LEVELS or len(set(values)) < len(values):
        raise typer.BadParameter(f"wants 1 to {_MOST_LEVELS} different levels.", param_hint=option)
    most = _MOST[kind]
    for value in values:
        if not math.isfinite(value) or not 0 < value <= most:
            raise typer.BadParameter(f"{value:g} is not above 0 and at most {most:g}.", param_hint=option)
        if kind == "concurrency" and value != int(value):
            raise typer.BadParameter(f"{value:g} is no whole number.", param_hint=option)
    return kind, values


def _price(
    endpoint: Endpoint, stack_file: Path | None, usd_per_hour: float | None
) -> tuple[Price | None, str]:
    """What the endpoint costs an hour, and its hardware: by hand, by a stack file, or by the stack's outputs."""
    from infra.bench.results import Price
    from infra.recipes.costs import Costs, costs_of

    costs = Costs.from_dict(endpoint.outputs.get("cost"))
    if stack_file is not None:
        from infra.cli.stack import planned

        plan, _ = planned(stack_file, region=endpoint.region)
        costs = costs_of(plan)
    hardware = "" if costs is None else costs.hardware
    if usd_per_hour is not None:
        return Price(usd_per_hour=usd_per_hour, source="--usd-per-hour"), hardware
    if costs is None or not costs.idle or endpoint.local:  # a simulation's speed at a GPU's price is no cost
        return None, hardware
    replicas = f"{costs.min_replicas} replica{'' if costs.min_replicas == 1 else 's'}"
    grown = (
        "" if costs.max_replicas == costs.min_replicas else f", up to {costs.max_replicas} would cost more"
    )
    source = f"{replicas} {costs.capacity}{grown}; prices of {costs.date or 'unknown date'}"
    return Price(usd_per_hour=costs.idle, source=source), hardware


# The run -----------------------------------------------------------------------------------------------------------


def _measured(endpoint: Endpoint, plan: Plan) -> tuple[tuple[Level, ...], bool]:
    """The levels that ended, and whether Ctrl-C ended them; exits where not even one request has an answer."""
    import asyncio

    from infra.bench.run import WarmUpFailed, measure
    from infra.client import ClientError

    token = endpoint.token()
    try:
        token.get()  # credentials that do not work end it here, not as an error of each request
    except ClientError as error:
        give_up(error)
    count = len(plan.values)
    typer.echo(
        f"{endpoint.name}: {count} level{'' if count == 1 else 's'}, at most {plan.most_requests:,} requests of"
        f" {plan.workload.output_tokens:,} output tokens and {plan.most_seconds / 60:.0f} minutes.",
        err=True,
    )
    levels: list[Level] = []
    began = time.monotonic()
    try:
        with _Progress(plan) as progress:
            asyncio.run(measure(plan, endpoint.openai_base_url, token.get, levels, progress))
    except WarmUpFailed as error:
        typer.echo(f"The first request had no whole answer, so no load was sent: {error}", err=True)
        for hint in _hints([str(error)], endpoint.name, time.monotonic() - began):
            typer.echo(f"  {hint}", err=True)
        raise typer.Exit(Exit.NO_ANSWER) from None
    except KeyboardInterrupt:
        if not levels:
            raise
        typer.echo(f"Interrupted: {len(levels)} of {count} levels ended.", err=True)
        return tuple(levels), True
    return tuple(levels), False


class _Progress:
    """A bar on stderr, where that is a terminal."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._plan, self._failed = plan, 0
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar: Any = None

    def __enter__(self) -> _Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begins(self, value: float) -> None:
        self._failed = 0
        name = f"{self._plan.kind} {value:g}"
        self._bar = self._bars.add_task(name, total=self._plan.bounds.requests, failed="")

    def answered(self, outcome: Outcome) -> None:
        if self._bar is not None:
            self._failed += outcome.error is not None
            failed = f"{self._failed} failed" if self._failed else ""
            self._bars.update(self._bar, advance=1, failed=failed)


# What is shown -----------------------------------------------------------------------------------------------------


def _write(run: Run, before: Run | None, *, save: Path | None, plot: Path | None) -> bool:
    """Whether every file that was asked for is there; a run that was paid for is shown all the same."""
    written = True
    for option, path in (("--save", save), ("--plot", plot)):
        if path is None:
            continue
        if option == "--save":
            text = run.saved()
        else:
            from infra.bench.plot import plot as drawn

            text = drawn(run, before)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            typer.echo(f"{option} {path}: cannot be written: {error.strerror or error}.", err=True)
            written = False
    return written


def _as_dict(run: Run, before: Run | None) -> dict[str, Any]:
    found = run.as_dict()
    if before is not None:
        from infra.bench.compare import compare, differences

        found["compared"] = {
            "before": before.created,
            "differences": list(differences(before, run)),
            "levels": [
                {
                    "kind": each.level.kind,
                    "value": each.level.value,
                    **{change.name: change.as_dict() for change in each.changes},
                }
                for each in compare(before, run)
            ],
        }
    return found


def _show(console: Console, run: Run, before: Run | None) -> None:
    from rich.table import Table
    from rich.text import Text

    rates = {level.kind for level in run.levels} == {"rate"}
    columns = [_column(level, run) for level in run.levels]
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False)
    table.add_column("\nrate" if rates else "\nconcurrency", justify="right", no_wrap=True)
    shown = [name for name in _COLUMNS if wide or name not in _WIDE_ONLY]
    for name in shown:
        table.add_column(_COLUMNS[name], justify="right", no_wrap=True)
    for level, found in zip(run.levels, columns, strict=True):
        table.add_row(
            level.name,
            *(Text(found[name], style="red" if name == "errors" and level.failed else "") for name in shown),
        )
    console.print(table)
    for line in _notes(run):
        console.print(Text(line), soft_wrap=True)
    if before is not None:
        _show_changes(console, before, run)


def _column(level: Level, run: Run) -> dict[str, str]:
    """The cells of a level by the names of `_COLUMNS`."""
    found = {
        "answers": str(level.completed),
        "errors": str(level.failed),
        "requests": _number(level.requests_per_second, 2),
        "tokens": _number(level.output_per_second, 1),
        "usd": _number(level.usd_per_million_output(run.price), 2, "unknown"),
    }
    for name, values, factor, digits in (
        ("ttft", level.ttft, 1000, 0),
        ("tpot", level.tpot, 1000, 1),
        ("latency", level.latency, 1, 2),
    ):
        found |= {f"{name}{rank}": cell for rank, cell in _ranks(values, factor, digits).items()}
    return found


def _notes(run: Run) -> list[str]:
    """What the table does not say."""
    lines = [""]
    counted = [
        f"{level.name}: {level.input_tokens / level.completed:,.0f}/{level.output_tokens / level.completed:,.0f}"
        for level in run.levels
        if level.completed and level.input_tokens is not None and level.output_tokens is not None
    ]
    if counted:
        lines.append(f"Tokens a request, in/out: {', '.join(counted)}")
    if any(level.completed and level.output_tokens is None for level in run.levels):
        lines.append(
            "The server does not say how many tokens its answers have: no TPOT, throughput and cost."
        )
    if not run.local and any(_at_once(level) for level in run.levels):
        lines.append(
            "Answers came all at once: something on the way does not stream, as the shared host may not. TTFT and TPOT"
            " say nothing then; a dedicated endpoint streams."
        )
    if run.local:
        lines.append("This is the local Google Cloud: the times are those of this machine, not of a GPU.")
    elif run.price is None:
        lines.append("Price unknown: --stack-file FILE or --usd-per-hour X gives one.")
    else:
        lines.append(
            f"Price: {run.price.usd_per_hour:.4f} USD an hour ({run.price.source}), all of it counted."
        )
    for level in run.levels:
        lines += [f"{level.kind} {level.name}: {count} x {error}" for error, count in level.errors.items()]
        given_up = sum(count for error, count in level.errors.items() if error.startswith(_GIVEN_UP))
        if given_up:
            lines.append(
                f"{level.kind} {level.name}: the {given_up} of {level.sent} requests that were given up are in none of"
                " the times above: users would wait longer than these say."
            )
        if level.stopped:
            lines.append(
                f"{level.kind} {level.name}: {level.sent} requests were sent, then no more: {level.stopped}."
            )
        if level.late > 0.1:
            lines.append(
                f"{level.kind} {level.name}: this machine sent up to {level.late:.1f} s too late;"
                " that is in the times. Use a faster one, or a lower rate."
            )
    longest = max((level.duration for level in run.levels), default=0.0)
    lines += _hints([error for level in run.levels for error in level.errors], run.endpoint, longest)
    return lines


def _at_once(level: Level) -> bool:
    """Whether half of the answers came faster than any model writes."""
    return bool(level.tpot) and statistics.median(level.tpot) < _AT_ONCE_S


def _hints(errors: list[str], endpoint: str, seconds: float) -> list[str]:
    """What can be done about errors of requests that took so many seconds at most; nothing where nothing is known."""
    found = []
    if any(error.startswith(("HTTP 503", "HTTP 504", "the stream broke")) for error in errors):
        found.append(
            "503, 504 or a broken stream is what a request gets that reaches the endpoint's time limit (60 s on the"
            " shared host; inferenceTimeout, at most 3600 s, on a dedicated one): lower --output-tokens or the load."
            if seconds >= _NEAR_LIMIT_S
            else "503, 504 or a broken stream: vertex-vllm status shows whether a replica is ready, vertex-vllm logs"
            " what it wrote."
        )
    if any("chat template" in error for error in errors):
        found.append(
            "It sends chat requests; vllm.chat_template: plain in the stack file gives a base model a chat."
        )
    if any(error.startswith("HTTP 429") for error in errors):
        found.append("429: requests a minute are limited by quota: lower the load, or ask for more quota.")
    if any(error.startswith(("HTTP 401", "HTTP 403")) for error in errors):
        found.append(f"Who calls needs aiplatform.endpoints.predict on {endpoint} (roles/aiplatform.user).")
    return found


def _show_changes(console: Console, before: Run, run: Run) -> None:
    from rich.table import Table
    from rich.text import Text

    from infra.bench.compare import compare, differences

    console.print()
    found = compare(before, run)
    if not found:
        console.print(Text(f"The run of {before.created} has none of these levels: nothing to compare."))
        return
    names = {
        "output_throughput": "output tokens/s",
        "ttft": "TTFT p50",
        "tpot": "TPOT p50",
        "latency": "latency p50",
    }
    table = Table(box=None, pad_edge=False)
    table.add_column(f"against {before.created}")
    for change in found[0].changes:
        table.add_column(names[change.name], justify="right", no_wrap=True)
    for each in found:
        table.add_row(f"{each.level.kind} {each.level.name}", *(_moved(change) for change in each.changes))
    console.print(table)
    console.print(
        Text("~ may be chance (Mann-Whitney U test of every request's time, p >= 0.01)", style="dim")
    )
    for difference in differences(before, run):
        console.print(Text(f"Not the same: {difference}", style="yellow"), soft_wrap=True)


def _moved(change: Change) -> Any:
    from rich.text import Text

    percent = change.percent
    if percent is None:
        return Text("unknown")
    said = f"{percent:+.1f} %"
    style = {"better": "green", "worse": "red"}.get(change.verdict, "")
    return Text(f"~ {said}" if change.verdict == "noise" else said, style=style)


def _ranks(values: tuple[float, ...], factor: float, digits: int) -> dict[int, str]:
    from infra.bench.results import percentile

    found = {rank: percentile(values, rank) for rank in (50, 95, 99)}
    return {rank: _number(None if value is None else factor * value, digits) for rank, value in found.items()}


def _number(value: float | None, digits: int, unknown: str = "-") -> str:
    return unknown if value is None else f"{value:,.{digits}f}"
