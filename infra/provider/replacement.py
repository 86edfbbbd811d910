"""What a replacement of a deployment does: old and new side by side, or the old one first; and what that costs.

Nothing is asked, and no catalogue loaded, before a replacement is due: an ordinary preview does without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from infra.plugin import Context, contains_unknown
from infra.provider.access import AccessError, access
from infra.provider.names import endpoint_name, stack_labels

LONGEST_START: Final = "Vertex AI gives it up after 2 h"
"""Google's limit of ModelContainerSpec.deployment_timeout."""
USUAL_START: Final = "usually 20 to 30 min"
"""As users report it (pulumi/pulumi#12259, #4265, #5517)."""


def goes_first(
    ctx: Context, endpoint: str, old_id: str, olds: Mapping[str, Any], news: Mapping[str, Any]
) -> bool:
    """Whether the old deployment is taken away before the new one is made; says which and why.

    Args:
        ctx: The engine's call.
        endpoint: The old one's endpoint, full name.
        old_id: The old deployed model's id.
        olds: The old inputs.
        news: The new inputs.
    """
    rollout = _rollout(news)
    strategy = rollout.get("strategy", "auto")
    why = f"rollout: {strategy}"
    recreate = bool(strategy == "recreate")
    if strategy == "auto":
        both, numbers = _fits(ctx, endpoint, old_id, olds, news)
        why, recreate = f"{why}: {numbers}", not both
    if recreate:
        ctx.info(
            f"recreate ({why}). The old one is undeployed first: nothing serves for as long as the new one takes to "
            f"start, {USUAL_START} ({LONGEST_START}). Nothing is paid twice."
        )
    else:
        ctx.info(
            f"surge ({why}). The old one serves until the new one has answered. Both are billed from the new one's "
            f"start until the old one is undeployed: {USUAL_START} ({LONGEST_START}){_baked(news)}; {_price(news)}."
        )
    return recreate


def _rollout(news: Mapping[str, Any]) -> Mapping[str, Any]:
    found = news.get("rollout")
    return {} if found is None or contains_unknown(found) else found


def _known(inputs: Mapping[str, Any]) -> bool:
    """Whether it is known what it runs on."""
    keys = ("project", "location", "machineSpec", "spot", "minReplicaCount")
    machine = inputs.get("machineSpec")
    return isinstance(machine, Mapping) and not contains_unknown({key: inputs.get(key) for key in keys})


def _baked(news: Mapping[str, Any]) -> str:
    from infra.provider.operations import limit_of

    rollout = _rollout(news)
    steps = rollout.get("steps")
    if not steps:
        return ""
    seconds = len(steps) * int(rollout.get("bakeSeconds") or 0)
    return f", and {limit_of(seconds)} for {len(steps)} step{'' if len(steps) == 1 else 's'}"


def _price(news: Mapping[str, Any]) -> str:
    from infra.recipes import catalog

    if not _known(news):
        return "at a price that is not known"
    machine = news["machineSpec"]
    price = catalog().price(
        machine["machineType"],
        str(news["location"]),
        bool(news.get("spot")),
        accelerator_type=machine.get("acceleratorType"),
        accelerator_count=machine.get("acceleratorCount"),
    )
    if price is None:
        return "at a price that is not known"
    replicas = int(news.get("minReplicaCount") or 1)
    return f"{price.usd_per_hour * replicas:,.2f} USD an hour more for {replicas} replica{'' if replicas == 1 else 's'}"


def _fits(
    ctx: Context, endpoint: str, old_id: str, olds: Mapping[str, Any], news: Mapping[str, Any]
) -> tuple[bool, str]:
    """Whether the quota holds both, and the numbers; in doubt it does."""
    from infra.preflight.side_by_side import Machines, side_by_side
    from infra.preflight.subject import Login, Place, hosts

    if not _known(olds) or not _known(news):
        return True, "the machine is not known yet"
    name = endpoint_name(endpoint)
    if name is None or news["location"] != name.location:
        return True, "it is made at another place"
    try:
        way = access(ctx.config)
    except AccessError as e:
        return True, str(e)
    old, new = (
        Machines(
            machine_type=str(each["machineSpec"]["machineType"]),
            accelerator_type=each["machineSpec"].get("acceleratorType") or "",
            accelerator_count=int(each["machineSpec"].get("acceleratorCount") or 0),
            spot=bool(each.get("spot")),
            replicas=int(each.get("minReplicaCount") or 1),
        )
        for each in (olds, news)
    )
    settings = {f"vertexserving:{key}": value for key, value in ctx.config.items()}
    place = Place(
        project=str(news["project"]),
        region=name.location,
        pulumi_project=ctx.project,
        stack=ctx.stack,
        hosts=hosts(settings, os.environ, region=name.location),
        login=Login(token=way.token, credentials=way.credentials),
        endpoint=endpoint,
    )
    verdict = side_by_side(
        place, new, old, endpoint=name.id, old_id=old_id, labels=stack_labels(ctx.project, ctx.stack)
    )
    return verdict.both, verdict.why
