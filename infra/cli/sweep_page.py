"""What ``vertex-vllm sweep`` shows: a table with what it costs, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from infra.cli.common import console, one_gpu, table_console
from infra.sweep.found import Thing, age, dollars, words
from infra.sweep.judge import Case, Verdict
from infra.sweep.look import Look, Place
from infra.sweep.remove import Done
from infra.sweep.states import States

__all__ = ["document", "show", "what"]

Json = dict[str, Any]

_STYLES: Final = {
    "in no state": "bold red",
    "expired": "bold red",
    "in progress": "yellow",
    "state not readable from here": "yellow",
    "not ours alone": "yellow",
}


def show(
    place: Place,
    seen: Look,
    cases: Sequence[Case],
    states: States,
    *,
    stacks: Sequence[str],
    expired_only: bool,
    show_all: bool,
    local: bool,
) -> None:
    """List what was found, with what it rests on and what it costs."""
    shown = [case for case in cases if show_all or case.verdict is not Verdict.IN_STATE]
    out = console()
    if shown:
        table_console().print(_table(shown))
        for why in dict.fromkeys(f"{case.verdict.value}: {case.why}" for case in shown if case.why):
            out.print(Text(f"  {why}", "dim"), soft_wrap=True)
    if show_all and seen.others:
        out.print(Text("\nDeployments without labels of ours, which are never removed:", "bold"))
        for thing in seen.others:
            out.print(Text(f"  {words(thing)}"), soft_wrap=True)
    regions = ", ".join(place.vertex) if len(place.vertex) < 4 else f"{len(place.vertex)} regions"
    where = f"{place.project}, {regions}"
    out.print(_sum(cases, where, stacks=stacks, expired_only=expired_only, local=local), soft_wrap=True)
    if states.unread:
        out.print(Text(f"States not read: {states.unread}", "yellow"), soft_wrap=True)
    for text in seen.unanswered:
        out.print(Text(f"not asked: {text}", "yellow"), soft_wrap=True)
    for text in seen.absent:
        out.print(Text(f"nothing of it: {text}", "dim"), soft_wrap=True)


def _table(cases: Sequence[Case]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("what", "stack", "where", "hardware"):
        table.add_column(heading, overflow="fold")
    for heading in ("age", "USD an hour", "USD so far"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for case in cases:
        thing = case.thing
        hour, bills = thing.usd_per_hour, thing.kind == "deployment"
        table.add_row(
            what(thing),
            thing.stack_label,
            thing.region,
            _hardware(thing),
            "" if thing.hours is None else age(thing.hours),
            "" if not bills else "unknown" if hour is None else f"{hour:.2f}",
            "" if not bills else dollars(thing.usd_so_far),
            Text(case.verdict.value, _STYLES.get(case.verdict.value, "")),
        )
    return table


def what(thing: Thing) -> str:
    """A thing in a few words."""
    if thing.kind != "deployment":
        return f"{thing.kind} {thing.id}"
    id = "being made" if thing.operation else thing.id
    return f"deployment {id} on {thing.endpoint.rpartition('/')[2]}"


def _hardware(thing: Thing) -> str:
    found = thing.deployment
    if found is None or not found.machine_type:
        return ""
    gpus = (
        f", {found.accelerator_count} x {one_gpu(found.accelerator_type)}" if found.accelerator_type else ""
    )
    low, high = found.min_replicas, found.max_replicas
    many = "" if low == high == 1 else f", {low if low == high else f'{low} to {high}'} replicas"
    return f"{found.machine_type}{gpus}{many}"


def _sum(cases: Sequence[Case], where: str, *, stacks: Sequence[str], expired_only: bool, local: bool) -> str:
    """The last line: what goes, in what was asked for, and how much is kept."""
    going = [case.thing for case in cases if case.goes]
    held = sum(case.verdict is Verdict.IN_STATE for case in cases)
    kept = len(cases) - held - len(going)
    state = f"; {held} {'thing is' if held == 1 else 'things are'} in a state" if held else ""
    if kept:
        state += f"; {kept} {'thing' if kept == 1 else 'things'} above {'is' if kept == 1 else 'are'} kept"
    whose = f" of stack {', '.join(stacks)}" if stacks else ""
    if not going and expired_only:
        return f"No deployment{whose} goes for its expiry in {where}{state}."
    if not going:
        return f"Nothing{whose} is in no state and nothing has expired in {where}{state}."
    hours = [each.usd_per_hour for each in going]
    spent = [each.usd_so_far for each in going]
    hour = "unknown" if None in hours else f"{sum(each for each in hours if each is not None):.2f}"
    known = [each for each in spent if each is not None]
    total = (
        "unknown"
        if len(known) < len(spent)
        else dollars((sum(low for low, _ in known), sum(high for _, high in known)))
    )
    free = "; nothing here: this is the local Google Cloud" if local else ""
    many = f"1 thing{whose} is" if len(going) == 1 else f"{len(going)} things{whose} are"
    what = "expired" if expired_only else "in no state or expired"
    return f"{many} {what} in {where}: {hour} USD an hour, {total} USD so far{free}{state}."


def document(
    place: Place, seen: Look, cases: Sequence[Case], states: States, done: Sequence[Done], *, show_all: bool
) -> Json:
    """The same for JSON."""
    outcomes = {id(each.case): each for each in done}
    things = []
    for case in cases:
        if not show_all and case.verdict is Verdict.IN_STATE:
            continue
        entry = {
            **case.thing.as_dict(),
            "verdict": case.verdict.value,
            "why": case.why,
            "stack": case.stack or None,
        }
        if id(case) in outcomes:
            entry |= {"outcome": outcomes[id(case)].outcome, "outcome_why": outcomes[id(case)].why or None}
        things.append(entry)
    return {
        "at": seen.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "project": place.project,
        "regions": list(place.vertex),
        "things": things,
        "in_a_state": sum(case.verdict is Verdict.IN_STATE for case in cases),
        **({"not_ours": [thing.as_dict() for thing in seen.others]} if show_all else {}),
        "states_unread": states.unread or None,
        "unanswered": list(seen.unanswered),
        "absent": list(seen.absent),
    }
