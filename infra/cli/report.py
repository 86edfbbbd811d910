"""``vertex-vllm report``: what a preview would do, for a pull request, a reader or a script."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli.common import Exit, fail, print_json

if TYPE_CHECKING:
    from infra.recipes import ServingPlan
    from infra.report.content import Failure, Memory
    from infra.report.preview import Preview

__all__ = ["exit_status", "report"]

_LARGEST: Final = 256 * 2**20  # bytes; a preview of this program has some hundred kilobytes


class Format(StrEnum):
    """How a report is written."""

    markdown = "markdown"
    html = "html"
    json = "json"


def report(
    preview: Annotated[
        str, typer.Option(metavar="FILE", help="What pulumi preview --json wrote; - reads standard input.")
    ],
    preflight: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What vertex-vllm preflight --json wrote; - reads standard input."),
    ] = None,
    stack_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The stack file, for the prediction of a GPU's memory."),
    ] = None,
    format: Annotated[
        Format, typer.Option(help="For a pull request, one self-contained page, or for a script.")
    ] = Format.markdown,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else to stdout.")
    ] = None,
) -> None:
    """Say what a preview would do: whether it may be applied, what it costs, what changes on the GPUs.

    \b
    Policies are in a preview only with PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true,
    which makes pulumi preview --json write its events. Both forms are read.

    \b
    Examples:
      pulumi preview --json | vertex-vllm report --preview -
      vertex-vllm report --preview preview.json --preflight preflight.json
      vertex-vllm report --preview preview.json --format html -o report.html
      vertex-vllm report --preview preview.json --format json | jq .cost.at_most

    \b
    Exit status; where several things fail, the first of 4, 1, 7, 6, 5:
      0  it may be applied
      1  the model does not fit into the GPUs' memory
      2  wrong usage, or an input that cannot be read
      4  the preview failed, for another reason than these
      5  a preflight check failed
      6  a mandatory policy is violated
      7  over the budget
    """
    from infra.report.content import as_dict, build, read_preflight
    from infra.report.preview import Unreadable, read_preview

    if preview == preflight == "-":
        raise typer.BadParameter("only one of --preview and --preflight can be standard input.")
    try:
        found = read_preview(_read("--preview", preview), _named("--preview", preview))
        findings = None
        if preflight is not None:
            findings = read_preflight(_read("--preflight", preflight), _named("--preflight", preflight))
    except Unreadable as error:
        fail(error)
    plan, memory = (None, None) if stack_file is None else _memory(stack_file, found)
    made = build(found, findings, memory)
    status = exit_status(made.failure)
    if format is Format.json:
        text = None
    elif format is Format.html:
        from infra.cli.report_page import report_page

        text = report_page(made, plan)
    else:
        from infra.report.markdown import render

        text = render(made)
    _write(text, {**as_dict(made), "exit_status": int(status)}, output)
    raise typer.Exit(status)


def exit_status(failure: Failure | None) -> Exit:
    """The exit status of a kind of failure."""
    from infra.report.content import Failure

    if failure is None:
        return Exit.FINE
    return {
        Failure.PREVIEW: Exit.PREVIEW_FAILED,
        Failure.FIT: Exit.DOES_NOT_FIT,
        Failure.BUDGET: Exit.OVER_BUDGET,
        Failure.POLICY: Exit.POLICY_VIOLATED,
        Failure.PREFLIGHT: Exit.PREFLIGHT_FAILED,
    }[failure]


def _named(option: str, path: str) -> str:
    return f"{option} {'standard input' if path == '-' else path}"


def _read(option: str, path: str) -> bytes:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(_LARGEST + 1)
    except OSError as error:
        fail(f"{option} {path}: cannot be read: {error.strerror or error}.")
    if len(data) > _LARGEST:
        fail(f"{_named(option, path)}: is larger than {_LARGEST >> 20} MiB, too large for a preview.")
    return data


def _write(text: str | None, facts: dict[str, object], output: Path | None) -> None:
    if output is None:
        if text is None:
            print_json(facts)
        else:
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            typer.echo(text, nl=False)
        return
    import json

    if text is None:
        text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"--output {output}: cannot be written: {error.strerror or error}.")
    typer.echo(f"written: {output}", err=True)


def _memory(file: Path, preview: Preview) -> tuple[ServingPlan | None, Memory | None]:
    """What the memory prediction says of the stack file, in the preview's region."""
    from infra.cli import facts, gpu_memory
    from infra.cli.facts import Verdict
    from infra.cli.stack import plan_of
    from infra.recipes import StackError, load_stack_file
    from infra.recipes.errors import show_file
    from infra.report.content import Memory
    from infra.report.gpus import models

    if not file.is_file():
        fail(f"--stack-file {file}: there is no such file.")
    name = show_file(file)
    try:
        refuses = load_stack_file(file).fit == "refuse"
        plan, refusal = plan_of(file, region=preview.config.get("gcp:region") or None)
    except StackError as error:
        if not preview.failed:
            fail(error)
        # Where the preview failed for the same reason, its error is the report's.
        return None, Memory(name, None, False, False, "has no prediction", str(error))
    fit = plan.fit
    verdict = facts.verdict_of(fit)
    container = next((change.after for change in models(preview) if change.after is not None), None)
    agrees = None
    if container is not None and plan.chat_template_uri is None:  # only the program reads one in a bucket
        agrees = (container.image, container.args) == (plan.container.image_uri, plan.container.args)
    rows = () if fit is None else gpu_memory.bar_of(fit).parts
    return plan, Memory(
        file=name,
        starts={Verdict.UNKNOWN: None, Verdict.FAILS: False}.get(verdict, True),
        doubtful=verdict is Verdict.MAY_NOT,
        refuses=refuses,
        verdict=verdict.value,
        why=facts.why(fit),
        rows=tuple(
            (part.label, f"{part.gib:.2f}", gpu_memory.interval(part.low, part.high)) for part in rows
        ),
        changes=() if refusal is None else tuple(refusal.remedy.split("; or ")),
        agrees=agrees,
    )
