"""Two runs side by side: how far each figure moved, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.bench.results import Level, Run, percentile

__all__ = ["Change", "LevelChange", "compare", "differences", "p_value"]

_FEW: Final = 8
"""Answers below which the normal approximation of the rank test is not used."""
_CHANCE: Final = 0.01
"""Below the usual 0.05: requests of one level share their batches, so they are not independent."""


@dataclass(frozen=True, slots=True)
class Change:
    """How one figure moved.

    Attributes:
        name: ``output_throughput``, ``ttft``, ``tpot`` or ``latency``.
        before: Tokens a second, or the median in seconds.
        after: As before.
        verdict: ``better``, ``worse``, ``noise`` (no more than chance), or ``unknown`` (too few answers, or for
            throughput, which a level has only one of, always).
    """

    name: str
    before: float | None
    after: float | None
    verdict: str

    @property
    def percent(self) -> float | None:
        """The move in percent of ``before``; None where one of the two is not known."""
        if not self.before or self.after is None:
            return None
        return 100 * (self.after - self.before) / self.before

    def as_dict(self) -> dict[str, Any]:
        """For a script."""
        percent = self.percent
        return {
            "before": self.before,
            "after": self.after,
            "percent": None if percent is None else round(percent, 2),
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class LevelChange:
    """The moves of one level."""

    level: Level
    changes: tuple[Change, ...]


def compare(before: Run, after: Run) -> tuple[LevelChange, ...]:
    """The moves of each level that both runs have."""
    old = {(level.kind, level.value): level for level in before.levels}
    return tuple(
        LevelChange(level, _changes(old[level.kind, level.value], level))
        for level in after.levels
        if (level.kind, level.value) in old
    )


def differences(before: Run, after: Run) -> tuple[str, ...]:
    """What else differs between two runs: then the figures need not be the server's doing."""
    found = []
    if before.endpoint != after.endpoint:
        found.append(f"endpoint: {before.endpoint} before, {after.endpoint} now")
    if before.hardware != after.hardware:
        found.append(f"hardware: {before.hardware or 'unknown'} before, {after.hardware or 'unknown'} now")
    was, now = before.workload.model_dump(), after.workload.model_dump()
    found += [f"{name}: {was[name]} before, {now[name]} now" for name in was if was[name] != now[name]]
    return tuple(found)


def p_value(before: Sequence[float], after: Sequence[float]) -> float | None:
    """How likely so different ranks are by chance: two-sided Mann-Whitney U test, normal approximation with ties.

    Returns:
        The probability; None of fewer than 8 values on a side, for which the approximation is rough.
    """
    n, m = len(before), len(after)
    if min(n, m) < _FEW:
        return None
    joined = sorted((*((value, 0) for value in before), *((value, 1) for value in after)))
    ranks_before, ties, start = 0.0, 0.0, 0
    while start < len(joined):
        end = start
        while end < len(joined) and joined[end][0] == joined[start][0]:
            end += 1
        rank = (start + end + 1) / 2  # ranks count from 1; equal values share the middle one
        ranks_before += rank * sum(1 for _, side in joined[start:end] if side == 0)
        ties += (end - start) ** 3 - (end - start)
        start = end
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    distance = abs(ranks_before - n * (n + 1) / 2 - n * m / 2)
    return math.erfc(max(0.0, distance - 0.5) / math.sqrt(2 * variance))


def _changes(before: Level, after: Level) -> tuple[Change, ...]:
    times = (
        _times(name, getattr(before, name), getattr(after, name)) for name in ("ttft", "tpot", "latency")
    )
    throughput = Change("output_throughput", before.output_per_second, after.output_per_second, "unknown")
    return (throughput, *times)


def _times(name: str, before: Sequence[float], after: Sequence[float]) -> Change:
    old, new = percentile(before, 50), percentile(after, 50)
    chance = p_value(before, after)
    if chance is None or old is None or new is None:
        verdict = "unknown"
    elif chance >= _CHANCE or old == new:
        verdict = "noise"
    else:
        verdict = "better" if new < old else "worse"
    return Change(name, old, new, verdict)
