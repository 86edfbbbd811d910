"""Each step of the whole life with each fault, at one of its calls, drawn by a seed; see `matrix`.

Every call with every fault is `benchmarks/faults.py`'s, which takes minutes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from infra.local.cloud.testing import LocalCloud, cloud_in_thread
from tests.faults.lives import GCP, VERTEX, Life
from tests.faults.matrix import FAULTS, Call, calls_of, live, pairs

pytestmark = pytest.mark.slow
#: Pairs of faults for each life here; the benchmark has more.
FEW_PAIRS = 12
LIVES = {life.name: life for life in (VERTEX, GCP)}
PARTS = 2


@pytest.fixture(scope="session")
def emptied() -> Iterator[LocalCloud]:
    """One local cloud, which each life empties."""
    with cloud_in_thread() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def calls(emptied: LocalCloud) -> dict[str, list[Call]]:
    """The calls of each life."""
    return {name: calls_of(emptied, life) for name, life in LIVES.items()}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_two_faults(
    emptied: LocalCloud, calls: dict[str, list[Call]], subtests: pytest.Subtests, life: Life, part: int
) -> None:
    for pair in pairs(calls[life.name], FEW_PAIRS)[part::PARTS]:
        with subtests.test(" and ".join(f"{call}: {name}" for call, name in pair)):
            live(emptied, life, [(call, FAULTS[name]) for call, name in pair])


CASES = [(life, step, fault) for life in LIVES.values() for step in life.steps for fault in FAULTS]


@pytest.mark.parametrize(("life", "step", "fault"), CASES, ids=[f"{a.name}-{b}-{c}" for a, b, c in CASES])
def test_one_fault(
    emptied: LocalCloud,
    calls: dict[str, list[Call]],
    subtests: pytest.Subtests,
    life: Life,
    step: str,
    fault: str,
) -> None:
    befallen = [call for call in calls[life.name] if call.step == step and call.befalls(FAULTS[fault])]
    for call in random.Random(f"{life.name} {step} {fault}").sample(befallen, min(1, len(befallen))):
        with subtests.test(f"{call}: {fault}"):
            live(emptied, life, [(call, FAULTS[fault])])
