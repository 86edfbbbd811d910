"""``vertex-vllm status``: what an endpoint serves now, what it has cost, what went wrong last."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import one_gpu, print_json, table_console
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, give_up, target

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.table import Table

    from infra.client import Endpoint
    from infra.client.google import Google
    from infra.client.status import Deployment, Operation, Requests, Status

__all__ = ["status"]

_ERRORS: Final = 5
"""Lines of the last errors."""
_ERRORS_HOURS: Final = 24
_SHORTEST_NAME: Final = 12


def status(
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again and again in place, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=1.0, max=3600.0, metavar="SECONDS", help="Between two looks of --watch.")
    ] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as JSON; with --watch one line a look.")
    ] = False,
) -> None:
    """Show the endpoint of a stack: deployments, replicas, traffic, cost so far, expiry, last errors.

    Read from Vertex AI, Cloud Logging and Cloud Monitoring; nothing is changed. What cannot be read is said to be so.
    The cost is the catalogue's price times the time since each deployment that exists now, with its least and its
    most replicas: no bill, and without what was deployed before. Requests are those of the last hour, minutes late.

    \b
    Examples:
      vertex-vllm status --stack dev
      vertex-vllm status --stack dev --watch --every 5
      vertex-vllm status --endpoint 1234567890 --project my-project --region us-central1
      vertex-vllm status --stack dev --json | jq -e .ready

    \b
    Exit status:
      0  it was read; whether it serves is in the text
      2  wrong usage, or there is no such endpoint
      8  Vertex AI, Pulumi or the credentials did not answer
    """
    from infra.client import ClientError
    from infra.client.google import Google

    found = target(stack, outputs, endpoint, project, region, unfinished=True)
    with Google(found) as google:
        try:
            if watch:
                _watch(google, found, every, as_json=as_json)
                return
            now = _read(google, found)
        except ClientError as error:
            give_up(error)
    if as_json:
        print_json(now.as_dict())
    else:
        table_console().print(_page(now))


def _watch(google: Google, found: Endpoint, every: float, *, as_json: bool) -> None:
    """Look again and again. The first look must succeed; a later one that does not is told, and tried again."""
    from rich.live import Live
    from rich.text import Text

    from infra.client import NoAnswer

    if as_json:
        print(json.dumps(_read(google, found).as_dict(), ensure_ascii=False), flush=True)
        while True:
            time.sleep(every)
            try:
                print(json.dumps(_read(google, found).as_dict(), ensure_ascii=False), flush=True)
            except NoAnswer as error:
                typer.echo(f"{error} It is asked again.", err=True)
    shown = _page(_read(google, found))
    out = table_console()
    if not out.is_terminal:  # one page below the other: nothing can be overwritten
        out.print(shown)
        while True:
            time.sleep(every)
            try:
                out.print("", _page(_read(google, found)), sep="\n")
            except NoAnswer as error:
                typer.echo(f"{error} It is asked again.", err=True)
    with Live(shown, console=out, screen=False, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                shown = _page(_read(google, found))
                live.update(shown, refresh=True)
            except NoAnswer as error:
                from rich.console import Group

                live.update(Group(shown, Text(f"{error} It is asked again.", "yellow")), refresh=True)


def _read(google: Google, found: Endpoint) -> Status:
    """One look.

    Raises:
        ClientError: Vertex AI does not say what the endpoint is; what else cannot be read is a note.
    """
    from datetime import timedelta

    from infra.client import BadTarget, NoAnswer
    from infra.client.logs import log_filter, newest
    from infra.client.status import operations_of, requests_of, status_of

    document = google.endpoint()
    at = datetime.now(UTC)
    notes: list[str] = []
    operations: tuple[Operation, ...] = ()
    requests, errors = None, None
    try:
        operations = operations_of(google.operations())
    except NoAnswer as error:
        notes.append(f"operations: {error}")
    try:
        requests = requests_of(google.responses(at))
    except (NoAnswer, ValueError) as error:
        notes.append(f"requests: {error}")
    models: dict[str, Any] = {}
    for each in document.get("deployedModels") or ():
        name = str(each.get("model") or "").partition("@")[0]
        try:
            models[name] = google.model(name).get("labels") or {}
        except BadTarget:  # a model may be deleted while it is deployed
            continue
        except NoAnswer as error:
            notes.append(f"labels of {name.rpartition('/')[2]}: {error}")
    query = log_filter(found.id, severity="ERROR", since=at - timedelta(hours=_ERRORS_HOURS))
    try:
        errors = tuple(newest(google.entries, found.project, query, _ERRORS))
    except NoAnswer as error:
        notes.append(f"errors: {error}")
    return status_of(
        document,
        region=found.region,
        at=at,
        operations=operations,
        requests=requests,
        errors=errors,
        notes=tuple(notes),
        local=found.local,
        stopped=found.stopped,
        models=models,
    )


def _page(now: Status) -> Group:
    """The status for people."""
    from rich.console import Group

    return Group(*_parts(now))


def _parts(now: Status) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from infra.cli.logs import line

    head = Text.assemble((now.name or now.endpoint.rpartition("/")[2], "bold"))
    head.append("  ")
    stopped = now.stopped and not now.deployments
    word = (
        ("serves", "green")
        if now.ready
        else ("stopped", "yellow")
        if stopped
        else ("does not serve", "bold red")
    )
    head.append(*word)
    head.append(f"  {now.at:%Y-%m-%d %H:%M:%S} UTC", "dim")
    yield head
    facts = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("endpoint", now.endpoint)
    facts.add_row("kind", f"{now.kind}, {now.dns}" if now.dns else now.kind)
    facts.add_row("expiry", Text(now.expiry.text, "bold red" if now.expiry.passed else ""))
    facts.add_row("requests", _requests(now.requests))
    facts.add_row("cost", _cost(now))
    yield facts
    yield Text()
    if now.deployments and now.stopped:
        yield Text(
            f"{now.stopped} What is deployed here is of other stacks, or is being undeployed.", "yellow"
        )
    if now.deployments:
        yield _Deployments(now.deployments)
    elif now.stopped:
        yield Text(f"{now.stopped} No replica is billed.", "yellow")
    elif any(not each.done for each in now.operations):
        yield Text("No deployment yet: it serves nothing.", "yellow")
    else:
        yield Text("No deployment: it serves nothing, and no replica is billed.", "yellow")
    for each in now.deployments:
        if each.message:
            yield Text(f"{each.id}: {each.message}", "yellow")
        if each.expiry is not None:
            yield Text(f"{each.id}: expiry {each.expiry.text}", "bold red" if each.expiry.passed else "dim")
    for operation in now.operations:
        yield _operation(operation, now)
    yield Text()
    if now.errors:
        yield Text(f"Last errors ({_ERRORS_HOURS} hours; vertex-vllm logs --all shows more)", "bold")
        # Those of a deployment that failed are among them, whatever serves now.
        several = {entry.deployed_model_id for entry in now.errors} != {each.id for each in now.deployments}
        for entry in now.errors:
            shown = line(entry, several=several or len(now.deployments) > 1)
            assert isinstance(shown, Text)
            yield shown
    elif now.errors is not None:
        yield Text(f"No errors in the containers' logs of {_ERRORS_HOURS} hours.", "dim")
    for note in now.notes:
        yield Text(f"not read: {note}", "dim")


class _Deployments:
    """A row for each deployment; where the terminal is too narrow for that, a line for each fact."""

    def __init__(self, found: tuple[Deployment, ...]) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table

        if self._table(narrow=True).__rich_measure__(console, options).minimum <= options.max_width:
            yield self._table()
            return
        for each in self.found:
            facts = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
            facts.add_column(style="dim", no_wrap=True)
            facts.add_column(overflow="fold")
            for heading, cell in zip(_HEADINGS, _cells(each), strict=True):
                facts.add_row(heading, cell)
            yield facts

    def _table(self, *, narrow: bool = False) -> Table:
        """The rows; narrow with as little of the model's name in a line as can be read."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for heading in _HEADINGS:
            if heading == "model":
                table.add_column(heading, overflow="fold", width=_SHORTEST_NAME if narrow else None)
            else:
                table.add_column(heading, no_wrap=True, justify="right" if "USD" in heading else "left")
        for each in self.found:
            table.add_row(*_cells(each))
        return table


_HEADINGS: Final = ("deployment", "model", "hardware", "replicas", "traffic", "since", "USD so far")


def _cells(each: Deployment) -> tuple[RenderableType, ...]:
    from rich.text import Text

    hardware = each.machine_type
    if each.accelerator_type:
        hardware += f"\n{each.accelerator_count} x {one_gpu(each.accelerator_type)}"
    low, high = each.min_replicas, each.max_replicas
    wanted = str(low) if low == high else f"{low} to {high}"
    few = each.available is not None and each.available < low
    return (
        each.id,
        each.name or each.model.rpartition("/")[2],
        f"{hardware}, spot" if each.spot else hardware,
        Text(f"{'?' if each.available is None else each.available} of {wanted}", "red" if few else ""),
        f"{each.traffic} %",
        _ago(each.hours),
        _dollars(each.usd_so_far),
    )


def _operation(found: Operation, now: Status) -> RenderableType:
    from rich.text import Text

    began = "" if found.began is None else f"{found.began:%Y-%m-%d %H:%M:%S}"
    stage = f", {found.stage}" if found.stage else ""
    if not found.done:
        return Text(f"{found.kind} runs{began and f' since {began}'}{stage}", "yellow")
    text = Text.assemble((f"{found.kind}{began and f' of {began}'} failed{stage}: ", "bold red"))
    text.append(found.error, "red")
    if found.kind == "DeployModel":
        text.append(f"\n  why: vertex-vllm diagnose --endpoint {now.endpoint}", "dim")
    return text


def _requests(found: Requests | None) -> str:
    if found is None:
        return "unknown"
    if not found.total:
        return "none in the last hour"
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(found.by_class.items()))
    return f"{found.total} in the last hour ({kinds}), {found.failed / found.total:.1%} failed"


def _cost(now: Status) -> str:
    hour = now.usd_per_hour_now
    dates = sorted({each.price_date for each in now.deployments if each.price_date})
    if hour is None:
        text = "unknown: no published price of this hardware in this region"
    else:
        text = f"{hour:.2f} USD an hour now, {_dollars(now.usd_so_far)} USD so far"
        if dates:
            text += f", prices of {dates[0]}"
    return f"{text}; nothing here: this is the local Google Cloud" if now.local else text


def _dollars(found: tuple[float, float] | None) -> str:
    if found is None:
        return "unknown"
    low, high = (f"{amount:,.2f}" for amount in found)
    return low if low == high else f"{low} to {high}"


def _ago(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    minutes = int(hours * 60)
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{int(hours // 24)} days {int(hours % 24)} h"
