"""How far a prediction may be off: a 90 % interval from what is measured and what is only read.

The parts are the ``spread_...`` terms of ``infra/catalog/vllm_memory.csv``: how much less or more may be left for the
cache, in GiB or as a share of something. Independent parts add as squares; one factor, fitted to published rows, makes
the whole a 90 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.fit.accounting import Accounting

# Which term each part belongs to; the rest are of no single term.
_TERM: Final = {
    "spread_weights": "weights",
    "spread_sampler": "activation",
    "spread_images": "activation",
    "spread_experts": "activation",
    "spread_hybrid": "activation",
    "spread_parallel": "non_torch",
    "spread_outside": "non_torch",
    "spread_era": "non_torch",
    "spread_base": "non_torch",
    "spread_graphs": "graphs",
}
# Counts only where the memory outside torch is a guess.
_GUESSED: Final = "spread_outside"
_PARTS: Final = (*_TERM, "spread_total")


@dataclass(frozen=True)
class Spread:
    """Half-widths in GiB: how much less (``down``) or more (``up``) may be left for the cache; and why.

    ``terms`` has, for each term, how much smaller and how much larger it may be.
    """

    down: float
    up: float
    terms: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()


def spread(rules: Accounting, references: Mapping[str, float]) -> Spread:
    """Return the interval's half-widths for one start-up.

    Args:
        rules: what the vLLM version does at this start-up.
        references: GiB of what shares are of: ``weights``, ``u``, ``experts``, ``graphs``, ``total``.
    """
    down = up = 0.0
    terms: dict[str, tuple[float, float]] = {}
    notes: list[str] = []
    scale = rules.number("spread_scale")
    for part in _PARTS:
        row = rules.row(part)
        if part == _GUESSED and rules.row("non_torch").basis != "guess":
            continue
        less, more = (float(text) * scale for text in row.value.split())
        reference = 1.0 if row.unit == "GiB" else references[row.unit.removeprefix("of ")]
        less, more = less * reference, more * reference
        if not (less or more):
            continue
        down, up = math.hypot(down, less), math.hypot(up, more)
        if part in _TERM:
            # Less cache is more of the term.
            old = terms.get(_TERM[part], (0.0, 0.0))
            terms[_TERM[part]] = (math.hypot(old[0], more), math.hypot(old[1], less))
        if row.basis != "measured":
            notes.append(row.source)
    return Spread(down, up, terms, tuple(dict.fromkeys(notes)))
