"""The change to a stack file that mends a failure, computed from what the log says and what the prediction allows.

Only what one key can mend is proposed; where the choice is the user's (a token, another region, a licence) there is
none, and the advice stands alone. Nothing is proposed of which the prediction says that it would not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.diagnose.edit import Change, EditError, edited
from infra.diagnose.match import Diagnosis
from infra.diagnose.readings import Readings
from infra.diagnose.steps import Case, Made, steps
from infra.fit import Fit
from infra.recipes import ServingPlan, StackError, plan
from infra.recipes.errors import show_file
from infra.recipes.stackfile import parse_stack
from infra.recipes.yamlfile import parse_yaml

__all__ = ["Proposal", "propose"]


@dataclass(frozen=True)
class Proposal:
    """A change of a stack file.

    Attributes:
        changes: The keys.
        why: Where the values come from, a sentence.
        text: The whole file with the change.
        fit: The prediction with the change; None where it cannot be made.
        refused: What a preview would still refuse, empty for nothing.
    """

    changes: tuple[Change, ...]
    why: str
    text: str
    fit: Fit | None
    refused: str = ""


def propose(
    found: Diagnosis, planned: ServingPlan, text: str, file: Path, measured: Readings
) -> Proposal | None:
    """The change that mends a failure; None where no key of the stack file does.

    Args:
        found: The failure.
        planned: The plan of the file as it is.
        text: The file.
        file: Its path.
        measured: The figures of the log.
    """
    case = Case(found, planned, measured, file.parent)
    refused: Proposal | None = None
    for made in steps(case):
        proposal = _planned(case, made, text, file)
        if proposal is None:
            continue
        if not proposal.refused and (made.sure or proposal.fit is None or proposal.fit.ok):
            return proposal
        if proposal.refused and refused is None:
            refused = proposal
    return refused


def _planned(case: Case, made: Made, text: str, file: Path) -> Proposal | None:
    """The file with a change, planned again; None where it cannot be made, or changes nothing."""
    try:
        new = edited(text, made.changes)
    except EditError:
        return None
    if new == text:
        return None
    try:
        raw, lines = parse_yaml(new, show_file(file))
        stack = parse_stack(raw, file=show_file(file), lines=lines)
        after = plan(stack, region=case.plan.region, source=str(file))
    except StackError as error:
        return Proposal(made.changes, made.why, new, None, str(error))
    return Proposal(made.changes, made.why, new, after.fit)
