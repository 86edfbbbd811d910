"""Two runs: the rank test against all permutations, verdicts, what else differs."""

from __future__ import annotations

import itertools
import random

import pytest

from infra.bench.compare import compare, differences, p_value
from infra.bench.results import Workload

from .conftest import level_of, run_of


def exact(before: list[float], after: list[float]) -> float:
    """The two-sided p value by every way to split the values."""
    joined = sorted(before + after)
    ranks = {
        value: (joined.index(value) + 1 + len(joined) - joined[::-1].index(value)) / 2 for value in joined
    }
    n, total = len(before), len(joined)
    middle = n * (total + 1) / 2
    own = abs(sum(ranks[value] for value in before) - middle)
    splits = list(itertools.combinations([ranks[value] for value in joined], n))
    return sum(abs(sum(split) - middle) >= own - 1e-9 for split in splits) / len(splits)


@pytest.mark.parametrize("seed", range(12))
def test_the_p_value_is_near_the_exact_one(seed: int) -> None:
    chance = random.Random(seed)
    before = [float(chance.randint(0, 12)) for _ in range(8)]  # whole numbers, so that there are ties
    after = [float(chance.randint(0, 12) + seed) for _ in range(8)]
    found = p_value(before, after)
    assert found is not None
    assert found == pytest.approx(exact(before, after), abs=0.03)


def test_of_few_values_nothing_is_said() -> None:
    assert p_value([1.0] * 7, [2.0] * 100) is None


def test_equal_values_are_chance() -> None:
    assert p_value([1.0] * 10, [1.0] * 10) == 1


def test_the_test_is_seldom_wrong() -> None:
    """Of runs that do not differ, about one in a hundred is below 0.01."""
    chance = random.Random(5)
    found = [
        p_value(*([chance.expovariate(1) for _ in range(40)] for _ in range(2))) or 0 for _ in range(1000)
    ]
    assert 0 < sum(value < 0.01 for value in found) < 25


def test_verdicts() -> None:
    fast = level_of(4, tpot=tuple(0.01 + each / 1e4 for each in range(10)))
    slow = level_of(4, tpot=tuple(0.02 + each / 1e4 for each in range(10)), output_tokens=500)
    (worse,) = compare(run_of(fast), run_of(slow))
    found = {change.name: change for change in worse.changes}
    assert found["tpot"].verdict == "worse"
    assert found["tpot"].percent == pytest.approx(95.69, abs=0.01)  # 10.45 to 20.45 ms
    assert found["ttft"].verdict == "noise"
    assert found["ttft"].percent == 0
    assert found["output_throughput"].verdict == "unknown"
    assert found["output_throughput"].percent == -50
    (better,) = compare(run_of(slow), run_of(fast))
    assert {change.name: change.verdict for change in better.changes}["tpot"] == "better"


def test_only_levels_that_both_have_are_compared() -> None:
    before = run_of(level_of(1), level_of(4))
    after = run_of(level_of(4), level_of(8), level_of(1, kind="rate"))
    assert [(each.level.kind, each.level.value) for each in compare(before, after)] == [("concurrency", 4)]


def test_a_level_without_figures() -> None:
    empty = level_of(4, ttft=(), tpot=(), latency=(), output_tokens=None)
    (found,) = compare(run_of(), run_of(empty))
    assert {change.verdict for change in found.changes} == {"unknown"}
    assert {change.percent for change in found.changes} == {None}


def test_what_else_differs() -> None:
    workload = Workload(input_tokens=300, output_tokens=100, ignore_eos=False)
    found = differences(run_of(), run_of(endpoint="e", workload=workload, hardware=""))
    assert [each.partition(":")[0] for each in found] == [
        "endpoint",
        "hardware",
        "input_tokens",
        "ignore_eos",
    ]
    assert "200 before, 300 now" in found[2]
    assert differences(run_of(), run_of(created="later")) == ()
