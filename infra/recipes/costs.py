"""What a plan costs: by the hour and by the month, a replica, when nobody asks, and at most.

Owns the sums, the shape in which a stack exports them and the difference between two of them. Where a price comes from
is for :mod:`infra.recipes.prices`. Only the machines are counted, not storage, network traffic, logs, tax and
discounts. A price that is not known is None here and ``unknown`` in outputs and texts, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from infra.recipes.catalog import catalog
from infra.recipes.plan import ServingPlan
from infra.recipes.prices import Price

__all__ = [
    "HOURS_PER_MONTH",
    "UNKNOWN",
    "Change",
    "CostDifference",
    "Costs",
    "cost_outputs",
    "costs_of",
    "costs_of_machines",
    "monthly",
    "over_budget",
    "to_cents",
]

HOURS_PER_MONTH: Final = 730
"""Hours of a month in every monthly price: 365 x 24 / 12, as in Google's pricing calculator."""

UNKNOWN: Final = "unknown"
"""Stands in outputs where a price is not known."""


def monthly(usd_per_hour: float | None) -> float | None:
    """US dollars of a month of 730 hours; None where the hour's price is not known."""
    return None if usd_per_hour is None else usd_per_hour * HOURS_PER_MONTH


_DIGITS: Final = Context(prec=400)
"""Enough for every float: the largest has 309 digits."""


def to_cents(usd: float) -> Decimal:
    """US dollars as every text about a budget has them: two decimals, half up."""
    # repr is the number as people write it; six decimals take off what sums of binary numbers leave behind.
    return Decimal(repr(round(usd, 6))).quantize(Decimal("0.01"), ROUND_HALF_UP, _DIGITS)


def over_budget(usd: float, budget: float) -> bool:
    """Whether a cost is over a budget, by more than the rounding of its text: a budget set to the text is enough."""
    return usd > budget and to_cents(usd) > Decimal(repr(budget))


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one plan costs, US dollars an hour before tax and discounts; None where a price is not known.

    Attributes:
        hardware: Machine, GPUs and region, in words.
        spot: Whether the plan's own capacity is spot.
        min_replicas: Machines that always run: what an idle endpoint costs.
        max_replicas: Most machines.
        on_demand: One replica on demand.
        spot_price: One replica on spot capacity, with the management fee.
        fee: The part of the plan's own price that is the management fee, a replica; None where none is charged apart.
        date: Date of the oldest source of the plan's own price; empty where it is not known.
        source: Where the plan's own price comes from.
        derivation: How it was made from the source.
    """

    hardware: str
    spot: bool
    min_replicas: int
    max_replicas: int
    on_demand: float | None
    spot_price: float | None
    fee: float | None = None
    date: str = ""
    source: str = ""
    derivation: str = ""

    @property
    def capacity(self) -> str:
        """``on-demand`` or ``spot``."""
        return "spot" if self.spot else "on-demand"

    @property
    def replica(self) -> float | None:
        """One replica, on the plan's own capacity."""
        return self.spot_price if self.spot else self.on_demand

    @property
    def idle(self) -> float | None:
        """The replicas that run when nobody asks; version v1 of the API cannot scale to zero."""
        return _times(self.replica, self.min_replicas)

    @property
    def at_most(self) -> float | None:
        """As many replicas as there can be; what a budget is held against."""
        return _times(self.replica, self.max_replicas)

    def as_dict(self) -> dict[str, Any]:
        """The costs as a stack exports them: plain numbers and ``unknown``, which a preview shows line by line."""
        price = {"date": self.date or UNKNOWN, "source": self.source, "derivation": self.derivation}
        replica = {
            **_amounts(self.replica),
            "on_demand_usd_per_hour": _rounded(self.on_demand, 6),
            "spot_usd_per_hour": _rounded(self.spot_price, 6),
        }
        if self.fee is not None:
            replica["management_fee_usd_per_hour"] = _rounded(self.fee, 6)
        return {
            "hardware": self.hardware,
            "capacity": self.capacity,
            "replica": replica,
            "idle": {"replicas": self.min_replicas, **_amounts(self.idle)},
            "at_most": {"replicas": self.max_replicas, **_amounts(self.at_most)},
            "hours_per_month": HOURS_PER_MONTH,
            "price": UNKNOWN if self.replica is None else price,
        }

    @staticmethod
    def from_dict(found: Any) -> Costs | None:
        """The costs of a stack's output ``cost``; None where it is missing or of another shape."""
        try:
            price = found["price"] if isinstance(found["price"], Mapping) else {}
            replica = found["replica"]
            fee = replica.get("management_fee_usd_per_hour")
            date = str(price.get("date", ""))
            return Costs(
                hardware=str(found["hardware"]),
                spot=found["capacity"] == "spot",
                min_replicas=int(found["idle"]["replicas"]),
                max_replicas=int(found["at_most"]["replicas"]),
                on_demand=_known(replica["on_demand_usd_per_hour"]),
                spot_price=_known(replica["spot_usd_per_hour"]),
                fee=None if fee is None else _known(fee),
                date="" if date == UNKNOWN else date,
                source=str(price.get("source", "")),
                derivation=str(price.get("derivation", "")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    @staticmethod
    def difference(before: Costs | None, after: Costs | None) -> CostDifference:
        """What changes from one plan to the next; None stands for no plan, which costs nothing."""
        return CostDifference(before, after)


@dataclass(frozen=True, slots=True)
class Change:
    """US dollars an hour before and after; None where a price is not known."""

    before: float | None
    after: float | None

    @property
    def delta(self) -> float | None:
        """By how much it changes; None where one of the two is not known."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    @property
    def text(self) -> str:
        """The change of a month's price, in words."""
        if self.before is None or self.after is None:
            return f"{_month(self.before)} before, {_month(self.after)} after"
        delta = self.after - self.before
        if abs(delta) < 0.000001:  # less than what an output shows
            return f"unchanged, {_month(self.after)}"
        share = f", {delta / self.before:+.0%}" if self.before else ""
        old, new = self.before * HOURS_PER_MONTH, self.after * HOURS_PER_MONTH
        return f"{new - old:+,.2f} USD a month ({delta:+,.2f} an hour{share}), from {old:,.2f} to {new:,.2f}"

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and ``unknown``."""
        return {
            "before": _amounts(self.before),
            "after": _amounts(self.after),
            "change": _amounts(self.delta),
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class CostDifference:
    """The costs of two plans beside each other. A plan that is None does not exist and costs nothing."""

    before: Costs | None
    after: Costs | None

    @property
    def idle(self) -> Change:
        """Of the replicas that always run."""
        return Change(*(0.0 if costs is None else costs.idle for costs in (self.before, self.after)))

    @property
    def at_most(self) -> Change:
        """Of as many replicas as there can be."""
        return Change(*(0.0 if costs is None else costs.at_most for costs in (self.before, self.after)))

    @property
    def changed(self) -> bool:
        """Whether the price or what it is paid for changes."""
        return self.before is None or self.after is None or _paid_for(self.before) != _paid_for(self.after)

    @property
    def texts(self) -> tuple[str, ...]:
        """Sentences: what is paid for, when nobody asks, and at most."""
        lines = []
        if self.before is not None and self.after is not None:
            pairs = (
                (self.before.hardware, self.after.hardware),
                (self.before.capacity, self.after.capacity),
                (_replicas(self.before), _replicas(self.after)),
            )
            lines += [f"{old} becomes {new}" for old, new in pairs if old != new]
        elif self.after is not None:
            lines.append(f"new: {self.after.hardware}, {self.after.capacity}, {_replicas(self.after)}")
        elif self.before is not None:
            lines.append(f"gone: {self.before.hardware}, {self.before.capacity}, {_replicas(self.before)}")
        return (*lines, f"when nobody asks: {self.idle.text}", f"at most: {self.at_most.text}")

    def as_dict(self) -> dict[str, Any]:
        """The difference for JSON."""
        return {
            "changed": self.changed,
            "before": None if self.before is None else self.before.as_dict(),
            "after": None if self.after is None else self.after.as_dict(),
            "idle": self.idle.as_dict(),
            "at_most": self.at_most.as_dict(),
            "texts": list(self.texts),
            "hours_per_month": HOURS_PER_MONTH,
        }


def costs_of(plan: ServingPlan) -> Costs:
    """What a plan costs, on its own capacity and on the other kind."""
    hardware = plan.hardware
    return _costs(
        hardware.machine_type,
        hardware.accelerator_type,
        hardware.accelerator_count,
        plan.region,
        spot=hardware.spot,
        min_replicas=plan.replicas.min_replica_count,
        max_replicas=plan.replicas.max_replica_count,
        own=plan.price,
    )


def costs_of_machines(
    *,
    machine_type: str,
    accelerator_type: str,
    accelerator_count: int,
    region: str,
    spot: bool,
    min_replicas: int,
    max_replicas: int,
) -> Costs:
    """What machines cost that no plan is at hand for, such as those of a deployment in a preview."""
    own = catalog().price(
        machine_type, region, spot, accelerator_type=accelerator_type, accelerator_count=accelerator_count
    )
    return _costs(
        machine_type,
        accelerator_type,
        accelerator_count,
        region,
        spot=spot,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        own=own,
    )


def cost_outputs(plan: ServingPlan, *, stopped: bool = False) -> dict[str, Any]:
    """The outputs of a stack that say what it costs, by name: the hour at most, and all of it.

    Args:
        plan: What is served on what.
        stopped: Whether it is not deployed now: then no replica is paid for.
    """
    costs = costs_of(plan)
    if stopped:
        costs = replace(costs, min_replicas=0, max_replicas=0)
    return {"hourly_cost_usd": _rounded(costs.at_most, 4), "cost": costs.as_dict()}


def _costs(
    machine_type: str,
    accelerator_type: str,
    accelerator_count: int,
    region: str,
    *,
    spot: bool,
    min_replicas: int,
    max_replicas: int,
    own: Price | None,
) -> Costs:
    other = catalog().price(
        machine_type, region, not spot, accelerator_type=accelerator_type, accelerator_count=accelerator_count
    )
    own_hour, other_hour = (None if found is None else found.usd_per_hour for found in (own, other))
    on_demand, on_spot = (other_hour, own_hour) if spot else (own_hour, other_hour)
    return Costs(
        hardware=f"{machine_type} with {accelerator_count} x {accelerator_type} in {region}",
        spot=spot,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        on_demand=on_demand,
        spot_price=on_spot,
        fee=own.fee if own else None,
        date=own.date if own else "",
        source=own.source if own else "",
        derivation=own.derivation if own else "",
    )


def _times(replica: float | None, count: int) -> float | None:
    """None of a price that is not known, but that no replica costs nothing is known."""
    return 0.0 if not count else None if replica is None else replica * count


def _amounts(usd_per_hour: float | None) -> dict[str, Any]:
    return {
        "usd_per_hour": _rounded(usd_per_hour, 6),
        "usd_per_month": _rounded(monthly(usd_per_hour), 2),
    }


def _rounded(amount: float | None, digits: int) -> float | str:
    return UNKNOWN if amount is None else round(amount, digits)


def _known(amount: Any) -> float | None:
    return None if amount == UNKNOWN else float(amount)


def _month(usd_per_hour: float | None) -> str:
    month = monthly(usd_per_hour)
    return UNKNOWN if month is None else f"{month:,.2f} USD a month"


def _replicas(costs: Costs) -> str:
    low, high = costs.min_replicas, costs.max_replicas
    return f"{low} replica{'' if low == 1 else 's'}" if low == high else f"{low} to {high} replicas"


def _paid_for(costs: Costs) -> tuple[Any, ...]:
    """What decides the price, rounded as outputs are; other dates and sources of the same price change nothing."""
    price = _rounded(costs.replica, 6)
    return costs.hardware, costs.spot, costs.min_replicas, costs.max_replicas, price
