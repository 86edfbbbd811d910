"""The arithmetic of traffic splits: whole percentages, the same end whatever the order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infra.provider import traffic
from infra.provider.traffic import Split, Tenant

PERCENT = st.integers(1, 100)
DECLARED = st.one_of(st.none(), st.integers(1, 60))


@st.composite
def splits(draw: st.DrawFn, least: int = 1) -> Split:
    """A split of 100 over some deployed models."""
    count = draw(st.integers(least, 6))
    weights = draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))
    amounts = traffic._proportional({str(number): weight for number, weight in enumerate(weights)}, 100)
    return {id: amount for id, amount in amounts.items() if amount}


def sums_to_100(split: Split) -> bool:
    return sum(split.values()) == 100 and all(amount > 0 for amount in split.values())


@given(splits(), st.dictionaries(st.sampled_from("012345"), DECLARED), DECLARED, st.booleans())
def test_a_settled_split_is_whole(
    split: Split, wishes: dict[str, int | None], mine: int | None, there: bool
) -> None:
    keeper = "0" if there else "9"
    rest = [Tenant((id,), wishes.get(id), id) for id in split if id != keeper]
    try:
        found = traffic.settled(split, keeper, Tenant((keeper,), mine, "me"), rest)
    except traffic.NoShare:
        assume(False)
        return
    assert sums_to_100(found)
    assert set(found) == {keeper, *(tenant.ids[0] for tenant in rest)}
    again = traffic.settled(found, keeper, Tenant((keeper,), mine, "me"), rest)
    assert again == found, "settling what is settled changes nothing"
    if mine is not None and any(tenant.declared is None for tenant in rest):
        assert found[keeper] == mine


@given(
    st.lists(st.integers(1, 30), min_size=0, max_size=3),
    st.booleans(),
    st.lists(st.integers(0, 3), max_size=8),
    st.permutations(range(4)),
)
def test_stacks_end_in_the_same_split_in_every_order(
    shares: list[int], rest_taker: bool, more: list[int], order: list[int]
) -> None:
    stacks: list[int | None] = [*shares, *([None] if rest_taker else [])]
    assume(stacks)
    everybody = [Tenant((f"id{number}",), declared, str(number)) for number, declared in enumerate(stacks)]

    def up(split: Split, number: int) -> Split:
        me = everybody[number]
        return traffic.settled(split, me.ids[0], me, [each for each in everybody if each is not me])

    def run(numbers: list[int]) -> Split:
        split: Split = {}
        for number in numbers:
            if number < len(stacks):
                split = up(split, number)
        return split

    straight = run([*range(len(stacks)), *range(len(stacks))])
    # Twice at most: a stack that came before others settles the rest when its own run comes again.
    assert run([*order, *more, *range(len(stacks)), *reversed(range(len(stacks)))]) == straight
    assert sums_to_100(straight)
    if rest_taker:
        assert [straight[f"id{number}"] for number in range(len(shares))] == shares


@given(splits(2), st.dictionaries(st.sampled_from("012345"), DECLARED), st.data())
def test_a_deployed_model_that_goes_leaves_its_share(
    split: Split, wishes: dict[str, int | None], data: st.DataObject
) -> None:
    assume(len(split) > 1)
    gone = data.draw(st.sampled_from(sorted(split)))
    rest = [Tenant((id,), wishes.get(id), id) for id in split if id != gone]
    models = [{"id": id, "createTime": id} for id in split]
    found = traffic.without({"deployedModels": models, "trafficSplit": split}, gone, (), rest)
    assert found is not None
    assert sums_to_100(found)
    assert set(found) == set(split) - {gone}
    if any(tenant.declared is None for tenant in rest):
        for tenant in rest:
            if tenant.declared is not None:
                assert found[tenant.ids[0]] == split[tenant.ids[0]]


@given(splits(2), PERCENT, st.data())
def test_a_part_of_the_way_touches_nobody_else(split: Split, amount: int, data: st.DataObject) -> None:
    assume(len(split) > 1)
    old = data.draw(st.sampled_from(sorted(split)))
    final = {("new" if id == old else id): share for id, share in split.items()}
    amount = min(amount, final["new"])
    found = traffic.part_way(split, final, "new", amount)
    assert sums_to_100(found)
    assert found["new"] == amount
    assert found.get(old, 0) == split[old] - amount
    assert all(found[id] == share for id, share in split.items() if id != old)
    assert traffic.given_back(found, "new", {old: 1}) == split


def test_others_give_in_proportion_to_one_that_joins() -> None:
    rest = [Tenant(("a",), None, "a"), Tenant(("b",), None, "b")]
    found = traffic.settled({"a": 75, "b": 25}, "new", Tenant(("new",), 20, "me"), rest)
    assert found == {"a": 60, "b": 20, "new": 20}


def test_one_that_is_on_its_way_is_not_pushed() -> None:
    canary = Tenant(("c",), 20, "canary")
    assert traffic.settled({"a": 99, "c": 1}, "a2", Tenant(("a", "a2"), None), [canary]) == {"a2": 99, "c": 1}


@pytest.mark.parametrize(
    ("split", "mine", "rest", "text"),
    [
        (
            {"a": 100},
            None,
            [Tenant(("a",), None, "stack a")],
            "stack a has 100 % without having declared a share, and this stack declares none either",
        ),
        (
            {"a": 40, "b": 60},
            50,
            [Tenant(("a",), None, "stack a"), Tenant(("b",), 60, "stack b")],
            "50 % for this stack beside stack b 60 % leaves -10 % for stack a",
        ),
        ({"b": 100}, None, [Tenant(("b",), 100, "stack b")], "stack b 100 % leave 0 % for this stack"),
    ],
)
def test_shares_that_do_not_go_together_are_refused(
    split: Split, mine: int | None, rest: list[Tenant], text: str
) -> None:
    with pytest.raises(traffic.NoShare) as refused:
        traffic.settled(split, "new", Tenant(("new",), mine, "me"), rest)
    assert str(refused.value) == text


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"1": 60, "2": 40}, {"2": 100}),
        ({"1": 100}, {"3": 100}),
        ({"1": 50, "2": 25, "3": 25}, {"2": 50, "3": 50}),
        ({"2": 100}, None),
    ],
)
def test_traffic_of_one_that_goes(split: Split, expected: Split | None) -> None:
    models: list[dict[str, Any]] = [
        {"id": id, "createTime": f"2026-01-01T00:00:0{id}Z"} for id in ("1", "2", "3")
    ]
    assert traffic.without({"deployedModels": models, "trafficSplit": split}, "1") == expected


def test_its_own_stack_comes_first() -> None:
    endpoint = {
        "deployedModels": [{"id": id, "createTime": id} for id in "123"],
        "trafficSplit": {"1": 70, "3": 30},
    }
    assert traffic.without(endpoint, "1", ("1", "2"), [Tenant(("3",), 30)]) == {"2": 70, "3": 30}
