"""The prediction of memory beside the figures that a log shows, GiB a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.diagnose.readings import Readings
from infra.fit import Fit

__all__ = ["Row", "compared"]

_ROUNDED: Final = 0.005  # GiB: most versions print two digits
_TERMS: Final = (
    ("weights", "weights", "weights"),
    ("activation", "activations of the start-up run", "activation"),
    ("non_torch", "memory outside torch", "non_torch"),
    ("graphs", "CUDA graphs", "graphs"),
)


@dataclass(frozen=True)
class Row:
    """One part of a GPU's memory.

    Attributes:
        name: Name for machines.
        label: Name for people.
        unit: ``GiB`` or ``tokens``.
        predicted: The prediction's point.
        low: Lower end of its 90 % interval; None where it has none.
        high: Upper end.
        measured: What the log says; None where it says nothing of it.
    """

    name: str
    label: str
    unit: str
    predicted: float
    low: float | None
    high: float | None
    measured: float | None

    @property
    def outside(self) -> bool:
        """Whether the log's figure lies outside the prediction's interval."""
        if self.measured is None or self.low is None or self.high is None:
            return False
        return not self.low - _ROUNDED <= self.measured <= self.high + _ROUNDED


def compared(fit: Fit, log: Readings) -> tuple[Row, ...]:
    """The parts that the prediction has, with what the log says of each; empty where the log has no figure at all."""
    rows = [Row("total", "usable memory of a GPU", "GiB", fit.total, None, None, log.total)]
    for term, label, field in _TERMS:
        found = fit.term(term)
        measured = getattr(log, field)
        if found.gib or measured is not None:
            rows.append(Row(term, label, "GiB", found.gib, found.low, found.high, measured))
    rows.append(Row("kv_cache", "KV cache", "GiB", fit.kv_cache, fit.kv_low, fit.kv_high, log.kv))
    tokens = log.kv_tokens if log.kv_tokens is not None else log.blocks and log.blocks * fit.block_size
    if tokens is None and log.outcome == "kv_too_small" and log.estimated_max_len:
        tokens = log.estimated_max_len
    rows.append(Row("kv_tokens", "tokens in the KV cache", "tokens", fit.kv_tokens, None, None, tokens))
    return tuple(rows) if any(row.measured is not None for row in rows) else ()
