"""``vertex-vllm preflight``: what a deployment of a stack needs of the world, asked now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli.common import Exit, console, fail, print_json
from infra.cli.completion import stack_names

if TYPE_CHECKING:
    from rich.console import Console

    from infra.preflight.run import Report
    from infra.preflight.subject import Subject
    from infra.recipes import StackError

__all__ = ["preflight"]

ROOT: Final = Path(__file__).resolve().parents[2]
_TOKEN: Final = "vertex-vllm:hfToken"
_NARROWEST: Final = 40  # columns of a sentence, however narrow the terminal
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

    A stack that a preview refuses for the GPUs' memory or the budget is checked all the same; the refusal is a FAIL.

    Every preview does the same (vertex-vllm:preflight: warn, enforce or off). It takes at most 5 seconds and creates
    nothing. An answer that cannot be had is a SKIP with its reason, never a pass.

    \b
    The encrypted Hugging Face token is read with `pulumi config get`, else from HF_TOKEN; it is never shown.

    \b
    Examples:
      vertex-vllm preflight --stack prod
      vertex-vllm preflight --stack dev --json | jq .counts

    \b
    Exit status; where several things fail, the first of 1, 7, 5:
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

    stack = stack.rpartition("/")[2]  # as Pulumi Cloud names it: ORGANISATION/PROJECT/STACK
    refusals: list[StackError] = []
    try:
        raw, token_known = read_file(ROOT, stack)
        checked = settings.parse(raw, ROOT, refusals=refusals)
    except StackError as error:
        fail(error)
    subject = settings.subject(checked)
    report = run(subject) if token_known else _without_token(subject)
    report = _with_refusals(report, refusals)
    if as_json:
        print_json({"stack": stack, "mode": checked.preflight, **report.as_dict()})
    else:
        _show(console(), report)
    raise typer.Exit(_status(report, refusals))


def _status(report: Report, refusals: Sequence[StackError]) -> Exit:
    """The status of the first of what failed, in the order of docs/exit-codes.md."""
    from infra.recipes.errors import DoesNotFit

    if refusals:
        unfit = any(isinstance(refusal, DoesNotFit) for refusal in refusals)
        return Exit.DOES_NOT_FIT if unfit else Exit.OVER_BUDGET
    return Exit.PREFLIGHT_FAILED if report.failed else Exit.FINE


def _with_refusals(report: Report, refusals: Sequence[StackError]) -> Report:
    """The report in which a check says what a preview refuses the stack for."""
    from infra.preflight.finding import Finding, Status
    from infra.preflight.run import Report
    from infra.recipes.errors import DoesNotFit

    said: dict[str, Finding] = {}
    for refusal in refusals:
        check = "fit" if isinstance(refusal, DoesNotFit) else "budget"
        by_hand = next((each.by_hand for each in report.findings if each.check == check), "")
        said[check] = Finding(
            check=check, status=Status.FAIL, evidence=refusal.said, remedy=refusal.remedy, by_hand=by_hand
        )
    findings = [said.pop(each.check, each) for each in report.findings]
    return Report((*findings, *said.values()), report.took_s)


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


def _show(out: Console, report: Report) -> None:
    """A paragraph for each check: how it ended, what it rests on, what to do, how to see it by hand.

    Lines to paste are never broken: a terminal goes on with them in its next row.
    """
    from rich.text import Text

    from infra.preflight.words import summary

    names = max((len(finding.check) for finding in report.findings), default=0)
    margin = " " * (len("PASS") + 2 + names + 2)
    for finding in report.findings:
        status = finding.status.value
        evidence = Text(finding.evidence)
        # In a pipe a line each, for grep.
        room = max(out.width - len(margin), _NARROWEST)
        rows = evidence.wrap(out, room) if out.is_terminal else [evidence]
        for place, row in enumerate(rows):
            row.rstrip()
            start = Text(margin)
            if place == 0:
                start = Text.assemble((status, _STYLES[status]), f"  {finding.check:<{names}}  ")
            out.print(start + row, soft_wrap=True)
        if finding.remedy:
            out.print(Text(f"{margin}fix: {finding.remedy}"), soft_wrap=True)
        if finding.by_hand:
            out.print(Text.assemble(margin, (finding.by_hand, "dim")), soft_wrap=True)
    out.print()
    out.print(Text(summary(report)), soft_wrap=True)
