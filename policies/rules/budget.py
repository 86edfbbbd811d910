"""What a deployment may cost.

`budget`. Satisfied by: as many replicas as there can be, with the management fee of spot, for at most `maxUsdPerHour`
US dollars an hour (120: one machine with eight H100 and no more), or what `maxUsdPerHourByEnvironment` says of the
stack's environment; 0 is no limit, as for the local cloud. Violated by: more; and, where there is a limit, by a machine
whose price is not known, unless `unknownPrice` is `allow`: what is not known is not nothing.

The owner's own budget of one stack is `vertex-vllm:maxUsdPerHour`; this is what an organisation allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.capacity import DEPLOYMENT, most_replicas
from rules.rule import ENVIRONMENTS, UNKNOWN, Resource, Rule


def usd_per_hour(
    machine_type: str, region: str, spot: bool, kind: str | None, count: int | None
) -> float | None:
    """What one replica costs, from the catalogue of this repository; None where it is not known."""
    # Here, since it takes a third of a second, which a stack without a deployment need not wait for.
    from infra.recipes import catalog

    price = catalog().price(machine_type, region, spot, accelerator_type=kind, accelerator_count=count)
    return None if price is None else price.usd_per_hour


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != DEPLOYMENT:
        return
    most = resource.limit(config, "maxUsdPerHour")
    if not most:
        return
    machine, kind, count = (
        resource.get("machineSpec", key) for key in ("machineType", "acceleratorType", "acceleratorCount")
    )
    region, spot = resource.get("location"), resource.get("spot", default=False)
    replicas = most_replicas(resource)
    if UNKNOWN in (resource.get("machineSpec"), machine, kind, count, region, spot, replicas):
        return
    if not isinstance(machine, str) or not isinstance(region, str) or not isinstance(replicas, int | float):
        return  # the provider refuses a deployment without them
    # Here for the reason in usd_per_hour.
    from infra.recipes.costs import over_budget, to_cents

    where = f"{'spot ' if spot else ''}{machine} in {region}"
    price = usd_per_hour(machine, region, bool(spot), kind, None if count is None else int(count))
    if price is None:
        if config["unknownPrice"] != "allow":
            yield (
                f"no price is known of {where}, so the budget of {to_cents(most)} US dollars an hour cannot be held; "
                "choose a machine whose price is known (vertex-vllm explain names them), or set option unknownPrice "
                "of this policy to allow"
            )
    elif over_budget(price * replicas, most):
        yield (
            f"{replicas:.0f} {where} cost {to_cents(price * replicas)} US dollars an hour, "
            f"and at most {to_cents(most)} are allowed; "
            "lower replicas.max_replica_count or choose a cheaper machine in the stack file"
        )


BUDGET = Rule(
    name="budget",
    description="All replicas of a deployment together keep within a budget.",
    check=check,
    config={
        "maxUsdPerHour": {"type": "number", "minimum": 0, "default": 120},
        "maxUsdPerHourByEnvironment": {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0},
            "default": {"local": 0},
        },
        "unknownPrice": {"type": "string", "enum": ["refuse", "allow"], "default": "refuse"},
        "environments": ENVIRONMENTS,
    },
)
