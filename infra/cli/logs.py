"""``vertex-vllm logs``: what the containers of a deployment wrote, from Cloud Logging."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli.common import console, fail, print_json
from infra.cli.completion import levels
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, give_up, target

if TYPE_CHECKING:
    from rich.console import Console

    from infra.client.google import Google
    from infra.client.logs import Entry

__all__ = ["line", "logs"]

# The mildest first; infra.client.logs, which would be imported for every --help, has them too, and a test compares.
_LEVELS: Final = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_STYLES: Final = {"WARNING": "yellow", "DEBUG": "dim", "DEFAULT": "dim"} | dict.fromkeys(
    ("ERROR", "CRITICAL", "ALERT", "EMERGENCY"), "bold red"
)
_WEEK: Final = timedelta(days=7)
_PATIENCE: Final = 10
"""Questions without an answer, one after the other, after which following ends."""


def logs(
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines as they come, until Ctrl-C.")
    ] = False,
    severity: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="This level and worse: debug, info, warning, error, critical.",
            autocompletion=levels,
        ),
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="TEXT", help="Only what contains this text, whatever the case.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="30m, 2h, 7d ago, or a time: 2026-11-26T18:00:00Z.")
    ] = "1d",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=100_000, metavar="N", help="The newest N entries.")
    ] = 200,
    deployment: Annotated[
        str, typer.Option(metavar="ID", help="One deployed model's, by its id; default: the stack's.")
    ] = "",
    whole: Annotated[
        bool, typer.Option("--all", help="Of every deployment of the endpoint, also those that failed.")
    ] = False,
    access: Annotated[
        bool, typer.Option("--access", help="Also one entry a request, where access logging is on.")
    ] = False,
    query: Annotated[
        bool, typer.Option("--query", help="Only show the filter and the console's link; read nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One document; with --follow one line of JSON an entry.")
    ] = False,
) -> None:
    """Show what the containers of a stack's deployment wrote, the newest last.

    The entries go to standard output, a line of text is never wrapped, so that grep and less work. The filter and the
    link that shows the same in the console go to standard error. Times are UTC.

    A line's level is what vLLM or uvicorn writes in front of it, else Cloud Logging's, which calls everything on the
    containers' stderr ERROR.

    With --endpoint the logs of every deployment of that endpoint are shown; with --stack those of its deployment.
    A deployment that failed is no output of its stack: --all shows it.

    \b
    Examples:
      vertex-vllm logs --stack dev
      vertex-vllm logs --stack dev --follow --severity warning
      vertex-vllm logs --stack dev --all --since 2h --text "KV cache"
      vertex-vllm logs --stack dev --severity error --json | jq -r .entries[].text
      vertex-vllm logs --endpoint 1234567890 --project P --region us-central1

    \b
    Exit status:
      0  they were shown, or there are none
      2  wrong usage, or there is no such endpoint
      8  Cloud Logging, Pulumi or the credentials did not answer
    """
    from infra.client import ClientError
    from infra.client.google import Google
    from infra.client.logs import console_url, log_filter, newest, parse_since

    level = {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(severity.upper(), severity.upper())
    if level and level not in _LEVELS:
        fail(f"--severity {severity}: there is no such level. One of {', '.join(_LEVELS).lower()}.")
    if whole and deployment:
        fail("--all and --deployment ID exclude each other.")
    now = datetime.now(UTC)
    try:
        begin = parse_since(since, now)
    except ValueError as error:
        fail(f"--since {error}.")
    found = target(stack, outputs, endpoint, project, region, unfinished=True)
    chosen = deployment or ("" if whole or endpoint or not found.deployed else found.deployed[0].id)

    def filter_from(moment: datetime) -> str:
        return log_filter(
            found.id, deployed_model_id=chosen, severity=level, text=text, since=moment, access=access
        )

    selected = filter_from(begin)
    link = console_url(found.project, selected)
    if query:
        if as_json:
            print_json({"filter": selected, "console": link})
        else:
            typer.echo(f"{selected}\n{link}")
        return
    with Google(found) as google:
        try:
            entries = newest(google.entries, found.project, selected, limit)
        except ClientError as error:
            give_up(error)
        if as_json and not follow:
            shown = [entry.as_dict() for entry in entries]
            print_json({"endpoint": found.name, "filter": selected, "console": link, "entries": shown})
            return
        out = console()
        write = _write_json if as_json else _writer(out, several=not chosen)
        _all(entries, write)
        _tell(entries, limit=limit, since=since, more=begin > now - _WEEK, follow=follow)
        typer.echo(f"filter: {selected}\nconsole: {link}", err=True)
        if follow:
            _follow(google, found.project, filter_from, entries, begin, write)


def _follow(
    google: Google,
    project: str,
    filter_from: Callable[[datetime], str],
    entries: list[Entry],
    begin: datetime,
    write: Callable[[Entry], None],
) -> None:
    """Write what comes, until Ctrl-C; a service that does not answer for a while is asked again."""
    from collections.abc import Mapping
    from typing import Any

    from infra.client import NoAnswer
    from infra.client.logs import follow

    failed = 0

    def patiently(body: dict[str, Any]) -> Mapping[str, Any]:
        nonlocal failed
        while True:
            try:
                answer = google.entries(body)
            except NoAnswer as error:
                failed += 1
                if failed >= _PATIENCE or " answers 4" in str(error):
                    raise
                typer.echo(f"{error} It is asked again.", err=True)
                time.sleep(min(2.0**failed, 30.0))
            else:
                failed = 0
                return answer

    try:
        _all(follow(patiently, project, filter_from, shown=entries, since=begin), write)
    except NoAnswer as error:
        give_up(error)


def _all(entries: Iterable[Entry], write: Callable[[Entry], None]) -> None:
    for entry in entries:
        write(entry)


def _write_json(entry: Entry) -> None:
    print(json.dumps(entry.as_dict(), ensure_ascii=False), flush=True)


def _writer(out: Console, *, several: bool) -> Callable[[Entry], None]:
    def write(entry: Entry) -> None:
        out.print(line(entry, several=several), soft_wrap=True)

    return write


def line(entry: Entry, *, several: bool = False) -> object:
    """One entry as a line of text: time, level, whose it is where there are several, what it says."""
    from rich.text import Text

    style = _STYLES.get(entry.severity, "")
    stamp = entry.time[:19].replace("T", " ")
    text = Text.assemble((f"{stamp} ", "dim"))
    text.append(f"{entry.severity:<8} ", style)
    if several and (whose := entry.replica_id or entry.deployed_model_id):
        text.append(f"{whose} ", "cyan")
    indent = "\n" + " " * (len(stamp) + 10)
    return text.append(entry.text.replace("\n", indent), "red" if style == "bold red" else "")


def _tell(entries: list[Entry], *, limit: int, since: str, more: bool, follow: bool) -> None:
    """On stderr: how much it is, and what would show more."""
    if not entries:
        back = " --since 7d looks further back." if more else ""
        typer.echo(f"No such entries since {since}.{' Waiting for some.' if follow else back}", err=True)
    elif len(entries) == limit:
        typer.echo(f"Only the newest{'' if limit == 1 else f' {limit}'}; --limit N shows more.", err=True)
