"""Errors of predictions against measured start-ups. Memory in GiB a GPU; a share is between 0 and 1."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.accuracy.rows import GIB, Row


@dataclass(frozen=True)
class Prediction:
    """What one method says of one start-up; None for what it cannot say. ``outcome`` in the words of the rows."""

    weights: float | None = None
    kv: float | None = None
    kv_low: float | None = None
    kv_high: float | None = None
    kv_tokens: int | None = None
    outcome: str | None = None


Predictions = Mapping[str, Prediction]
"""Predictions of one method by the id of the row."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of ``values`` lies, interpolated linearly between neighbours.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True)
class Errors:
    """Errors, predicted less measured: positive where too much cache is promised."""

    values: tuple[float, ...]

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def median(self) -> float | None:
        """Median of the absolute errors."""
        return statistics.median(map(abs, self.values)) if self.values else None

    @property
    def p90(self) -> float | None:
        """90th percentile of the absolute errors."""
        return percentile([abs(value) for value in self.values], 0.9) if self.values else None

    @property
    def mean(self) -> float | None:
        """Mean of the absolute errors."""
        return statistics.fmean(map(abs, self.values)) if self.values else None

    @property
    def bias(self) -> float | None:
        """Mean of the errors."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def most(self) -> float | None:
        """The error that promises most."""
        return max(self.values, default=None)


@dataclass(frozen=True)
class Verdicts:
    """How often the verdict was right. ``false_ok``: rows said to start that did not; ``alarms``: the reverse."""

    right: int
    false_ok: tuple[str, ...]
    alarms: tuple[str, ...]
    starts: int
    failures: int

    @property
    def alarm_share(self) -> float | None:
        """False alarms over the servers that did start."""
        return len(self.alarms) / self.starts if self.starts else None


@dataclass(frozen=True)
class Interval:
    """How many rows lie in the 90 % interval, and how wide it is in the median (GiB)."""

    rows: int
    inside: int
    width: float | None

    @property
    def coverage(self) -> float | None:
        return self.inside / self.rows if self.rows else None


def kv_rows(rows: Iterable[Row], *, doubtful: bool = False) -> tuple[Row, ...]:
    """The rows with a measured cache; those of :func:`Row.doubtful` only where asked for."""
    return tuple(row for row in rows if row.kv is not None and (doubtful or not row.doubtful("kv")))


def kv_errors(rows: Iterable[Row], predictions: Predictions) -> Errors:
    """Errors of the cache a GPU over the rows that have both figures."""
    return Errors(tuple(error for _, error in kv_pairs(rows, predictions)))


def kv_pairs(rows: Iterable[Row], predictions: Predictions) -> list[tuple[Row, float]]:
    """Each row that has a measured and a predicted cache, with its error."""
    pairs = []
    for row in rows:
        said = predictions.get(row.id)
        if said is not None and said.kv is not None and row.kv is not None:
            pairs.append((row, said.kv - row.kv))
    return pairs


def weight_errors(rows: Iterable[Row], predictions: Predictions) -> Errors:
    """Errors of the weights a GPU, in percent of the measured ones."""
    errors = []
    for row in rows:
        said = predictions.get(row.id)
        if said is None or said.weights is None or row.weights is None or row.doubtful("weights"):
            continue
        errors.append(100 * (said.weights / row.weights - 1))
    return Errors(tuple(errors))


def token_errors(rows: Iterable[Row], predictions: Predictions) -> Errors:
    """Errors of the cache bytes a token, in percent, over the rows that fix them to half a percent."""
    errors = []
    for row in rows:
        said, measured = predictions.get(row.id), row.kv_bytes_per_token
        # A small predicted cache is cut to whole blocks, which would show here as an error of the rate.
        if measured is None or said is None or not said.kv_tokens or said.kv is None or said.kv < 1:
            continue
        errors.append(100 * (said.kv * GIB / said.kv_tokens / measured - 1))
    return Errors(tuple(errors))


def count_errors(rows: Iterable[Row], predictions: Predictions) -> Errors:
    """Errors of the tokens that fit the cache, in percent; also of rows that print no size in GiB."""
    errors = []
    for row in rows:
        said, measured = predictions.get(row.id), row.cache_tokens
        if measured is None or said is None or said.kv_tokens is None:
            continue
        errors.append(100 * (said.kv_tokens / measured - 1))
    return Errors(tuple(errors))


def verdicts(rows: Iterable[Row], predictions: Predictions) -> Verdicts:
    """Count the verdicts over the rows whose outcome is the GPU's doing and is predicted."""
    right, starts, failures = 0, 0, 0
    false_ok: list[str] = []
    alarms: list[str] = []
    for row in rows:
        said = predictions.get(row.id)
        if said is None or said.outcome is None or not row.outcome or row.doubtful("verdict"):
            continue
        started = row.outcome == "ok"
        starts, failures = starts + started, failures + (not started)
        if (said.outcome == "ok") == started:
            right += 1
        elif started:
            alarms.append(row.id)
        else:
            false_ok.append(row.id)
    return Verdicts(right, tuple(false_ok), tuple(alarms), starts, failures)


def interval(rows: Iterable[Row], predictions: Predictions) -> Interval:
    """Coverage and median width of the 90 % interval."""
    inside, widths = 0, []
    for row in rows:
        said = predictions.get(row.id)
        if said is None or said.kv_low is None or said.kv_high is None or row.kv is None:
            continue
        widths.append(said.kv_high - said.kv_low)
        inside += said.kv_low <= row.kv <= said.kv_high
    return Interval(len(widths), inside, statistics.median(widths) if widths else None)


@dataclass(frozen=True)
class Target:
    """One promise: ``value`` is to be at most (``at_least``: at least) ``limit``; None where nothing was measured."""

    name: str
    unit: str
    limit: float
    value: float | None
    rows: int
    at_least: bool = False

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit


_HEADLINE: Final = "cache, dense 16-bit rows of a known version"


def targets(rows: Sequence[Row], predictions: Predictions) -> tuple[Target, ...]:
    """What the prediction promises, with what it achieves on these rows."""
    known = kv_errors(kv_rows(row for row in rows if row.headline), predictions)
    every = kv_rows(rows)
    errors = kv_errors(every, predictions)
    sixteen = weight_errors([row for row in rows if row.sixteen_bit], predictions)
    weights = weight_errors(rows, predictions)
    tokens = token_errors(rows, predictions)
    held = interval(every, predictions)
    verdict = verdicts(rows, predictions)
    share = verdict.alarm_share
    judged = verdict.starts + verdict.failures
    return (
        Target("weights, 16-bit: median error", "%", 0.2, sixteen.median, sixteen.rows),
        Target("weights, all: median error", "%", 1.0, weights.median, weights.rows),
        Target("cache bytes a token, MHA, GQA, MLA: median error", "%", 1.0, tokens.median, tokens.rows),
        Target(f"{_HEADLINE}: median error", "GiB", 0.05, known.median, known.rows),
        Target(f"{_HEADLINE}: 90th percentile", "GiB", 0.4, known.p90, known.rows),
        Target("cache, all rows: median error", "GiB", 0.25, errors.median, errors.rows),
        Target("cache, all rows: 90th percentile", "GiB", 1.0, errors.p90, errors.rows),
        Target("rows in the 90 % interval", "%", 90, _percent(held.coverage), held.rows, at_least=True),
        Target("false ok", "", 0, len(verdict.false_ok) if judged else None, verdict.failures),
        Target("false alarms", "%", 5, _percent(share), verdict.starts),
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def grouped(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """The rows by a key of theirs, in the order in which the keys appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
