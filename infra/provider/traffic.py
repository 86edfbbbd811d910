"""Which deployed model gets how much of an endpoint's traffic. Pure.

An endpoint may serve several stacks. A stack may declare its share in percent; one that does not takes what the others
leave. The split that `settled` gives follows from what is declared and not from the order in which stacks are brought
up, so two stacks on one endpoint never fight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Split = dict[str, int]


@dataclass(frozen=True)
class Tenant:
    """What one owner has deployed on an endpoint.

    Attributes:
        ids: Its deployed models.
        declared: The percentage that it wants; None: what the others leave.
        name: Who it is, for a message.
    """

    ids: tuple[str, ...]
    declared: int | None = None
    name: str = ""

    def share(self, split: Mapping[str, int]) -> int:
        """What it has of a split, in percent."""
        return sum(split.get(id, 0) for id in self.ids)


class NoShare(Exception):
    """The declared shares leave nothing for a stack; `str(e)` says so with the numbers."""


def split_of(endpoint: Mapping[str, Any]) -> Split:
    """The endpoint's split without those that get nothing."""
    return {str(id): int(share) for id, share in (endpoint.get("trafficSplit") or {}).items() if int(share)}


def share(endpoint: Mapping[str, Any], id: str) -> int:
    """The percentage of the endpoint's traffic that a deployed model gets."""
    return split_of(endpoint).get(id, 0)


def others(endpoint: Mapping[str, Any], id: str) -> list[Mapping[str, Any]]:
    """The endpoint's other deployed models."""
    return [model for model in endpoint.get("deployedModels", ()) if str(model.get("id")) != id]


def settled(split: Mapping[str, int], keeper: str, mine: Tenant, rest: Sequence[Tenant]) -> Split:
    """The split in which one deployed model has all that its stack should get.

    Args:
        split: The present split.
        keeper: The deployed model; its stack's others get nothing.
        mine: Its stack.
        rest: The other tenants. One without traffic stays without: it may be on its way.

    Raises:
        NoShare: What is declared leaves nothing for this stack, or for another that has traffic.
    """
    live = [tenant for tenant in rest if tenant.share(split)]
    free = [tenant for tenant in live if tenant.declared is None]
    fixed = [tenant for tenant in live if tenant.declared is not None]
    if not live:
        return {keeper: 100}
    if not free and mine.declared is not None:
        # Nobody takes what is left: the declared shares are proportions.
        wanted = {keeper: mine.declared, **{tenant.ids[0]: tenant.declared or 0 for tenant in fixed}}
        scaled = _scaled(wanted, 100)
        return _spread(split, {tenant: scaled[tenant.ids[0]] for tenant in fixed}) | {keeper: scaled[keeper]}
    # One that is only beginning, or was moved by hand, is not pushed up to its share here: its own run does that.
    totals = {tenant: min(tenant.share(split), tenant.declared or 0) for tenant in fixed}
    left = 100 - sum(totals.values())
    declared = ", ".join(f"{tenant.name} {tenant.declared} %" for tenant in fixed)
    if mine.declared is not None:
        left -= mine.declared
        if left < len(free):
            raise NoShare(
                f"{mine.declared} % for this stack{f' beside {declared}' if declared else ''} leaves {left} % for "
                f"{', '.join(tenant.name for tenant in free)}"
            )
        amounts = _scaled({tenant.ids[0]: tenant.share(split) for tenant in free}, left)
        totals |= {tenant: amounts[tenant.ids[0]] for tenant in free}
        return _spread(split, totals) | {keeper: mine.declared}
    now = mine.share(split)
    if free and not now:
        raise NoShare(
            f"{', '.join(f'{tenant.name} has {tenant.share(split)} %' for tenant in free)} without having declared a "
            "share, and this stack declares none either"
        )
    if left < 1 + len(free):
        raise NoShare(f"{declared} leave {left} % for this stack")
    amounts = _scaled({keeper: now or 1, **{tenant.ids[0]: tenant.share(split) for tenant in free}}, left)
    totals |= {tenant: amounts[tenant.ids[0]] for tenant in free}
    return _spread(split, totals) | {keeper: amounts[keeper]}


def given_back(split: Mapping[str, int], keeper: str, weights: Mapping[str, int]) -> Split:
    """The split without one deployed model, whose share goes to others in proportion to given weights.

    Without weights it goes to all that have traffic. Where nobody is left, the split is empty.
    """
    gone = split.get(keeper, 0)
    left = {id: amount for id, amount in split.items() if id != keeper and amount}
    takers = {id: weight for id, weight in weights.items() if weight and id != keeper} or left
    if not gone or not takers:
        return left
    got = _proportional(takers, gone)
    found = {id: left.get(id, 0) + got.get(id, 0) for id in {**left, **got}}
    return {id: amount for id, amount in found.items() if amount}


def part_way(start: Mapping[str, int], end: Mapping[str, int], keeper: str, amount: int) -> Split:
    """The split between one in which `keeper` has nothing and one with all of its share, in which it has `amount`."""
    whole = end[keeper]
    ids = sorted({*start, *end})
    points = {id: start.get(id, 0) * (whole - amount) + end.get(id, 0) * amount for id in ids}
    found = {id: point // whole for id, point in points.items()}
    by_loss = sorted(ids, key=lambda id: (-(points[id] % whole), id))
    for id in by_loss[: 100 - sum(found.values())]:
        found[id] += 1
    return {id: share for id, share in found.items() if share}


def without(
    endpoint: Mapping[str, Any], id: str, mine: Sequence[str] = (), rest: Sequence[Tenant] = ()
) -> Split | None:
    """The split that takes all traffic from a deployed model, or None if none has to be given.

    Its share goes to its own stack's others; if there are none, to the stacks that declare no share, then to those that
    do, in proportion each time; if nobody else has traffic, all goes to the newest one. Nothing has to be given for a
    model without traffic, nor for the last one on an endpoint: Google empties the split itself.

    Args:
        endpoint: The endpoint.
        id: The deployed model that goes.
        mine: The deployed models of its stack.
        rest: The other tenants.
    """
    split = split_of(endpoint)
    left = others(endpoint, id)
    if not split.get(id, 0) or not left:
        return None
    own = [model for model in left if str(model["id"]) in mine]
    weights = {str(model["id"]): split.get(str(model["id"]), 0) for model in own}
    if own and not any(weights.values()):
        weights = {_newest(own): 1}
    if not own:
        live = [tenant for tenant in rest if tenant.share(split)]
        free = [tenant for tenant in live if tenant.declared is None]
        if live and not free:
            totals = _scaled({tenant.ids[0]: tenant.declared or 0 for tenant in live}, 100)
            return _spread(split, {tenant: totals[tenant.ids[0]] for tenant in live})
        weights = {each: split.get(each, 0) for tenant in free for each in tenant.ids}
        if not any(amount for other, amount in split.items() if other != id):
            weights = {_newest(left): 1}
    return given_back(split, id, weights)


def _newest(models: Sequence[Mapping[str, Any]]) -> str:
    return str(max(models, key=lambda model: str(model.get("createTime", "")))["id"])


def _spread(split: Mapping[str, int], totals: Mapping[Tenant, int]) -> Split:
    """Each tenant's total over its deployed models, in proportion to what they have."""
    found: Split = {}
    for tenant, total in totals.items():
        found |= _scaled({id: split[id] for id in tenant.ids if split.get(id)}, total)
    return {id: amount for id, amount in found.items() if amount}


def _scaled(shares: Mapping[str, int], total: int) -> Split:
    """Whole percentages with a given sum in the same proportions, in which nobody falls to nothing if that can be."""
    found = _proportional(shares, total)
    for id in found:
        if not found[id] and total >= len(found):
            largest = max(sorted(found), key=lambda each: found[each])
            found[largest] -= 1
            found[id] = 1
    return found


def _proportional(shares: Mapping[str, int], total: int) -> Split:
    """Whole numbers with a given sum in the same proportions."""
    whole = sum(shares.values())
    found = {id: amount * total // whole for id, amount in shares.items()}
    by_loss = sorted(shares, key=lambda id: (-(shares[id] * total % whole), id))
    for id in by_loss[: total - sum(found.values())]:
        found[id] += 1
    return found
