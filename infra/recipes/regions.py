"""Which other regions have the hardware of a stack: how far away they are, and what they cost."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.recipes.catalog import catalog
from infra.recipes.stackfile import Hardware

__all__ = ["Elsewhere", "distance_km", "elsewhere"]

_PLACES: Final = Path(__file__).resolve().parent.parent / "catalog" / "region_places.csv"
_EARTH_KM: Final = 6371.0  # mean radius; IUGG 1980, rounded


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another region that serves the same accelerator.

    ``km`` is the great-circle distance, ``usd_per_hour`` the price of a replica there; None where not known.
    """

    region: str
    km: float | None
    usd_per_hour: float | None

    @property
    def words(self) -> str:
        """As in ``us-east4 (1578 km, 1.15 USD)``."""
        km = "distance unknown" if self.km is None else f"{self.km:.0f} km"
        usd = "price unknown" if self.usd_per_hour is None else f"{self.usd_per_hour:.2f} USD"
        return f"{self.region} ({km}, {usd})"


def elsewhere(hardware: Hardware, region: str) -> tuple[Elsewhere, ...]:
    """The other regions that serve a stack's accelerator, nearest first, unknown distances last."""
    books = catalog()
    found = []
    for other in books.regions_with(hardware.accelerator_type):
        if other == region:
            continue
        price = books.price(
            hardware.machine_type,
            other,
            hardware.spot,
            accelerator_type=hardware.accelerator_type,
            accelerator_count=hardware.accelerator_count,
        )
        usd = None if price is None else price.usd_per_hour
        found.append(Elsewhere(other, distance_km(region, other), usd))
    return tuple(sorted(found, key=lambda each: (math.inf if each.km is None else each.km, each.region)))


def distance_km(region: str, other: str) -> float | None:
    """Great-circle distance between two regions, km; None where it is not known where one of them is."""
    ends = _places().get(region), _places().get(other)
    if ends[0] is None or ends[1] is None:
        return None
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, end)) for end in (ends[0], ends[1]))
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(half))


@functools.lru_cache(maxsize=1)
def _places() -> Mapping[str, tuple[float, float]]:
    """Latitude and longitude of every region, degrees."""
    with _PLACES.open(encoding="utf-8", newline="") as file:
        return {
            row["region"]: (float(row["latitude"]), float(row["longitude"])) for row in csv.DictReader(file)
        }
