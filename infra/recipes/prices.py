"""Turns published prices into what a replica costs on Vertex AI.

Vertex AI publishes few prices for prediction. Where it does, they are 1.15 times the Compute Engine price of GPU, vCPU
and memory (4 of 4 published comparisons: g2-standard-12, a2-highgpu-1g, a2-ultragpu-1g, a3-highgpu-1g in us-central1;
inferred, no rule is published). Spot is billed as the Compute Engine spot price plus a management fee, which a billing
report of 2025-08 shows as 15.0 % of the on-demand price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["VERTEX_FACTOR", "Price", "price_of"]

VERTEX_FACTOR: Final = 1.15
_FEE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars an hour for one replica, before tax and discounts.

    ``date`` is that of the source (empty: unknown); ``derivation`` says how the number was made from it.
    """

    usd_per_hour: float
    date: str
    source: str
    derivation: str


def price_of(
    rows: Sequence[dict[str, str]], machine_type: str, region: str, *, spot: bool, gpu: tuple[str, int] | None
) -> Price | None:
    """Find or derive the price of one machine with its GPUs.

    Args:
        rows: the rows of ``prices.csv``.
        machine_type: the machine.
        region: the region.
        spot: whether the capacity is spot.
        gpu: kind and count when the machine's price does not hold them (N1).

    Returns:
        The price, or None when a part of it is not known. Never 0.
    """
    here = [row for row in rows if row["region"] == region]
    if not spot and gpu is None:
        for row in here:
            if row["item"] == machine_type and row["product"] == "vertex_prediction":
                return Price(
                    float(row["usd_per_hour"]), row["date"], row["source"], "published for prediction"
                )
    parts: list[tuple[str, int]] = [(machine_type, 1)]
    if gpu is not None:
        parts.append(gpu)
    demand = fee_base = 0.0
    used: list[dict[str, str]] = []
    for item, count in parts:
        priced = next((r for r in here if r["item"] == item and r["product"] == "gce"), None)
        if priced is None or not priced["usd_per_hour"] or (spot and not priced["spot_usd_per_hour"]):
            return None
        demand += count * float(priced["spot_usd_per_hour"] if spot else priced["usd_per_hour"])
        fee_base += count * float(priced["usd_per_hour"])
        used.append(priced)
    if spot:
        amount = demand + _FEE * fee_base
        how = (
            f"Compute Engine spot {demand:.4f} + 15 % of on-demand {fee_base:.4f} (management fee; inferred)"
        )
    else:
        amount = VERTEX_FACTOR * demand
        how = f"1.15 x Compute Engine {demand:.4f} (inferred from four published prices)"
    disk = sum(float(row["local_ssd_gib"] or 0) for row in used)
    if disk:
        how += f"; up to 1 % high, since it holds {disk:.0f} GiB of local SSD that prediction does not charge"
    dates = [row["date"] for row in used]
    sources = tuple(dict.fromkeys(row["source"] for row in used))
    return Price(round(amount, 6), min(dates) if all(dates) else "", "; ".join(sources), how)
