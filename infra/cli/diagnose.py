"""``vertex-vllm diagnose``: why a deployment failed, and the change to the stack file that mends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import Exit, console, fail, print_json, table_console
from infra.cli.target import EndpointId, Project, give_up

if TYPE_CHECKING:
    from rich.console import Console

    from infra.diagnose.changes import Proposal
    from infra.diagnose.compare import Row
    from infra.diagnose.match import Diagnosis
    from infra.diagnose.source import Gathered
    from infra.recipes import ServingPlan

__all__ = ["diagnose"]

ROOT: Final = Path(__file__).resolve().parents[2]
_MOST_BYTES: Final = 64 * 2**20
_TAIL: Final = 8


@dataclass(frozen=True)
class _Subject:
    """What is looked at: the stack file, where there is one, and what the log and the operation say."""

    file: Path | None
    planned: ServingPlan | None
    lines: Sequence[str]
    gathered: Gathered | None


def diagnose(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="STACK_FILE", help="The stack file that was deployed; --stack knows it."),
    ] = None,
    stack: Annotated[
        str | None, typer.Option(metavar="STACK", help="The stack whose last deployment failed.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A log to read instead of Cloud Logging; - is stdin.")
    ] = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="Region of --endpoint, and of the stack file's prices."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Make the change to the stack file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Say why a deployment failed: the cause, the line of the log that shows it, and the change that mends it.

    The last deployment's operation and the containers' log since then are read from Google, or a log from a file.
    With a stack file (--stack knows it) the figures that the log shows stand beside the prediction, and the change is
    a diff, which --apply makes; comments and order stay. A failure that is not known is said to be so. A log from a
    file has its oldest line first (gcloud writes the newest first, without --order=asc).

    \b
    Examples:
      vertex-vllm diagnose --stack dev
      vertex-vllm diagnose --stack dev --apply && pulumi up
      vertex-vllm diagnose stacks/my.yaml --log container.log
      gcloud logging read … --order=asc --format='value(textPayload)' > x.log
      vertex-vllm diagnose --endpoint 1234567890 --project my-project --region us-central1

    \b
    Exit status:
      0  a known failure was found
      2  wrong usage, or a log, stack or stack file that cannot be read
      3  no known failure was found
      8  Google did not answer
    """
    from infra.diagnose.match import recognise
    from infra.diagnose.readings import read

    if sum(given is not None for given in (stack, endpoint)) > 1:
        fail("--stack and --endpoint each name the endpoint: give one of them.")
    if log is None and stack is None and endpoint is None:
        fail("Say what is diagnosed: --stack NAME, --endpoint ID or --log FILE.")
    if stack is not None and file is not None:
        fail(f"--stack {stack} has its own stack file: leave {file} out.")
    if apply and file is None and stack is None:
        fail("--apply changes a stack file: name it, or give --stack.")
    subject = _subject(file, stack, log, endpoint, project, region)
    said = [subject.gathered.error] if subject.gathered and subject.gathered.error else []
    found = recognise([*subject.lines, *said])
    measured = read("\n".join(subject.lines))
    rows: tuple[Row, ...] = ()
    change: Proposal | None = None
    other: tuple[str, ...] = ()
    before = ""
    if subject.planned is not None and subject.file is not None:
        from infra.diagnose.asked import differences
        from infra.diagnose.changes import propose
        from infra.diagnose.compare import compared
        from infra.recipes.yamlfile import read_text

        before = read_text(subject.file)
        other = differences(found[0] if found else None, subject.planned, measured, subject.lines)
        if subject.planned.fit is not None and not other:
            rows = compared(subject.planned.fit, measured)
        if found and not other:
            change = propose(found[0], subject.planned, before, subject.file, measured)
    applied = apply and change is not None and not change.refused
    if applied and change is not None and subject.file is not None:
        _write(subject.file, change.text)
    if as_json:
        print_json(_document(subject, found, rows, change, before, other, applied=applied))
    else:
        # In a pipe no line is wrapped: what shows a failure is looked for again.
        page = console() if sys.stdout.isatty() else table_console()
        _show(page, subject, found, rows, change, before, other, apply=apply)
    raise typer.Exit(Exit.FINE if found else Exit.NO_VERDICT)


# What is looked at -------------------------------------------------------------------------------------------------


def _subject(
    file: Path | None,
    stack: str | None,
    log: Path | None,
    endpoint: str | None,
    project: str | None,
    region: str | None,
) -> _Subject:
    from infra.cli.chosen import by_settings
    from infra.cli.stack import planned as plan_file
    from infra.client import ClientError, find
    from infra.diagnose.source import gather
    from infra.provider.failures import redact
    from infra.recipes import StackError

    environ: Mapping[str, str] = os.environ
    if stack is not None:
        try:
            chosen = by_settings(stack, ROOT)
        except StackError as error:
            fail(error)
        file, endpoint, region, environ = chosen.stack_file, chosen.endpoint, chosen.region, chosen.environ
    planned = plan_file(file, region=region)[0] if file is not None else None
    if log is not None:
        return _Subject(file, planned, [redact(line) for line in _read(log)], None)
    try:
        target = find(endpoint=endpoint, project=project, region=region, environ=environ)
        gathered = gather(target, environ)
    except ClientError as error:
        give_up(error)
    gathered = replace(gathered, error=redact(gathered.error))
    return _Subject(file, planned, [redact(line) for line in gathered.lines], gathered)


def _read(log: Path) -> list[str]:
    from infra.client.logs import printable

    try:
        data = (
            sys.stdin.buffer.read(_MOST_BYTES + 1)
            if str(log) == "-"
            else log.open("rb").read(_MOST_BYTES + 1)
        )
    except OSError as error:
        fail(f"{log} cannot be read: {error.strerror or error}")
    if len(data) > _MOST_BYTES:
        fail(f"{log} has more than {_MOST_BYTES // 2**20} MiB: give the part that has the failure.")
    return printable(data.decode("utf-8", errors="replace")).splitlines()


def _write(file: Path, text: str) -> None:
    """Replace a file at once, with its permissions."""
    import shutil
    import tempfile

    file = file.resolve()
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=file.parent, prefix=f".{file.name}.", delete=False
        ) as made:
            made.write(text)
        shutil.copymode(file, made.name)
        os.replace(made.name, file)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}")


# What is said ------------------------------------------------------------------------------------------------------


def _show(
    out: Console,
    subject: _Subject,
    found: Sequence[Diagnosis],
    rows: Sequence[Row],
    change: Proposal | None,
    before: str,
    other: Sequence[str],
    *,
    apply: bool,
) -> None:
    from rich.text import Text

    if subject.gathered is not None:
        out.print(Text(_last_deployment(subject.gathered), style="dim"))
    if found:
        first = found[0]
        out.print(Text(f"{first.cause}.", style="bold red"))
        out.print(Text(f"  {_where(subject, first)}: {first.evidence.text}", style="dim"))
        out.print(Text(f"  {first.advice[0].upper()}{first.advice[1:]}"))
        for each in found[1:]:
            out.print(Text(f"Also: {each.cause} ({_where(subject, each)})."))
    else:
        _show_unknown(out, subject)
    if rows:
        out.print()
        _show_rows(out, rows)
    if change is not None:
        out.print()
        _show_change(out, subject, change, before, apply=apply)
    elif other:
        out.print()
        out.print(Text(f"The log is of other settings than the stack file has now: {'; '.join(other)}."))
        out.print(
            Text(
                "So nothing is compared and no change proposed: deploy what the file says, or name the file of this "
                "log."
            )
        )
    elif apply:
        out.print(Text("Nothing was changed: no key of the stack file mends this.", style="yellow"))
    if subject.gathered is not None:
        out.print()
        out.print(Text(f"The log in the console: {subject.gathered.console}", style="dim"), soft_wrap=True)


def _show_unknown(out: Console, subject: _Subject) -> None:
    from rich.text import Text

    count = f"{len(subject.lines):,} lines" if len(subject.lines) > 1 else "1 line"
    if not subject.lines and subject.gathered is None:
        out.print(Text("The log is empty."))
    elif not subject.lines:
        out.print(Text("There is no log: the container wrote nothing, or its lines have not arrived yet."))
    elif subject.gathered is not None and subject.gathered.state == "done":
        out.print(Text(f"No known failure is in its containers' log ({count})."))
    else:
        out.print(Text(f"No known failure is in the log ({count}). Its last lines:"))
        for line in [each for each in subject.lines if each.strip()][-_TAIL:]:
            out.print(Text(f"  | {line}", style="dim"))
    if subject.gathered is not None and subject.gathered.error:
        out.print(Text(f"Google says of the deployment: {subject.gathered.error}"))


def _last_deployment(gathered: Gathered) -> str:
    """Which deployment it is about, and how that went: a `pulumi up` may have failed before it deployed anything."""
    from infra.client.logs import parse_time

    if not gathered.operation:
        return "Vertex AI knows of no deployment on this endpoint."
    began = parse_time(gathered.began)
    when = "" if began is None else f", begun {began:%Y-%m-%d %H:%M:%S} UTC,"
    how = {"failed": "failed", "done": "went well", "running": "is under way"}[gathered.state]
    return f"The last deployment{when} {how}."


def _show_rows(out: Console, rows: Sequence[Row]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), title=None)
    table.add_column("GiB a GPU")
    for name in ("predicted", "90 % interval", "in the log"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        interval = "" if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}"
        measured = "" if row.measured is None else _figure(row.measured, row.unit)
        remark = "outside" if row.outside else ""
        table.add_row(row.label, _figure(row.predicted, row.unit), interval, measured, remark)
    out.print(table)


def _show_change(out: Console, subject: _Subject, change: Proposal, before: str, *, apply: bool) -> None:
    from rich.text import Text

    from infra.recipes.errors import show_file

    assert subject.file is not None
    for line in _diff(subject, change, before).splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        out.print(Text(line, style=style), soft_wrap=True)
    out.print(Text(f"Why this value: {change.why}."))
    if change.refused:
        out.print(
            Text(
                f"--apply does not make it, since a preview would refuse it:\n{change.refused}",
                style="yellow",
            )
        )
    elif change.fit is not None:
        ok = "starts" if change.fit.ok else "still does not start"
        out.print(
            Text(f"With it, it {ok} by the prediction: {change.fit.kv_tokens:,} tokens in the KV cache.")
        )
    if not change.refused:
        done = f"{show_file(subject.file)} was changed." if apply else "--apply makes this change."
        out.print(Text(done, style="bold"))


def _diff(subject: _Subject, change: Proposal, before: str) -> str:
    from infra.diagnose.edit import diff
    from infra.recipes.errors import show_file

    assert subject.file is not None
    return diff(before, change.text, show_file(subject.file.resolve()).lstrip("/"))


def _where(subject: _Subject, found: Diagnosis) -> str:
    return f"line {found.evidence.line}" if found.evidence.line <= len(subject.lines) else "Google's answer"


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f}" if unit == "tokens" else f"{value:.2f}"


def _document(
    subject: _Subject,
    found: Sequence[Diagnosis],
    rows: Sequence[Row],
    change: Proposal | None,
    before: str,
    other: Sequence[str],
    *,
    applied: bool,
) -> dict[str, Any]:
    from infra.diagnose.edit import Remove

    gathered = subject.gathered
    made: dict[str, Any] | None = None
    if change is not None:
        made = {
            "keys": {
                each.key: None if isinstance(each.value, Remove) else each.value for each in change.changes
            },
            "why": change.why,
            "diff": _diff(subject, change, before),
            "starts": None if change.fit is None else change.fit.ok,
            "refused": change.refused or None,
            "applied": applied,
        }
    return {
        "failures": [
            {
                "id": each.id,
                "cause": each.cause,
                "advice": each.advice,
                "evidence": {
                    "line": each.evidence.line if each.evidence.line <= len(subject.lines) else None,
                    "text": each.evidence.text,
                },
                "numbers": {name: value for name, value in each.numbers.items()},
            }
            for each in found
        ],
        "lines": len(subject.lines),
        "memory": [
            {
                "name": row.name,
                "unit": row.unit,
                "predicted": round(row.predicted, 2),
                "low": None if row.low is None else round(row.low, 2),
                "high": None if row.high is None else round(row.high, 2),
                "log": row.measured,
                "outside": row.outside,
            }
            for row in rows
        ],
        "change": made,
        "other_settings": list(other),
        "operation": gathered.operation or None if gathered else None,
        "began": gathered.began or None if gathered else None,
        "state": gathered.state or None if gathered else None,
        "operation_error": gathered.error or None if gathered else None,
        "query": gathered.query if gathered else None,
        "console": gathered.console if gathered else None,
    }
