"""Whether a thing may go: what its labels, the states and the time say together. Pure.

The costly mistake is to remove what serves. So a thing is in no state only where the state of its stack was read and
no run works on the stack; everything that is not known keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from infra.expiry import Expiry
from infra.sweep.found import Thing, key_of
from infra.sweep.states import StackState, States

__all__ = ["Case", "Verdict", "judge"]


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
    """

    thing: Thing
    verdict: Verdict
    why: str = ""
    stack: str = ""
    urn: str = ""

    @property
    def goes(self) -> bool:
        """Whether a removal takes it."""
        return self.verdict in (Verdict.NO_STATE, Verdict.EXPIRED)


def judge(thing: Thing, states: States, now: datetime) -> Case:
    """The verdict on one thing."""
    expired = _expired(thing, now)
    label = f"vertex-vllm-stack={thing.stack_label}"
    keys = (thing.key, *((key_of(thing.operation),) if thing.operation else ()))
    # Whatever its labels say: a stack may have been renamed since.
    found = [(each, each.urns[key]) for each in states.stacks for key in keys if key in each.urns]
    if thing.shared and not found:
        return Case(thing, Verdict.SHARED, thing.shared)
    if thing.project_label == states.project_label and thing.stack_label in states.gone and not found:
        return Case(thing, Verdict.NO_STATE, f"you say that nothing has the state of {thing.stack_label}")
    stacks = states.of(thing.project_label, thing.stack_label) or tuple(each for each, _ in found)
    unread = [each for each in stacks if each.unread]
    if not stacks or unread:
        if thing.project_label != states.project_label:
            why = f"of another Pulumi project, {thing.project_label}"
        elif unread:
            why = unread[0].unread
        else:
            why = states.unread or f"no stack of this backend has the label {label}"
        return Case(thing, Verdict.UNREADABLE, " ".join(filter(None, (why, expired and f"({expired})"))))
    running = next((each for each in stacks if each.run), None)
    if found:
        holder, urn = found[0]
        if expired and holder.run:
            return Case(thing, Verdict.IN_PROGRESS, f"{holder.run}; {expired}", holder.name, urn)
        verdict = Verdict.EXPIRED if expired else Verdict.IN_STATE
        return Case(thing, verdict, expired or f"stack {holder.name}", holder.name, urn)
    if running is not None:
        return Case(thing, Verdict.IN_PROGRESS, running.run)
    if thing.operation and thing.deployment is None:
        # Google does not say which model is being deployed: on a shared endpoint it may be another stack's.
        other = next((each for each in states.stacks if each not in stacks and _may_deploy(each)), None)
        if other is not None:
            return Case(thing, Verdict.IN_PROGRESS, f"it may be of stack {other.name}, which is not finished")
    blind = next((each for each in stacks if not each.run_known and (each.pending or thing.operation)), None)
    if blind is not None:
        why = f"unfinished in stack {blind.name}, whose backend does not tell whether a run works on it"
        return Case(thing, Verdict.IN_PROGRESS, why)
    pending = next((each for each in stacks if each.pending), None)
    why = f"stack {stacks[0].name} has it not"
    if pending is not None:
        why = (
            f"a run on stack {pending.name} was killed; its state has it not, "
            f"vertex-vllm recover --stack {pending.name} puts it there"
        )
    return Case(thing, Verdict.NO_STATE, why)


def _may_deploy(stack: StackState) -> bool:
    """Whether a deployment under way that no state has may be this stack's."""
    return bool(stack.unread or stack.run or stack.pending)


def _expired(thing: Thing, now: datetime) -> str:
    """Why a deployment is wanted no more, in words; nothing else is undeployed for its label."""
    if thing.kind != "deployment":
        return ""
    if not Expiry.of(thing.expiry).passed(thing.created, now):
        return ""
    end = Expiry.of(thing.expiry).end(thing.created)
    return f"expiry {thing.expiry}, passed {end:%Y-%m-%d %H:%M} UTC"
