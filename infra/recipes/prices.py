"""Turns published prices into what a replica costs on Vertex AI.

Vertex AI publishes few prices for prediction. Where it does, they are 1.15 times the Compute Engine price of GPU, vCPU
and memory (4 of 4 published comparisons: g2-standard-12, a2-highgpu-1g, a2-ultragpu-1g, a3-highgpu-1g in us-central1;
inferred, no rule is published). Spot is billed as the Compute Engine spot price plus a management fee. A billing report
of 2025-08 has the fee of a3-highgpu machines in us-central1 by GPU, vCPU and GiB, 15.0 % of the on-demand price;
elsewhere that share is inferred. Its sum for flex-start holds the machine's local SSD, so Compute Engine's part is
taken with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["VERTEX_FACTOR", "Price", "Shape", "price_of"]

VERTEX_FACTOR: Final = 1.15
_FEE: Final = 0.15

_Rows = Sequence[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars an hour for one replica, before tax and discounts.

    ``date`` is that of the oldest source (empty: unknown); ``derivation`` says how the number was made from it. ``fee``
    is the part of it that is Vertex AI's management fee, None where none is charged apart (on demand).
    """

    usd_per_hour: float
    date: str
    source: str
    derivation: str
    fee: float | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a machine consists of, for prices by its parts; ``memory_gib`` is host memory."""

    accelerator_type: str
    accelerator_count: int
    vcpus: int
    memory_gib: float


def price_of(
    rows: _Rows,
    machine_type: str,
    region: str,
    *,
    spot: bool,
    gpu: tuple[str, int] | None,
    shape: Shape | None = None,
) -> Price | None:
    """Find or derive the price of one machine with its GPUs.

    Args:
        rows: the rows of ``prices.csv``.
        machine_type: the machine.
        region: the region.
        spot: whether the capacity is spot.
        gpu: kind and count when the machine's price does not hold them (N1).
        shape: what the machine consists of; None: prices by its parts are not looked for.

    Returns:
        The price, or None when a part of it is not known. Never 0.
    """
    here = [row for row in rows if row["region"] == region]
    if not spot and (published := _published(here, machine_type, gpu, shape)) is not None:
        return published
    parts: list[tuple[str, int]] = [(machine_type, 1)]
    if gpu is not None:
        parts.append(gpu)
    demand = capacity = 0.0
    used: list[dict[str, str]] = []
    for item, count in parts:
        priced = next((r for r in here if r["item"] == item and r["product"] == "gce"), None)
        if priced is None or not priced["usd_per_hour"] or (spot and not priced["spot_usd_per_hour"]):
            return None
        capacity += count * float(priced["spot_usd_per_hour"] if spot else priced["usd_per_hour"])
        demand += count * float(priced["usd_per_hour"])
        used.append(priced)
    disk = sum(float(row["local_ssd_gib"] or 0) for row in used)
    fee: float | None = None
    if spot:
        known = _by_parts(here, "vertex_management_fee", machine_type, shape)
        if known is not None:
            fee, of_fee = known
            used += of_fee
            how = f"Compute Engine spot {capacity:.4f} + management fee {fee:.4f} (published by GPU, vCPU and GiB)"
        else:
            fee = round(_FEE * demand, 6)
            how = (
                f"Compute Engine spot {capacity:.4f} + management fee {fee:.4f} (15 % of on-demand {demand:.4f};"
                " inferred)"
            )
            if disk:
                how += f"; the fee is up to 1 % high, since it holds {disk:.0f} GiB of local SSD"
        amount = capacity + fee
    else:
        amount = VERTEX_FACTOR * capacity
        how = f"1.15 x Compute Engine {capacity:.4f} (inferred from four published prices)"
        if disk:
            how += f"; up to 1 % high, since it holds {disk:.0f} GiB of local SSD that prediction does not charge"
    return Price(round(amount, 6), *_origin(used), how, fee)


def _published(
    here: _Rows, machine_type: str, gpu: tuple[str, int] | None, shape: Shape | None
) -> Price | None:
    """The on-demand price that Vertex AI publishes, of the machine or of each of its parts."""
    if gpu is None:
        for row in here:
            if row["item"] == machine_type and row["product"] == "vertex_prediction":
                amount = float(row["usd_per_hour"])
                return Price(amount, row["date"], row["source"], "published for prediction")
    found = _by_parts(here, "vertex_prediction", machine_type, shape)
    if found is None:
        return None
    return Price(found[0], *_origin(found[1]), "published for prediction, by GPU, vCPU and GiB")


def _by_parts(
    here: _Rows, product: str, machine_type: str, shape: Shape | None
) -> tuple[float, list[dict[str, str]]] | None:
    """What a machine's parts cost together, with the rows that say so; None where one of them is not known."""
    if shape is None:
        return None
    family = machine_type.rpartition("-")[0]
    amounts = (
        (shape.accelerator_type, "gpu", shape.accelerator_count),
        (family, "vcpu", shape.vcpus),
        (family, "memory", shape.memory_gib),
    )
    total, used = 0.0, []
    for item, part, amount in amounts:
        wanted = (item, part, product)
        row = next((row for row in here if (row["item"], row["part"], row["product"]) == wanted), None)
        if row is None:
            return None
        total += amount * float(row["usd_per_hour"])
        used.append(row)
    return round(total, 6), used


def _origin(used: _Rows) -> tuple[str, str]:
    """The oldest date of some rows (empty where one has none), and their sources."""
    dates = [row["date"] for row in used]
    return min(dates) if all(dates) else "", "; ".join(dict.fromkeys(row["source"] for row in used))
