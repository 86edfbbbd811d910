"""The prediction keeps what it promises on the measured start-ups: with its own constants, and cross-validated."""

from __future__ import annotations

import pytest

from benchmarks import fit
from benchmarks.accuracy import measures, ours
from benchmarks.accuracy.report import Results
from benchmarks.accuracy.rows import load

pytestmark = pytest.mark.slow  # it fits the constants anew for each family of models

TARGETS = tuple(target.name for target in measures.targets([], {}))


@pytest.fixture(scope="module")
def results() -> Results:
    return fit.run(load(), ours.predictor())


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", ["in sample", "cross-validated"])
def test_targets(results: Results, name: str, kind: str) -> None:
    said = results.ours if kind == "in sample" else results.crossed
    target = next(one for one in measures.targets(results.table.rows, said) if one.name == name)
    assert target.rows > 20, f"{name}: only {target.rows} rows"
    assert target.met, f"{name}, {kind}: {target.value} {target.unit}, promised {target.limit} {target.unit}"


def test_no_published_formula_is_as_near(results: Results) -> None:
    """On the rows that all methods answer, in the median and at the 90th percentile."""
    common = [
        row
        for row in measures.kv_rows(results.table.rows)
        if all(said[row.id].kv is not None for said in results.methods.values())
    ]
    crossed = measures.kv_errors(common, results.crossed)
    assert crossed.rows > 100
    assert crossed.median is not None
    assert crossed.p90 is not None
    for name, said in results.peers.items():
        errors = measures.kv_errors(common, said)
        assert errors.median is not None
        assert errors.p90 is not None
        assert crossed.median < errors.median / 5, name
        assert crossed.p90 < errors.p90 / 2, name


def test_every_dense_row_of_a_known_version_is_answered(results: Results) -> None:
    for row in measures.kv_rows(row for row in results.table.rows if row.headline and row.total is not None):
        assert results.ours[row.id].kv is not None, row.id
