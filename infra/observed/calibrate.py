"""Constants fitted to observed start-ups: what the physics leaves open.

Two things are fitted, by design no more: the memory outside torch (a median for every row of that term in the table),
and one factor that makes the interval hold 90 % of the rows. Everything else is arithmetic read from vLLM's code.
``benchmarks/fit.py`` fits without one family of models and predicts that family.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from infra.fit import predict
from infra.fit.accounting import Constants, Row, constants
from infra.fit.facts import accounting
from infra.observed.rows import predict_row, read_row

_FITTED: Final = "non_torch"
_SCALE: Final = "spread_scale"
_SHARE: Final = 0.9
# Half of the last digit that logs print.
_ROUNDING: Final = 0.005

Fact = tuple[Mapping[str, str], Mapping[str, str] | None]


def fitted(rows: Iterable[Fact]) -> Constants:
    """Return the catalogue's table with its fitted values taken from these rows.

    A ``measured`` row of the fitted term that none of the rows supports becomes a ``guess`` with the value of the more
    general row before it, so that nothing of rows which are not given stays in the table.

    Args:
        rows: observed start-ups, each with its model's row of the architecture table.
    """
    facts = list(rows)
    table = constants()
    printed: dict[int, list[float]] = {}
    implied: dict[int, list[float]] = {}
    for row, arch in facts:
        found = _sample(row, arch, table)
        if found is not None:
            into = printed if _number(row.get("non_torch_gib")) is not None else implied
            into.setdefault(found[0], []).append(found[1])
    samples = {**implied, **printed}
    found_rows: list[Row] = []
    for index, row_ in enumerate(table.rows):
        if index in samples:
            found_rows.append(_with_value(row_, statistics.median(samples[index])))
        elif row_.term == _FITTED and row_.basis == "measured":
            found_rows.append(_guessed(row_, found_rows))
        else:
            found_rows.append(row_)
    fitted_table = Constants(found_rows)
    scale = _scale(facts, fitted_table)
    return Constants(_with_value(row_, scale) if row_.term == _SCALE else row_ for row_ in fitted_table.rows)


def _with_value(row: Row, value: float) -> Row:
    return replace(row, value=f"{value:.4g}")


def _guessed(row: Row, before: Sequence[Row]) -> Row:
    """The row with the value of the last more general one before it; its own where there is none."""
    for other in reversed(before):
        if other.term == row.term and set(other.when) < set(row.when) and other.since <= row.since:
            return replace(row, value=other.value, basis="guess")
    return replace(row, basis="guess")


def _sample(
    row: Mapping[str, str], arch: Mapping[str, str] | None, table: Constants
) -> tuple[int, float] | None:
    """Return which row of the table a start-up speaks about, and the GiB outside torch that it shows."""
    observed = read_row(row, arch)
    printed = _number(row.get("non_torch_gib"))
    cache = _number(row.get("kv_gib"))
    if observed is None or observed.gpu is None or not (row.get("vllm_version") or "").strip():
        return None
    if len(observed.versions) > 1 or not (row.get("gpu_memory_utilization") or "").strip():
        return None
    version = observed.versions[0]
    rules = accounting(observed.card, observed.gpu, observed.options, version, table=table)
    chosen = rules.row(_FITTED)
    if printed is None:
        if cache is None or observed.card.vision is not None:
            return None
        fit = predict(observed.card, observed.gpu, observed.options, version, table)
        printed = fit.non_torch + fit.kv_first_stage - cache
    if rules.text("budget") == "device" and _number(row.get("non_torch_gib")) is not None:
        printed -= rules.number("context_charged")
    index = next(place for place, one in enumerate(table.rows) if one is chosen)
    return index, max(printed, 0.0)


def _scale(rows: Sequence[Fact], table: Constants) -> float:
    """Return the factor with which the interval holds 90 % of the rows; never less than 1, what the parts say."""
    now = Constants(_with_value(row, 1.0) if row.term == _SCALE else row for row in table.rows)
    ratios = []
    for row, arch in rows:
        measured = _number(row.get("kv_gib"))
        said = predict_row(row, arch, now)
        if measured is None or said.kv_gib is None or said.kv_gib_low is None or said.kv_gib_high is None:
            continue
        error = measured - said.kv_gib
        width = said.kv_gib_high - said.kv_gib if error > 0 else said.kv_gib - said.kv_gib_low
        ratios.append(max(abs(error) - _ROUNDING, 0.0) / max(width, 1e-6))
    if not ratios:
        return 1.0
    ratios.sort()
    place = min(math.ceil(_SHARE * (len(ratios) + 1)), len(ratios)) - 1
    return min(max(ratios[place], 1.0), 4.0)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
