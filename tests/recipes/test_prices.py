"""What a plan costs: the price of a replica, sums by hour and month, outputs, and the difference of two plans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.recipes import Catalog, ServingPlan, catalog, load_stack_file, plan
from infra.recipes.costs import (
    HOURS_PER_MONTH,
    UNKNOWN,
    Change,
    Costs,
    cost_outputs,
    costs_of,
    costs_of_machines,
    monthly,
)
from infra.recipes.prices import Shape, price_of
from infra.recipes.stackfile import parse_stack

ROOT = Path(__file__).resolve().parents[2]
BOOKS = catalog()


def row(item: str, product: str, usd: str, spot: str = "", **more: str) -> dict[str, str]:
    """One row of prices.csv, in us-central1."""
    return {
        "item": item,
        "part": "machine+gpu",
        "region": "us-central1",
        "product": product,
        "usd_per_hour": usd,
        "spot_usd_per_hour": spot,
        "local_ssd_gib": "",
        "date": "2026-01-01",
        "source": f"source of {product}",
        **more,
    }


def serving(region: str = "us-central1", **parts: Any) -> ServingPlan:
    """Llama 3.1 8B on one L4 unless said otherwise."""
    raw = {
        "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "hardware": {
            "machine_type": "g2-standard-12",
            "accelerator_type": "NVIDIA_L4",
            "accelerator_count": 1,
        },
        **parts,
    }
    stack = parse_stack(raw, file="stacks/llama.yaml", lines={})
    return plan(stack, region=region, source="stacks/llama.yaml")


# The price of a replica


def test_the_fee_of_a_published_machine_is_the_sum_of_its_parts() -> None:
    price = BOOKS.price("a3-highgpu-1g", "us-central1", True)
    assert price is not None
    assert price.fee == pytest.approx(1.4694826 + 26 * 0.0038247 + 234 * 0.0003331, abs=1e-6)
    assert price.usd_per_hour == pytest.approx(6.326193 + (price.fee or 0), abs=1e-6)
    assert "management fee 1.6469 (published by GPU, vCPU and GiB)" in price.derivation
    assert price.date == "2025-08"  # of the older of the two sources
    assert "Cloud Billing SKU API" in price.source
    assert "billing report 2025-08" in price.source


def test_the_published_fee_is_the_share_that_is_inferred_elsewhere() -> None:
    """15 % of the Compute Engine price without its local SSD, which is the prediction price by 1.15."""
    spot, on_demand = (BOOKS.price("a3-highgpu-1g", "us-central1", kind) for kind in (True, False))
    assert spot is not None
    assert on_demand is not None
    assert spot.fee == pytest.approx(on_demand.usd_per_hour / 1.15 * 0.15, rel=2e-4)


def test_the_fee_is_inferred_where_none_is_published() -> None:
    price = BOOKS.price("a3-highgpu-8g", "us-east4", True)
    assert price is not None
    assert price.fee == pytest.approx(0.15 * 88.555756, abs=1e-6)
    assert price.usd_per_hour == pytest.approx(36.320837 + (price.fee or 0), abs=1e-6)
    assert "15 % of on-demand 88.5558; inferred" in price.derivation
    assert "the fee is up to 1 % high" in price.derivation
    assert price.date == "2026-07-30"


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_on_demand_by_published_parts(count: int) -> None:
    one = BOOKS.price("a3-highgpu-1g", "us-central1")
    many = BOOKS.price(f"a3-highgpu-{count}g", "us-central1")
    assert one is not None
    assert many is not None
    assert many.usd_per_hour == pytest.approx(count * one.usd_per_hour, abs=1e-5)
    assert many.derivation.startswith("published for prediction")
    assert (many.fee, many.date) == (None, "2025-08")


def test_no_fee_is_charged_apart_on_demand() -> None:
    for machine in ("g2-standard-12", "g2-standard-96", "a3-highgpu-8g"):
        price = BOOKS.price(machine, "us-central1")
        assert price is not None
        assert price.fee is None


@pytest.mark.parametrize(
    ("rows", "spot"),
    [
        ([row("m-1g", "gce", "", "1.0")], True),  # the fee is a share of what is not known
        ([row("m-1g", "gce", "2.0", "")], True),
        ([row("m-1g", "gce", "", "1.0")], False),
        ([row("m-1g", "gce", "2.0", region="us-east1")], False),
        ([], False),
        # Parts of which one is missing are no price.
        ([row("G", "vertex_prediction", "5", part="gpu"), row("m", "vertex_prediction", "1", part="vcpu")], False),
    ],
)  # fmt: skip
def test_a_missing_part_makes_the_price_unknown(rows: list[dict[str, str]], spot: bool) -> None:
    shape = Shape("G", 1, 4, 16.0)
    assert price_of(rows, "m-1g", "us-central1", spot=spot, gpu=None, shape=shape) is None


def test_an_undated_source_leaves_the_date_unknown() -> None:
    rows = [row("m-1g", "gce", "2.0", date=""), row("m-1g", "vertex_other", "1.0")]
    price = price_of(rows, "m-1g", "us-central1", spot=False, gpu=None)
    assert price is not None
    assert (price.usd_per_hour, price.date) == (2.3, "")


# The costs of a plan


def test_costs_of_a_scaled_plan() -> None:
    costs = costs_of(serving(replicas={"min_replica_count": 2, "max_replica_count": 5}))
    assert (costs.capacity, costs.min_replicas, costs.max_replicas) == ("on-demand", 2, 5)
    assert costs.replica == costs.on_demand == 1.15069
    assert costs.idle == pytest.approx(2 * 1.15069)
    assert costs.at_most == pytest.approx(5 * 1.15069)
    assert costs.spot_price == pytest.approx(0.562408 + 0.15 * 1.000416, abs=1e-6)
    assert costs.fee is None
    assert (costs.date, costs.derivation) == ("2026", "published for prediction")
    assert "cloud.google.com/vertex-ai/pricing" in costs.source


def test_costs_of_a_spot_plan_hold_the_fee() -> None:
    hardware = {
        "machine_type": "g2-standard-12",
        "accelerator_type": "NVIDIA_L4",
        "accelerator_count": 1,
        "spot": True,
    }
    costs = costs_of(serving(hardware=hardware))
    assert costs.capacity == "spot"
    assert costs.fee == pytest.approx(0.15 * 1.000416, abs=1e-6)
    assert costs.replica == costs.spot_price == pytest.approx(0.562408 + 0.15 * 1.000416, abs=1e-6)
    assert costs.on_demand == 1.15069
    assert costs.as_dict()["replica"]["management_fee_usd_per_hour"] == pytest.approx(0.150062)


@pytest.mark.parametrize("spot", [False, True])
def test_machines_cost_what_a_plan_of_them_does(spot: bool) -> None:
    hardware = {"machine_type": "g2-standard-12", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1}
    served = serving(hardware={**hardware, "spot": spot}, replicas={"max_replica_count": 4})
    found = costs_of_machines(
        machine_type="g2-standard-12",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
        region="us-central1",
        spot=spot,
        min_replicas=1,
        max_replicas=4,
    )
    assert found == costs_of(served)


def test_outputs_in_hours_and_months() -> None:
    found = cost_outputs(serving(replicas={"min_replica_count": 1, "max_replica_count": 3}))
    assert found["hourly_cost_usd"] == 3.4521
    cost = found["cost"]
    assert cost["replica"] == {
        "usd_per_hour": 1.15069,
        "usd_per_month": 840.0,
        "on_demand_usd_per_hour": 1.15069,
        "spot_usd_per_hour": 0.71247,
    }
    assert cost["idle"] == {"replicas": 1, "usd_per_hour": 1.15069, "usd_per_month": 840.0}
    assert cost["at_most"] == {"replicas": 3, "usd_per_hour": 3.45207, "usd_per_month": 2520.01}
    assert cost["hours_per_month"] == HOURS_PER_MONTH == 730
    assert cost["price"]["date"] == "2026"
    json.dumps(found, allow_nan=False)


def test_an_unknown_price_is_unknown_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalog, "price", lambda *_, **__: None)
    unpriced = serving(replicas={"min_replica_count": 1, "max_replica_count": 3})
    costs = costs_of(unpriced)
    assert (costs.replica, costs.idle, costs.at_most, monthly(costs.idle)) == (None, None, None, None)
    found = cost_outputs(unpriced)
    assert found["hourly_cost_usd"] == UNKNOWN
    unknown = {"usd_per_hour": UNKNOWN, "usd_per_month": UNKNOWN}
    assert found["cost"]["replica"] == {
        **unknown,
        "on_demand_usd_per_hour": UNKNOWN,
        "spot_usd_per_hour": UNKNOWN,
    }
    assert found["cost"]["at_most"] == {"replicas": 3, **unknown}
    assert found["cost"]["price"] == UNKNOWN
    assert Costs.from_dict(found["cost"]) == costs


def test_every_stack_file_has_costs_that_come_back_from_its_outputs() -> None:
    for path in sorted((ROOT / "stacks").glob("*.yaml")):
        served = plan(load_stack_file(path), region="us-central1", source=str(path))
        costs = costs_of(served)
        assert costs.replica is not None, path.name
        assert costs.spot_price is not None, path.name
        assert costs.spot_price < costs.on_demand  # type: ignore[operator]
        read = Costs.from_dict(json.loads(json.dumps(cost_outputs(served)["cost"])))
        assert read is not None
        assert not Costs.difference(costs, read).changed
        assert read.at_most == pytest.approx(costs.at_most, abs=1e-5)


@pytest.mark.parametrize(
    "found", [None, {}, [], "x", {"hardware": "x", "price": UNKNOWN, "capacity": "spot", "replica": 3}]
)
def test_an_output_of_another_shape_is_none(found: Any) -> None:
    assert Costs.from_dict(found) is None


# The difference of two plans

ONE = Costs(
    hardware="g2-standard-12 with 1 x NVIDIA_L4 in us-central1",
    spot=False,
    min_replicas=1,
    max_replicas=1,
    on_demand=1.0,
    spot_price=0.5,
)


def test_more_replicas() -> None:
    found = Costs.difference(ONE, replace(ONE, max_replicas=3))
    assert found.changed
    assert found.texts == (
        "1 replica becomes 1 to 3 replicas",
        "when nobody asks: unchanged, 730.00 USD a month",
        "at most: +1,460.00 USD a month (+2.00 an hour, +200%), from 730.00 to 2,190.00",
    )
    assert found.as_dict()["at_most"]["change"] == {"usd_per_hour": 2.0, "usd_per_month": 1460.0}


def test_other_capacity_and_hardware() -> None:
    found = Costs.difference(ONE, replace(ONE, spot=True, hardware="g2-standard-8 with 1 x NVIDIA_L4"))
    assert found.texts == (
        "g2-standard-12 with 1 x NVIDIA_L4 in us-central1 becomes g2-standard-8 with 1 x NVIDIA_L4",
        "on-demand becomes spot",
        "when nobody asks: -365.00 USD a month (-0.50 an hour, -50%), from 730.00 to 365.00",
        "at most: -365.00 USD a month (-0.50 an hour, -50%), from 730.00 to 365.00",
    )


def test_new_and_gone() -> None:
    new, gone = Costs.difference(None, ONE), Costs.difference(ONE, None)
    assert new.texts[0] == f"new: {ONE.hardware}, on-demand, 1 replica"
    assert (new.idle.delta, gone.idle.delta) == (1.0, -1.0)
    assert new.texts[2] == "at most: +730.00 USD a month (+1.00 an hour), from 0.00 to 730.00"
    assert gone.texts[0].startswith("gone: ")
    assert new.as_dict()["before"] is None
    assert Costs.difference(None, None).texts == (
        "when nobody asks: unchanged, 0.00 USD a month",
        "at most: unchanged, 0.00 USD a month",
    )


def test_an_unknown_price_has_no_difference() -> None:
    found = Costs.difference(ONE, replace(ONE, on_demand=None))
    assert found.changed
    assert found.at_most.delta is None
    assert found.texts[-1] == "at most: 730.00 USD a month before, unknown after"
    assert found.as_dict()["at_most"]["change"] == {"usd_per_hour": UNKNOWN, "usd_per_month": UNKNOWN}
    assert Costs.difference(None, replace(ONE, on_demand=None)).idle.delta is None


def test_the_same_plan_is_unchanged_whatever_its_source() -> None:
    found = Costs.difference(ONE, replace(ONE, source="another page", date="2027"))
    assert not found.changed
    assert found.texts[-1] == "at most: unchanged, 730.00 USD a month"


@given(st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_a_change_adds_up(before: float, after: float) -> None:
    change = Change(before, after)
    assert change.delta is not None
    assert before + change.delta == pytest.approx(after)
    assert change.text.startswith(("+", "-", "unchanged"))
