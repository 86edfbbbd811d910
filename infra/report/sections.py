"""The report as sections of tables, lines and texts, which Markdown and HTML each draw in their own way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from infra import expiry
from infra.preflight.finding import Finding, Status
from infra.recipes.costs import UNKNOWN, Change, Costs, monthly, to_cents
from infra.report.content import Report
from infra.report.gpus import DeploymentChange, Kind, ModelChange
from infra.report.preview import EVENTS, Violation, name_of, type_of

__all__ = ["CHANGES", "Block", "Items", "Lines", "Section", "Table", "Text", "sections", "summary"]

CHANGES: Final = "changes"
"""Last cell of a row whose value is another one afterwards."""

_WORDS: Final = {
    Status.FAIL: "failed",
    Status.WARN: "to look at",
    Status.PASS: "passed",
    Status.SKIP: "skipped",
}


_SAID: Final = re.compile(r"preflight: (\d+ (?:passed.*(?=, in [\d.]+ s;)|checks? failed))")
"""How a preview tells of its own preflight: `summary` and `refusal` of `infra.preflight.words`."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list, an item each."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Lines:
    """Preformatted lines; ``language`` is diff, sh or nothing."""

    lines: tuple[str, ...]
    language: str = ""


@dataclass(frozen=True)
class Table:
    """A table; ``code`` are the columns that hold names, ``numbers`` those that hold figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    code: frozenset[int] = frozenset()
    numbers: frozenset[int] = frozenset()


Block = Text | Items | Lines | Table


@dataclass(frozen=True)
class Section:
    """A part of the report; ``open`` is worth a look, ``minor`` is folded also where there is much room."""

    title: str
    blocks: tuple[Block, ...]
    open: bool = False
    minor: bool = False


def summary(report: Report) -> tuple[tuple[str, str], ...]:
    """What stands above everything else: a name and a line each."""
    lines = [("GPUs", _gpus(report))]
    lines += [("meanwhile", change.surge.text) for change in report.deployments if change.surge]
    lines += [
        ("model", change.text) for change in report.models if change.kind in (Kind.REPLACED, Kind.ADOPTED)
    ]
    lines += [("endpoint", change.text) for change in report.endpoints if change.kind is not Kind.SAME]
    idle, most = report.cost.idle, report.cost.at_most
    if idle == most or (idle.before is None and idle.after is None):
        lines.append(("cost" if idle == most else "cost at most", _change(most)))
    else:
        lines += [("cost when idle", _change(idle)), ("cost at most", _change(most))]
    if report.memory is not None:
        lines.append(("memory", f"{report.memory.verdict}: {report.memory.why}"))
    lines.append(("policies", _policies(report)))
    lines.append(("preflight", _preflight(report)))
    return tuple(lines)


def sections(report: Report) -> tuple[Section, ...]:
    """Everything else, the most important first."""
    found = [
        _warnings(report),
        _deployments(report.deployments),
        _models(report.models),
        _costs(report),
        _memory(report),
        _policy_section(report),
        _findings(report),
        _resources(report),
        _messages(report),
    ]
    return tuple(section for section in found if section is not None)


def _gpus(report: Report) -> str:
    if report.deployments:
        changing = [change for change in report.deployments if change.kind is not Kind.SAME]
        return "; ".join(change.text for change in changing or report.deployments)
    return "nothing changes" if report.planned else "not known: the preview failed before them"


def _change(change: Change) -> str:
    if change.before == 0 and change.after == 0:
        return "nothing"
    return change.text


def _policies(report: Report) -> str:
    policies = report.preview.policies
    if policies is None:
        return f"not known: this preview has none in it ({EVENTS}=true writes them)"
    if not report.policies_asked:
        return (
            "not asked: the preview failed before them"
            if policies.asked
            else "not asked: no policy pack was given"
        )
    violated = Counter(each.level for each in policies.violations)
    counts = [f"{len(policies.kept)} kept"]
    counts += [
        f"{count} {level} violation{'s' if count != 1 else ''}" for level, count in sorted(violated.items())
    ]
    return ", ".join(counts)


def _preflight(report: Report) -> str:
    if report.findings is None:
        said = (_SAID.match(each.message) for each in report.preview.diagnostics)
        own = next((match[1] for match in said if match), None)
        return f"{own}, by the preview itself" if own else "not asked"
    counts = [f"{len(report.of(status))} {word}" for status, word in _WORDS.items() if report.of(status)]
    return ", ".join(counts) or "no check"


def _warnings(report: Report) -> Section | None:
    if not report.warnings:
        return None
    return Section(f"Warnings ({len(report.warnings)})", (Items(report.warnings),), open=True)


def _deployments(changes: Sequence[DeploymentChange]) -> Section | None:
    blocks: list[Block] = []
    for change in changes:
        if change.kind is Kind.SAME:
            continue
        if len(changes) > 1:
            blocks.append(Text(f"{change.name}: {change.kind.value}"))
        before = {} if change.before is None else change.before.rows()
        after = {} if change.after is None else change.after.rows()
        rows = tuple(
            (name, before.get(name, "—"), after.get(name, "—"), _mark(before.get(name), after.get(name)))
            for name in (after or before)
        )
        blocks.append(Table(("", "before", "after", ""), rows))
    return Section("GPUs before and after", tuple(blocks)) if blocks else None


def _models(changes: Sequence[ModelChange]) -> Section | None:
    blocks: list[Block] = []
    for change in changes:
        if change.kind not in (Kind.CREATED, Kind.REPLACED):
            continue
        before = {} if change.before is None else change.before.rows()
        after = {} if change.after is None else change.after.rows()
        rows = tuple(
            (name, before.get(name, "—"), value, _mark(before.get(name), value))
            for name, value in after.items()
        )
        blocks.append(Table(("", "before", "after", ""), rows))
        if change.environment:
            blocks.append(Items(tuple(f"environment: {text}" for text in change.environment)))
        if change.kind is Kind.REPLACED:
            blocks.append(Lines(change.arguments, "diff"))
        else:
            blocks.append(Lines(tuple(line[2:] for line in change.arguments)))
    return Section("Container and its arguments", tuple(blocks)) if blocks else None


def _mark(before: str | None, after: str | None) -> str:
    return "" if before is None or after is None or before == after else CHANGES


def _costs(report: Report) -> Section | None:
    cost = report.cost
    rows = []
    for before, after in cost.details:
        pairs = (
            ("what is paid for", _text(before, "hardware"), _text(after, "hardware")),
            ("capacity", _text(before, "capacity"), _text(after, "capacity")),
            ("one replica", _both(before, "replica"), _both(after, "replica")),
            ("when idle", _both(before, "idle"), _both(after, "idle")),
            ("at most", _both(before, "at_most"), _both(after, "at_most")),
            ("one replica on demand", _both(before, "on_demand"), _both(after, "on_demand")),
            ("one replica on spot", _both(before, "spot_price"), _both(after, "spot_price")),
        )
        rows += [(name, old, new) for name, old, new in pairs]
    if not rows:
        return None
    blocks: list[Block] = [Table(("USD an hour (a month)", "before", "after"), tuple(rows))]
    blocks += [Text(f"Meanwhile {change.surge.text}.") for change in report.deployments if change.surge]
    if cost.budget is not None:
        blocks.append(Text(f"Budget: {to_cents(cost.budget)} USD an hour (vertex-vllm:maxUsdPerHour)."))
    until = {
        label
        for step in report.preview.steps
        if step.new is not None
        and (label := str((step.new.inputs.get("labels") or {}).get(expiry.LABEL) or ""))
    }
    for label in sorted(until - {expiry.NEVER}):
        count = " after each deployment" if expiry.Expiry.of(label).length else ""
        blocks.append(Text(f"Expires: {label}{count}; then a sweep undeploys it."))
    blocks += [Text(text) for text in dict.fromkeys(_origins(report))]
    blocks.append(
        Text("A month has 730 hours. Machines only: no storage, traffic, logs, tax or discounts are in it.")
    )
    return Section("Cost", tuple(blocks))


def _origins(report: Report) -> Iterable[str]:
    for pair in report.cost.details:
        for costs in pair:
            if costs is not None and costs.replica is not None:
                yield f"Price of {costs.date or 'an unknown date'}: {costs.source}; {costs.derivation}."


def _text(costs: Costs | None, name: str) -> str:
    return "—" if costs is None else str(getattr(costs, name))


def _both(costs: Costs | None, name: str) -> str:
    if costs is None:
        return "—"
    hour: float | None = getattr(costs, name)
    month = monthly(hour)
    return UNKNOWN if hour is None or month is None else f"{hour:,.4f} ({month:,.2f})"


def _memory(report: Report) -> Section | None:
    memory = report.memory
    if memory is None:
        return None
    blocks: list[Block] = [Text(f"{memory.file} {memory.verdict}: {memory.why}")]
    if memory.changes:
        blocks += [Text("Each of these makes it start:"), Items(memory.changes)]
    if memory.rows:
        blocks.append(Table(("one GPU", "GiB", "90 % interval"), memory.rows, numbers=frozenset({1, 2})))
    return Section("Memory of one GPU", tuple(blocks))


def _policy_section(report: Report) -> Section | None:
    policies = report.preview.policies
    if policies is None or not report.policies_asked:
        return None
    blocks: list[Block] = []
    if policies.violations:
        rows = tuple(
            _violation_row(each) for each in sorted(policies.violations, key=lambda each: not each.mandatory)
        )
        blocks.append(Table(("policy", "level", "resource", "violation"), rows, code=frozenset({0, 2})))
    if policies.kept:
        blocks.append(Text(f"Kept: {', '.join(policies.kept)}."))
    packs = ", ".join(f"{name.partition('|')[0]} {version}" for name, version in policies.packs.items())
    if packs:
        blocks.append(Text(f"Policy packs: {packs}."))
    count = len(policies.violations)
    title = f"Policies ({count} violation{'s' if count != 1 else ''})" if count else "Policies"
    return Section(title, tuple(blocks), open=bool(count))


def _violation_row(violation: Violation) -> tuple[str, str, str, str]:
    where = f"{name_of(violation.urn)} ({type_of(violation.urn)})" if violation.urn else ""
    return violation.policy, violation.level, where, violation.message


def _findings(report: Report) -> Section | None:
    if not report.findings:
        return None
    blocks: list[Block] = []
    for status, word in _WORDS.items():
        found = report.of(status)
        if not found:
            continue
        # Nothing to do is no column.
        width = 3 if any(each.remedy for each in found) else 2
        head = ("check", "what was found", "what to do")[:width]
        rows = tuple((each.check, each.evidence, each.remedy)[:width] for each in found)
        blocks.append(Text(f"{word.capitalize()}: {len(found)}"))
        blocks.append(Table(head, rows, code=frozenset({0})))
        by_hand = tuple(_by_hand(found))
        if by_hand:
            blocks.append(Lines(by_hand, "sh"))
    failed = bool(report.of(Status.FAIL))
    return Section(f"Preflight ({_preflight(report)})", tuple(blocks), open=failed)


def _by_hand(found: Sequence[Finding]) -> Iterable[str]:
    for each in found:
        if each.by_hand:
            yield f"# {each.check}"
            yield each.by_hand


def _resources(report: Report) -> Section | None:
    steps = [
        step for step in report.preview.steps if step.op != "same" and not step.type.startswith("pulumi:")
    ]
    # Components hold others and are nothing by themselves.
    steps = [step for step in steps if not step.type.startswith("vertex-vllm:")]
    if not steps:
        return None
    counts = ", ".join(f"{count} {op}" for op, count in sorted(report.preview.counts.items()))
    rows = tuple((step.op, step.type, step.name, ", ".join(step.reasons)) for step in steps)
    table = Table(("", "type", "name", "because of"), rows, code=frozenset({1, 2}))
    return Section(f"Resources ({counts})", (table,), minor=True)


def _messages(report: Report) -> Section | None:
    found = [each for each in report.preview.diagnostics if each.severity == "info"]
    errors = [f"error: {each.message}" for each in report.preview.errors]
    texts = (*errors, *(each.message for each in found))
    if not texts:
        return None
    lines = tuple(line for text in texts for line in text.splitlines())
    return Section(f"What Pulumi said ({len(texts)})", (Lines(lines),), minor=True)
