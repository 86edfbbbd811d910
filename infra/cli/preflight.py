"""``vertex-vllm preflight``: what a deployment of a stack needs of the world, asked now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli.common import Exit, console, print_json
from infra.cli.completion import stack_names

if TYPE_CHECKING:
    from rich.console import Console

    from infra.preflight.run import Report
    from infra.preflight.subject import Subject
    from infra.recipes import StackError

__all__ = ["preflight"]

ROOT: Final = Path(__file__).resolve().parents[2]
_TOKEN: Final = "vertex-vllm:hfToken"
_STYLES: Final = {"PASS": "green", "FAIL": "bold red", "WARN": "yellow", "SKIP": "dim"}


def preflight(
    stack: Annotated[
        str,
        typer.Option(
            metavar="STACK",
            help="The stack whose settings, Pulumi.STACK.yaml, are checked.",
            autocompletion=stack_names,
        ),
    ] = "dev",
    as_json: Annotated[bool, typer.Option("--json", help="The same answers as JSON.")] = False,
) -> None:
    """Check what a deployment needs: quota, permissions, weights, image, bucket, time-outs, price.

    Every preview does the same (vertex-vllm:preflight: warn, enforce or off). It takes at most 5 seconds and creates
    nothing. An answer that cannot be had is a SKIP with its reason, never a pass.

    \b
    The encrypted Hugging Face token is read with `pulumi config get`, else from HF_TOKEN; it is never shown.

    \b
    Examples:
      vertex-vllm preflight --stack prod
      vertex-vllm preflight --stack dev --json | jq .counts

    \b
    Exit status:
      0  every check passed, warned or was skipped
      1  the model does not fit into the GPUs' memory
      2  wrong usage, or settings or a stack file that a preview refuses
      5  a check failed
      7  over the budget
    """
    from infra import settings
    from infra.preflight.run import run
    from infra.recipes import StackError
    from infra.settings.file import read_file

    try:
        raw, token_known = read_file(ROOT, stack)
        checked = settings.parse(raw, ROOT)
    except StackError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(_status(error)) from None
    subject = settings.subject(checked)
    report = run(subject) if token_known else _without_token(subject)
    if as_json:
        print_json({"stack": stack, "mode": checked.preflight, **report.as_dict()})
    else:
        _show(console(), report)
    raise typer.Exit(Exit.PREFLIGHT_FAILED if report.failed else Exit.FINE)


def _status(error: StackError) -> Exit:
    """What a refusal before any check ends with: the status of its kind, that of bad input where there are several."""
    from infra.recipes.errors import DoesNotFit, OverBudget

    for kind, status in ((DoesNotFit, Exit.DOES_NOT_FIT), (OverBudget, Exit.OVER_BUDGET)):
        if all(isinstance(problem, kind) for problem in error.problems):
            return status
    return Exit.BAD_INPUT


def _without_token(subject: Subject) -> Report:
    """Every check, where the container's token cannot be read here: a gated repository is not asked for."""
    from infra.preflight.finding import Finding, Status
    from infra.preflight.huggingface import huggingface
    from infra.preflight.run import CHECKS, Report, run

    subject = replace(subject, hf_token=None)  # what stands in its place opens nothing
    if not subject.plan.needs_token:
        return run(subject)
    report = run(subject, [check for check in CHECKS if check is not huggingface])
    skipped = Finding(
        check="huggingface-access",
        status=Status.SKIP,
        evidence=f"The token of {_TOKEN} is encrypted, and no pulumi of this shell can decrypt it.",
        remedy="HF_TOKEN=… in front of the command, or PULUMI_CONFIG_PASSPHRASE and pulumi on PATH",
    )
    return Report((*report.findings, skipped), report.took_s)


def _show(console: Console, report: Report) -> None:
    """A row for each check: how it ended, what it rests on, what to do, how to see it by hand."""
    from rich.table import Table
    from rich.text import Text

    from infra.preflight.words import summary

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report.findings:
        said = Text(finding.evidence)
        if finding.remedy:
            said.append(f"\nfix: {finding.remedy}")
        if finding.by_hand:
            said.append(f"\n{finding.by_hand}", style="dim")
        status = finding.status.value
        table.add_row(Text(status, style=_STYLES[status]), finding.check, said)
    console.print(table)
    console.print()
    console.print(Text(summary(report)))
