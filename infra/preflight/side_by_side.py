"""Whether the quota that is left holds a new deployment beside the one that it replaces.

Read by the provider when a replacement is due, with the same readers as the preflight checks. Only what is conclusive
counts: the smallest number of replicas, of a limit and a use that could both be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.preflight.finding import Finding
from infra.preflight.google.answers import body, object_, text
from infra.preflight.google.limits import read_limit
from infra.preflight.google.usage import Deployed, amounts_of, deployment_under_way, read_usage
from infra.preflight.net import Net, Unread
from infra.preflight.run import run
from infra.preflight.subject import Place
from infra.recipes import QuotaRef, catalog
from infra.recipes.catalog import CPU

__all__ = ["Machines", "Verdict", "side_by_side"]

_WORDS: Final = {CPU: "vCPUs"}


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What one deployment runs on.

    Attributes:
        machine_type: Of one replica.
        accelerator_type: Empty for none.
        accelerator_count: GPUs of one replica.
        spot: Whether it takes from the quotas of spot capacity.
        replicas: The smallest number.
    """

    machine_type: str
    accelerator_type: str
    accelerator_count: int
    spot: bool
    replicas: int

    def takes(self) -> dict[str, tuple[str, QuotaRef, int]]:
        """Quota id -> what is counted, the quota, and how much of it."""
        found = {}
        for kind, amount in amounts_of(
            self.machine_type, self.accelerator_type, self.accelerator_count
        ).items():
            ref = catalog().quota(kind, self.spot)
            if ref is not None:
                what = f"{'spot ' if self.spot else ''}{_WORDS.get(kind, kind)}"
                found[ref.quota_id] = (what, ref, amount * self.replicas)
        return found


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether both fit.

    Attributes:
        both: False only where it is sure that they do not, and that the new one fits where the old one is gone.
        why: The numbers, or why there are none.
    """

    both: bool
    why: str


def side_by_side(
    place: Place, new: Machines, old: Machines, *, endpoint: str, old_id: str, labels: Mapping[str, str]
) -> Verdict:
    """Asks for the quotas of the new one; within five seconds, whatever answers.

    Args:
        place: Where, and as whom.
        new: What the new one runs on.
        old: What the old one runs on.
        endpoint: Id of the endpoint.
        old_id: Id of the old deployed model there.
        labels: Those by which the stack's models are told.
    """
    found: list[Verdict] = []

    async def serving_quota(place: Place, net: Net) -> Sequence[Finding]:
        found.append(await _judged(place, net, new, old, endpoint, old_id, labels))
        return ()

    report = run(place, (serving_quota,))
    if found:
        return found[0]
    reason = next((each.evidence for each in report.skipped), "no answer.")
    return Verdict(both=True, why=f"the quota that is left is not known: {reason.rstrip('.')}")


async def _judged(
    place: Place,
    net: Net,
    new: Machines,
    old: Machines,
    endpoint: str,
    old_id: str,
    labels: Mapping[str, str],
) -> Verdict:
    usage = await read_usage(place, net)
    if isinstance(usage.deployed, Unread):
        raise usage.deployed
    beside = [each for each in usage.deployed if each.endpoint == endpoint and each.id != old_id]
    if await deployment_under_way(place, net, [endpoint]) or await _ours(place, net, beside, labels):
        # A roll that was interrupted has its quota, and the old one must not go before it has ended.
        return Verdict(both=True, why="a roll is under way already")
    gone, facts, tight, hopeless = old.takes(), [], False, False
    for quota_id, (what, ref, units) in new.takes().items():
        limit = await read_limit(place, net, ref)
        if limit.amount is None:
            continue
        used = usage.taken(quota_id, limit.metric).low
        left = max(0, limit.amount - used)
        facts.append(f"{units} more {what} needed, {left} of {limit.amount} left")
        tight = tight or left < units
        hopeless = hopeless or left + (gone[quota_id][2] if quota_id in gone else 0) < units
    why = ", ".join(facts) or "no quota limits it"
    if tight and hopeless:
        return Verdict(both=True, why=f"{why}: too little even without the old one, which therefore stays")
    return Verdict(both=not tight, why=why)


async def _ours(place: Place, net: Net, beside: Sequence[Deployed], labels: Mapping[str, str]) -> bool:
    """Whether one of the deployed models is the stack's own."""
    for each in beside:
        model = body(await net.get(f"{place.hosts.vertex}/{each.model.partition('@')[0]}"))
        own = object_(model, "labels")
        if all(text(own, key) == value for key, value in labels.items()):
            return True
    return False
