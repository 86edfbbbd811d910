"""Money in texts about a budget, and when a cost is over one."""

from __future__ import annotations

import pytest

from infra.recipes.costs import Costs, over_budget, to_cents


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (1.15069, "1.15"),
        (3 * 1.15069, "3.45"),
        (1.155, "1.16"),
        (0.125, "0.13"),
        (1.005, "1.01"),
        (120, "120.00"),
        (0.1 + 0.2, "0.30"),
        (1e300, f"1{'0' * 300}.00"),
    ],
)
def test_cents_are_rounded_half_up(usd: float, text: str) -> None:
    assert str(to_cents(usd)) == text


@pytest.mark.parametrize(
    ("usd", "budget", "over"),
    [
        (1.15069, 1.15, False),  # the text says 1.15: enough
        (1.15069, 1.14, True),
        (1.156, 1.15, True),
        (1.156, 1.158, False),  # its text is 1.16
        (101.01, 101.01, False),
        (0.3, 0.1 + 0.2, False),
        (0.1 + 0.2, 0.3, False),
    ],
)
def test_a_budget_set_to_the_text_of_a_cost_is_enough(usd: float, budget: float, over: bool) -> None:
    assert over_budget(usd, budget) is over


def test_a_stopped_plan_costs_nothing_even_where_the_price_is_not_known() -> None:
    costs = Costs(
        hardware="z9 in us-central1",
        spot=False,
        min_replicas=0,
        max_replicas=0,
        on_demand=None,
        spot_price=None,
    )
    assert (costs.replica, costs.idle, costs.at_most) == (None, 0, 0)
    assert Costs.from_dict(costs.as_dict()) == costs
