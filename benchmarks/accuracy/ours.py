"""This project's prediction on the rows: with its own constants, and with constants fitted without one family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.accuracy.measures import Prediction
from benchmarks.accuracy.rows import Arch, Row, Table

Fact = tuple[Mapping[str, str], Mapping[str, str]]
"""A row of the measured start-ups and the row of its model's shape, as read from the files."""


class RowPrediction(Protocol):
    """What :func:`infra.observed.rows.predict_row` answers."""

    @property
    def weights_gib_per_gpu(self) -> float | None: ...
    @property
    def kv_gib(self) -> float | None: ...
    @property
    def kv_gib_low(self) -> float | None: ...
    @property
    def kv_gib_high(self) -> float | None: ...
    @property
    def kv_tokens(self) -> int | None: ...
    @property
    def outcome(self) -> str | None: ...


@dataclass(frozen=True)
class Predictor:
    """How rows are predicted, and how the constants of that follow from rows.

    ``predict`` takes a row, its model's shape and constants (None: those of the catalogue).
    """

    predict: Callable[[Mapping[str, str], Mapping[str, str], Any], RowPrediction]
    fit: Callable[[Sequence[Fact]], Any]


def predictor() -> Predictor:
    """The project's own."""
    from infra.observed.calibrate import fitted
    from infra.observed.rows import predict_row

    return Predictor(predict_row, fitted)


def in_sample(
    table: Table, by: Predictor, shape: Callable[[Row], Arch] = lambda row: row.arch
) -> dict[str, Prediction]:
    """Predict every row with the catalogue's constants, which were fitted to these rows."""
    return {row.id: _said(by.predict(row.raw, shape(row).raw, None)) for row in table.rows}


def cross_validated(
    table: Table, by: Predictor, shape: Callable[[Row], Arch] = lambda row: row.arch
) -> dict[str, Prediction]:
    """Predict the rows of each family with constants fitted to the undoubted rows of all other families."""
    said: dict[str, Prediction] = {}
    for family in table.families:
        others = [(row.raw, shape(row).raw) for row in table.rows if row.family != family and not row.doubts]
        constants = by.fit(others)
        for row in table.rows:
            if row.family == family:
                said[row.id] = _said(by.predict(row.raw, shape(row).raw, constants))
    return said


def _said(answer: RowPrediction) -> Prediction:
    return Prediction(
        answer.weights_gib_per_gpu,
        answer.kv_gib,
        answer.kv_gib_low,
        answer.kv_gib_high,
        answer.kv_tokens,
        answer.outcome,
    )
