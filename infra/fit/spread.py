"""How far a prediction may be off: a 90 % interval from what is measured and what is only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.cards import ModelCard
from infra.fit.accounting import Accounting
from infra.fit.activation import Peak
from infra.fit.types import GIB, Gpu, Options
from infra.fit.weights import Loaded


@dataclass(frozen=True)
class Spread:
    """Half-widths in GiB: how much less (``down``) or more (``up``) may be left for the cache; by term; and why."""

    down: float
    up: float
    terms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def spread(
    card: ModelCard, gpu: Gpu, options: Options, rules: Accounting, weights: Loaded, top: Peak
) -> Spread:
    """Return the interval's half-widths for one start-up."""
    return Spread(0.3, 0.3, {"weights": (weights.total / GIB * 0.002,) * 2})
