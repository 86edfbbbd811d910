"""Whether a thing may go: what its labels, the states and the time say together. Pure.

The costly mistake is to remove what serves. So a thing is in no state only where the state of its stack was read and
no run works on the stack; everything that is not known keeps it. Labels name no backend: what was made after the last
run of the stack that is read here, another stack of that name may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from infra.expiry import Expiry
from infra.sweep.found import Thing, key_of
from infra.sweep.states import StackState, States

__all__ = ["Case", "Verdict", "expired", "judge", "judge_all"]

_CLOCKS: Final = timedelta(minutes=10)
"""By how much the clock of a machine that runs pulumi may differ from Google's."""


class Verdict(Enum):
    """What is known of a thing; the value is what people read."""

    IN_STATE = "in a state"
    NO_STATE = "in no state"
    EXPIRED = "expired"
    IN_PROGRESS = "in progress"
    UNREADABLE = "state not readable from here"
    SHARED = "not ours alone"


@dataclass(frozen=True)
class Case:
    """A thing with its verdict.

    Attributes:
        thing: The thing.
        verdict: The verdict.
        why: What it rests on, for people.
        stack: Name of the stack whose state has it; empty for none.
        urn: Its URN there.
        doubtful: Whether another stack of that name may have it.
    """

    thing: Thing
    verdict: Verdict
    why: str = ""
    stack: str = ""
    urn: str = ""
    doubtful: bool = False

    @property
    def goes(self) -> bool:
        """Whether a removal takes it."""
        return self.verdict in (Verdict.NO_STATE, Verdict.EXPIRED)


def judge_all(things: Iterable[Thing], states: States, now: datetime) -> list[Case]:
    """The verdict on each. Of what Google gives no time, what else carries the same labels tells whose it may be."""
    cases = [judge(each, states, now) for each in things]
    doubtful = {_labels(case.thing): case.why for case in cases if case.doubtful}
    return [
        replace(case, verdict=Verdict.UNREADABLE, why=doubtful[_labels(case.thing)])
        if case.verdict is Verdict.NO_STATE and case.thing.created is None and _labels(case.thing) in doubtful
        else case
        for case in cases
    ]


def judge(thing: Thing, states: States, now: datetime) -> Case:
    """The verdict on one thing."""
    late = expired(thing, now)
    keys = (thing.key, *((key_of(thing.operation),) if thing.operation else ()))
    # Whatever its labels say: a stack may have been renamed since.
    found = [(each, each.urns[key]) for each in states.stacks for key in keys if key in each.urns]
    shared = "" if found else _shared(thing, states) or ("" if _both_known(thing, states) else thing.shared)
    if shared:
        return Case(thing, Verdict.SHARED, shared)
    stacks = states.of(thing.project_label, thing.stack_label) or tuple(each for each, _ in found)
    unread = next((each for each in stacks if each.unread), None)
    # A stack that was renamed keeps its old labels until its next run.
    failed = next((each for each in states.stacks if each.failed), None)
    gone = (
        not found
        and thing.project_label == states.project_label
        and thing.stack_label in states.gone
        and not states.unread
        and failed is None
    )
    if not stacks or unread or (failed and not found):
        if gone:
            return Case(thing, Verdict.NO_STATE, f"you say that nothing has the state of {thing.stack_label}")
        why = _unread(thing, states, unread, failed)
        return Case(thing, Verdict.UNREADABLE, " ".join(filter(None, (why, late and f"({late})"))))
    if found:
        holder, urn = found[0]
        run = holder.run or ("" if holder.run_known or not holder.pending else f"{holder.name} is unfinished")
        if late and run:
            return Case(thing, Verdict.IN_PROGRESS, f"{run}; {late}", holder.name, urn)
        verdict = Verdict.EXPIRED if late else Verdict.IN_STATE
        return Case(thing, verdict, late or f"stack {holder.name}", holder.name, urn)
    going_on = _going_on(thing, (*stacks, *(states.of(*thing.host) if thing.host else ())), states)
    if going_on:
        return Case(thing, Verdict.IN_PROGRESS, going_on)
    after = "" if gone else _made_after(thing, stacks)
    if after:
        return Case(thing, Verdict.UNREADABLE, after, doubtful=True)
    pending = next((each for each in stacks if each.pending), None)
    why = f"stack {stacks[0].name} has it not"
    if pending is not None:
        why = (
            f"a run on stack {pending.name} was killed; its state has it not, "
            f"vertex-vllm recover --stack {pending.name} puts it there"
        )
    return Case(thing, Verdict.NO_STATE, why)


def _labels(thing: Thing) -> tuple[str, str]:
    return thing.project_label, thing.stack_label


def _both_known(thing: Thing, states: States) -> bool:
    """Whether the endpoint that another stack's model is on is of a stack whose state is read, too."""
    host = states.of(*thing.host) if thing.host else ()
    own = states.of(*_labels(thing))
    lost = not own and thing.project_label == states.project_label and thing.stack_label in states.gone
    return bool(host) and (bool(own) or lost) and not any(each.unread for each in (*host, *own))


def _shared(thing: Thing, states: States) -> str:
    """Why a thing that no state has is not only its stack's: a stack needs it, or it was there before the stack."""
    user = next((each for each in states.stacks if thing.key in each.uses), None)
    if user is not None:
        return f"stack {user.name} uses it"
    if thing.kind != "deployment" or thing.created is None:
        return ""
    for each in states.stacks:
        since = each.since.get(key_of(thing.endpoint))
        if since is not None and thing.created < since - _CLOCKS:
            return f"it was on the endpoint before stack {each.name} took that over"
    return ""


def _unread(thing: Thing, states: States, unread: StackState | None, failed: StackState | None) -> str:
    """Why the state that may have a thing is not known."""
    if thing.project_label != states.project_label:
        return f"of another Pulumi project, {thing.project_label}"
    if unread is not None:
        return unread.unread
    if failed is not None:
        return f"stack {failed.name} may have it: {failed.unread}"
    label = f"vertex-vllm-stack={thing.stack_label}"
    return states.unread or f"no stack of this backend has the label {label}"


def _going_on(thing: Thing, stacks: Sequence[StackState], states: States) -> str:
    """Why a thing that no state has may be in the making; empty where no run works on its stack."""
    running = next((each for each in stacks if each.run), None)
    if running is not None:
        return running.run
    if thing.operation and thing.deployment is None:
        # Google does not say which model is being deployed: on a shared endpoint it may be another stack's.
        other = next((each for each in states.stacks if each not in stacks and _may_deploy(each)), None)
        if other is not None:
            return f"it may be of stack {other.name}, which is not finished"
    blind = next((each for each in stacks if not each.run_known and (each.pending or thing.operation)), None)
    if blind is not None:
        return f"unfinished in stack {blind.name}, whose backend does not tell whether a run works on it"
    return ""


def _made_after(thing: Thing, stacks: Sequence[StackState]) -> str:
    """Why no run on these stacks has made a thing: each writes its state when it ends, and begun operations before."""
    written = [each.written for each in stacks if each.written is not None]
    if thing.created is None or len(written) < len(stacks) or any(each.pending for each in stacks):
        return ""
    if thing.created <= max(written) + _CLOCKS:
        return ""
    return (
        f"made {thing.created:%Y-%m-%d %H:%M} UTC, after the last run on stack {stacks[0].name} of this backend "
        f"({max(written):%Y-%m-%d %H:%M} UTC): by hand, or by a stack of that name in another backend; where you know "
        f"that nothing has its state, --gone {stacks[0].name} removes it"
    )


def _may_deploy(stack: StackState) -> bool:
    """Whether a deployment under way that no state has may be this stack's."""
    return bool(stack.unread or stack.run or stack.pending)


def expired(thing: Thing, now: datetime) -> str:
    """Why a deployment is wanted no more, in words; nothing else is undeployed for its label."""
    if thing.kind != "deployment":
        return ""
    if not Expiry.of(thing.expiry).passed(thing.created, now):
        return ""
    end = Expiry.of(thing.expiry).end(thing.created)
    return f"expiry {thing.expiry}, passed {end:%Y-%m-%d %H:%M} UTC"
