"""What a report says: the verdict and its reasons, the cost difference, the GPUs, every check, as plain values.

Owns which kind of failure an error is. Markdown and HTML show :mod:`infra.report.sections`, JSON is :func:`as_dict`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from infra.preflight.finding import Finding, Status
from infra.recipes.costs import HOURS_PER_MONTH, Change, Costs, over_budget, to_cents
from infra.report import gpus
from infra.report.gpus import Deployed, DeploymentChange, EndpointChange, Kind, ModelChange
from infra.report.preview import (
    EVENTS,
    Preview,
    Unreadable,
    Violation,
    clean,
    json_documents,
    name_of,
    type_of,
)

__all__ = [
    "Cost",
    "Failure",
    "Memory",
    "Reason",
    "Report",
    "Verdict",
    "as_dict",
    "build",
    "read_preflight",
]

_GENERIC: Final = "preview failed"
"""What the engine says at the end of a preview that a policy refuses, and all that the digest has of it."""

_BUDGET: Final = "budget"
"""The policy that holds the cost against a limit."""

_OVER: Final = re.compile(r" cost [\d.]+ US dollars an hour, and at most ")
"""What that policy says of a cost over the limit; it also refuses an unknown price, and options that it has not."""


class Failure(Enum):
    """The kinds of failure, the first one decides the exit status; each has one of its own."""

    PREVIEW = "preview failed"
    FIT = "does not fit"
    BUDGET = "over budget"
    POLICY = "policy violated"
    PREFLIGHT = "preflight failed"


# How the program's own refusals begin; tests/engine/test_report.py holds each to the real engine.
_KINDS: Final = (
    (Failure.PREFLIGHT, re.compile(r"^preflight: \d+ checks? failed")),
    (Failure.FIT, re.compile(r" does not start on \d+ \w+ with vLLM ")),
    (Failure.BUDGET, re.compile(r"vertex-vllm:maxUsdPerHour = .*over the budget", re.DOTALL)),
)
_PROBLEMS: Final = re.compile(r"^(\d+) problems in ")


class Verdict(Enum):
    """Whether the change may be applied."""

    READY = "ready to apply"
    LOOK = "ready to apply, with warnings"
    NOT_READY = "not ready"


@dataclass(frozen=True)
class Reason:
    """One thing that fails; ``text`` is what was found, with what mends it."""

    failure: Failure
    text: str


@dataclass(frozen=True)
class Memory:
    """What the memory prediction says of the stack file.

    Attributes:
        file: The stack file.
        starts: True, False, or None where nothing can be said.
        doubtful: Whether it may not start, at the low end of the interval.
        refuses: Whether a preview refuses a model that does not start.
        verdict: In words.
        why: One sentence with the numbers.
        rows: Part of one GPU's memory, GiB, and its 90 % interval.
        changes: Lines each of which makes it start.
        agrees: Whether the preview's container is the stack file's, None where the preview has none.
    """

    file: str
    starts: bool | None
    doubtful: bool
    refuses: bool
    verdict: str
    why: str
    rows: tuple[tuple[str, str, str], ...] = ()
    changes: tuple[str, ...] = ()
    agrees: bool | None = None


@dataclass(frozen=True)
class Cost:
    """US dollars an hour of all deployments before and after; None in a change where a price is not known.

    Attributes:
        idle: Of the replicas that always run.
        at_most: Of as many replicas as there can be.
        details: Each deployment's costs before and after.
        budget: ``maxUsdPerHour`` of the stack, None where there is none.
    """

    idle: Change
    at_most: Change
    details: tuple[tuple[Costs | None, Costs | None], ...]
    budget: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a report shows."""

    preview: Preview
    verdict: Verdict
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]
    cost: Cost
    deployments: tuple[DeploymentChange, ...]
    models: tuple[ModelChange, ...]
    endpoints: tuple[EndpointChange, ...]
    findings: tuple[Finding, ...] | None
    memory: Memory | None

    @property
    def failure(self) -> Failure | None:
        """The kind that decides the exit status, None where nothing fails."""
        kinds = {reason.failure for reason in self.reasons}
        return next((kind for kind in Failure if kind in kinds), None)

    @property
    def title(self) -> str:
        """The verdict in words."""
        kinds = [kind.value for kind in Failure if any(reason.failure is kind for reason in self.reasons)]
        if kinds:
            return f"not ready: {', '.join(kinds)}"
        skipped = len(self.of(Status.SKIP))
        # What could not be asked is no yes: it stands beside it.
        unasked = f"; {skipped} check{'' if skipped == 1 else 's'} skipped" if skipped else ""
        return f"{self.verdict.value}{unasked}"

    @property
    def subject(self) -> str:
        """Pulumi project and stack."""
        return (
            "/".join(part for part in (self.preview.project, self.preview.stack) if part) or "unknown stack"
        )

    @property
    def planned(self) -> bool:
        """Whether it is known what happens on the GPUs: a preview that failed may not have come so far."""
        return not self.preview.failed or bool(self.deployments)

    @property
    def policies_asked(self) -> bool:
        """Whether policies were asked about the resources, and said so."""
        policies = self.preview.policies
        if policies is None or not policies.asked:
            return False
        # They see the stack itself also where the program ends before its resources.
        seen = any(not step.type.startswith("pulumi:") for step in self.preview.steps)
        return bool(policies.violations) or seen or not self.preview.failed

    def of(self, status: Status) -> tuple[Finding, ...]:
        """Preflight's findings with one status."""
        return tuple(finding for finding in self.findings or () if finding.status is status)


def build(
    preview: Preview, findings: Sequence[Finding] | None = None, memory: Memory | None = None
) -> Report:
    """Put everything together.

    Args:
        preview: what Pulumi said.
        findings: what preflight said, None where it was not asked.
        memory: what the memory prediction says, None where no stack file was named.
    """
    changed = gpus.deployments(preview)
    cost = _cost(preview, changed)
    reasons = tuple(_reasons(preview, findings or (), memory, cost))
    behind = gpus.endpoints(preview)
    warnings = (*_losses(changed, behind), *_warnings(preview, findings, memory))
    verdict = Verdict.NOT_READY if reasons else Verdict.LOOK if warnings else Verdict.READY
    return Report(
        preview=preview,
        verdict=verdict,
        reasons=reasons,
        warnings=warnings,
        cost=cost,
        deployments=changed,
        models=gpus.models(preview),
        endpoints=behind,
        findings=None if findings is None else tuple(findings),
        memory=memory,
    )


def read_preflight(data: bytes, name: str) -> tuple[Finding, ...]:
    """Read what ``vertex-vllm preflight --json`` wrote.

    Raises:
        Unreadable: it is something else.
    """
    documents = json_documents(data, name, hint="vertex-vllm preflight says why on standard error")
    found = documents[0].get("findings")
    if len(documents) != 1 or not isinstance(found, list):
        raise Unreadable(
            f"{name}: is not what preflight writes: it has no findings.\n"
            "    fix: vertex-vllm preflight --stack STACK --json > preflight.json"
        )
    return tuple(_finding(each, f"{name}: findings[{place}]") for place, each in enumerate(found))


def as_dict(report: Report) -> dict[str, Any]:
    """The report for JSON. A price that is not known is ``unknown``, never 0; what was not asked is null."""
    preview, policies = report.preview, report.preview.policies
    return {
        "project": preview.project,
        "stack": preview.stack,
        "verdict": report.verdict.value,
        "failures": [{"kind": each.failure.value, "text": each.text} for each in report.reasons],
        "warnings": list(report.warnings),
        "cost": {
            "idle": report.cost.idle.as_dict(),
            "at_most": report.cost.at_most.as_dict(),
            "budget_usd_per_hour": report.cost.budget,
            "hours_per_month": HOURS_PER_MONTH,
            "deployments": [
                {"before": before and before.as_dict(), "after": after and after.as_dict()}
                for before, after in report.cost.details
            ],
        },
        "gpus": {
            "known": report.planned,
            "deployments": [change.as_dict() for change in report.deployments],
            "models": [change.as_dict() for change in report.models],
            "endpoints": [change.as_dict() for change in report.endpoints],
        },
        "memory": None
        if report.memory is None
        else {
            "file": report.memory.file,
            "starts": report.memory.starts,
            "verdict": report.memory.verdict,
            "why": report.memory.why,
            "parts": [dict(zip(("part", "gib", "interval"), row, strict=True)) for row in report.memory.rows],
            "changes": list(report.memory.changes),
            "agrees_with_preview": report.memory.agrees,
        },
        "policies": None
        if policies is None or not report.policies_asked
        else {
            "packs": dict(policies.packs),
            "kept": list(policies.kept),
            "violations": [
                {
                    "policy": each.policy,
                    "level": each.level,
                    "resource": name_of(each.urn),
                    "type": type_of(each.urn),
                    "message": each.message,
                }
                for each in policies.violations
            ],
        },
        "preflight": None
        if report.findings is None
        else {
            "counts": {status.value: len(report.of(status)) for status in Status},
            "findings": [finding.as_dict() for finding in report.findings],
        },
        "diagnostics": [
            {"severity": each.severity, "message": each.message, "urn": each.urn}
            for each in preview.diagnostics
        ],
        "resources": dict(preview.counts),
    }


def _finding(found: Any, where: str) -> Finding:
    if not isinstance(found, Mapping):
        raise Unreadable(f"{where}: is no object.")
    texts = {key: clean(str(found.get(key) or "")) for key in ("check", "evidence", "remedy", "by_hand")}
    status = found.get("status")
    if not texts["check"] or status not in {each.value for each in Status}:
        raise Unreadable(
            f"{where}: has no check, or its status is not one of {', '.join(each.value for each in Status)}."
        )
    return Finding(
        check=texts["check"],
        status=Status(status),
        evidence=texts["evidence"],
        remedy=texts["remedy"],
        by_hand=texts["by_hand"],
    )


def _cost(preview: Preview, changed: Sequence[DeploymentChange]) -> Cost:
    budget = _number(preview.config.get("vertex-vllm:maxUsdPerHour")) or None
    if changed:
        # What is imported bills already.
        before = [each.after if each.kind is Kind.ADOPTED else each.before for each in changed]
        after = [each.after for each in changed]
        return Cost(
            Change(_total(before, "idle"), _total(after, "idle")),
            Change(_total(before, "at_most"), _total(after, "at_most")),
            tuple((_costs(old), _costs(new)) for old, new in zip(before, after, strict=True)),
            budget,
        )
    # Nothing of a deployment in it: it stays as it is, or the preview failed before it.
    now: Costs | None = None
    idle: float | None = 0.0
    hour: float | None = 0.0
    if preview.failed and not any(step.type == "pulumi:pulumi:Stack" for step in preview.steps):
        idle = hour = None  # it ended before it looked at what there is
    elif preview.outputs_before is not None:  # else there is no stack yet
        now = Costs.from_dict(preview.outputs_before.get("cost"))
        idle = now.idle if now else None
        hour = now.at_most if now else _number(preview.outputs_before.get("hourly_cost_usd"))
    if preview.failed:
        return Cost(Change(idle, None), Change(hour, None), (), budget)
    return Cost(Change(idle, idle), Change(hour, hour), ((now, now),) if now else (), budget)


def _costs(deployed: Deployed | None) -> Costs | None:
    return None if deployed is None else deployed.costs


def _total(sides: Iterable[Deployed | None], which: Literal["idle", "at_most"]) -> float | None:
    """The sum over the deployments that are there; None where a price of one is not known."""
    total = 0.0
    for deployed in sides:
        if deployed is None:
            continue
        costs = deployed.costs
        amount = None if costs is None else costs.idle if which == "idle" else costs.at_most
        if amount is None:
            return None
        total += amount
    return total


def _reasons(
    preview: Preview, findings: Sequence[Finding], memory: Memory | None, cost: Cost
) -> Iterable[Reason]:
    mandatory = [each for each in _violations(preview) if each.mandatory]
    errors = [each.message for each in preview.errors]
    if mandatory or len(errors) > 1:
        errors = [message for message in errors if message != _GENERIC]
    found: list[Reason] = []
    for message in errors:
        found += (Reason(kind, message) for kind in _kinds_of(message))
        if message == _GENERIC:
            found[-1] = Reason(Failure.PREVIEW, _without_cause(preview))
    told = {reason.failure for reason in found}
    if memory is not None and memory.starts is False and memory.refuses and Failure.FIT not in told:
        found.append(Reason(Failure.FIT, f"{memory.file} {memory.verdict}: {memory.why}"))
    most = cost.at_most.after
    budget = None if Failure.BUDGET in told else cost.budget
    if budget is not None and most is not None and over_budget(most, budget):
        text = (
            f"vertex-vllm:maxUsdPerHour = {to_cents(budget)}: "
            f"all replicas cost {to_cents(most)} US dollars an hour."
        )
        found.append(Reason(Failure.BUDGET, text))
    for policy, text in _violation_texts(mandatory):
        found.append(
            Reason(Failure.BUDGET if policy == _BUDGET and _OVER.search(text) else Failure.POLICY, text)
        )
    if Failure.PREFLIGHT not in told:
        found += (
            Reason(Failure.PREFLIGHT, _finding_text(each)) for each in findings if each.status is Status.FAIL
        )
    order = list(Failure)
    return sorted(dict.fromkeys(found), key=lambda reason: order.index(reason.failure))


def _kinds_of(message: str) -> tuple[Failure, ...]:
    """The kinds of failure in one error of the program; it may hold several problems."""
    kinds = tuple(kind for kind, pattern in _KINDS if pattern.search(message))
    several = _PROBLEMS.match(message)
    others = several is not None and int(several[1]) > len(kinds)
    return (Failure.PREVIEW, *kinds) if others or not kinds else kinds


def _without_cause(preview: Preview) -> str:
    text = "the preview failed, and its output does not say why"
    if preview.policies is None:
        text += (
            ": without events it holds no policies, and a violated one is the usual reason.\n"
            f"    fix: {EVENTS}=true pulumi preview --json"
        )
    return text


def _losses(changed: Sequence[DeploymentChange], behind: Sequence[EndpointChange]) -> Iterable[str]:
    """What clients will notice."""
    if changed and all(change.after is None for change in changed):
        yield "Nothing serves the model any more after this."
    for change in behind:
        if change.kind is Kind.REPLACED:
            yield f"The address of {change.name} changes: clients need the new one."


def _warnings(preview: Preview, findings: Sequence[Finding] | None, memory: Memory | None) -> Iterable[str]:
    for each in preview.warnings:
        # Preflight's own JSON says the same, and more.
        if findings is None or not each.message.startswith("preflight: "):
            yield each.message
    for _, text in _violation_texts(each for each in _violations(preview) if not each.mandatory):
        yield text
    for finding in findings or ():
        if finding.status is Status.WARN:
            yield _finding_text(finding)
    if memory is not None:
        if memory.doubtful or (memory.starts is False and not memory.refuses):
            yield f"{memory.file} {memory.verdict}: {memory.why}"
        if memory.agrees is False:
            yield (
                f"{memory.file} gives another container than the one in this preview;"
                " the memory prediction is of the file"
            )


def _violations(preview: Preview) -> tuple[Violation, ...]:
    return () if preview.policies is None else preview.policies.violations


def _violation_texts(violations: Iterable[Violation]) -> Iterable[tuple[str, str]]:
    """Each policy with its violations of one kind in one text, which names the resources."""
    where: dict[tuple[str, str], list[str]] = {}
    for each in violations:
        about, _, detail = each.message.partition("\n")
        where.setdefault((each.policy, detail.strip() or about), []).append(name_of(each.urn))
    for (policy, text), names in where.items():
        shown = ", ".join(name for name in names if name)
        yield policy, f"{policy}{f' ({shown})' if shown else ''}: {text}"


def _finding_text(finding: Finding) -> str:
    text = f"{finding.check}: {finding.evidence}"
    return f"{text}\n    fix: {finding.remedy}" if finding.remedy else text


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number and abs(number) != float("inf") else None
