"""Surge or recreate: what a replacement does, by the inputs and by the quota that is left, and what it says of it."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.testing import REGION, LocalCloud
from tests.provider.harness import Existing, Harness, other_model, provider_on
from tests.provider.samples import ENDPOINT, L4_QUOTA, MACHINE, deployment

BIGGER = {**MACHINE, "machineType": "g2-standard-24", "acceleratorCount": 2}
EACH = (
    "Both are billed from the new one's start until the old one is undeployed: usually 20 to 30 min "
    "(Vertex AI gives it up after 2 h)"
)


@pytest.fixture
def limited(provider: Harness) -> Any:
    """Sets the limit of L4 GPUs; taken back at the end."""
    provider.admin.enable("cloudquotas.googleapis.com", "monitoring.googleapis.com")

    def limit(amount: int | None) -> None:
        provider.admin.quota(L4_QUOTA, REGION, amount)

    yield limit
    limit(None)


def decided(provider: Harness, served: Existing, **changes: Any) -> tuple[bool, str]:
    """Whether the old one goes first when the machine changes, and what is said."""
    model = served.inputs["model"]
    answer = provider.diff(
        "Deployment",
        served,
        deployment(
            model, spot=False, **{"serviceAccount": "other@my-project.iam.gserviceaccount.com", **changes}
        ),
    )
    assert answer.replaces
    provider.engine.wait_for("rollout: ")
    return answer.deleteBeforeReplace, provider.texts("INFO")[-1]


def test_both_fit(provider: Harness, served: Existing, limited: Any) -> None:
    limited(2)
    first, said = decided(provider, served)
    assert not first
    assert said.startswith(
        "surge (rollout: auto: 1 more NVIDIA_L4 needed, 1 of 2 left, 12 more vCPUs needed, "
    )
    assert said.endswith(f"{EACH}; 1.15 USD an hour more for 1 replica.")


def test_only_one_fits(provider: Harness, served: Existing, limited: Any) -> None:
    limited(1)
    first, said = decided(provider, served)
    assert first
    assert said.startswith(
        "recreate (rollout: auto: 1 more NVIDIA_L4 needed, 0 of 1 left, 12 more vCPUs needed, "
    )
    assert said.endswith(
        "The old one is undeployed first: nothing serves for as long as the new one takes to start, usually 20 to 30 "
        "min (Vertex AI gives it up after 2 h). Nothing is paid twice."
    )


def test_where_neither_fits_the_old_one_stays(provider: Harness, served: Existing, limited: Any) -> None:
    limited(1)
    first, said = decided(provider, served, machineSpec=BIGGER)
    assert not first
    assert "2 more NVIDIA_L4 needed, 0 of 1 left" in said
    assert "too little even without the old one, which therefore stays" in said


def test_other_capacity_has_a_quota_of_its_own(provider: Harness, served: Existing, limited: Any) -> None:
    limited(1)
    model = served.inputs["model"]
    answer = provider.diff("Deployment", served, deployment(model, spot=True))
    assert not answer.deleteBeforeReplace
    assert "no limit for us-central1 of CustomModelServingPreemptible" in provider.texts("INFO")[-1]


@pytest.mark.parametrize(("strategy", "first"), [("surge", False), ("recreate", True)])
def test_a_strategy_that_is_given_asks_nothing(
    provider: Harness, served: Existing, strategy: str, first: bool
) -> None:
    before = len(provider.admin.requests())
    rollout = {"strategy": strategy, **({"steps": [25, 50], "bakeSeconds": 300} if not first else {})}
    found, said = decided(provider, served, rollout=rollout)
    assert found is first
    assert said.startswith(f"{strategy} (rollout: {strategy}). The old one ")
    if not first:
        assert f"{EACH}, and 10 min for 2 steps; 1.15 USD" in said
    assert len(provider.admin.requests()) == before


def test_a_quota_that_cannot_be_read_is_no_reason_for_a_gap(
    provider: Harness, served: Existing, limited: Any
) -> None:
    limited(1)
    provider.admin.fault(
        "/services/aiplatform", status={"code": "PERMISSION_DENIED", "message": "No."}, times=20
    )
    first, said = decided(provider, served)
    assert not first
    assert said.startswith("surge (rollout: auto: the quota that is left is not known: ")
    provider.admin.call("DELETE", "faults")


def test_a_roll_that_is_under_way_keeps_the_old_one(
    cloud: LocalCloud, provider: Harness, served: Existing, limited: Any
) -> None:
    """Killed in the middle: the new one holds the quota, and the old one still serves."""
    provider.create("Deployment", deployment(other_model(provider).id))
    limited(2)
    first, said = decided(provider, served)
    assert not first
    assert "a roll is under way already" in said


def test_another_stacks_deployment_is_no_roll(cloud: LocalCloud, served: Existing, limited: Any) -> None:
    with provider_on(cloud, stack="canary") as canary:
        theirs = other_model(canary)
        canary.create("Deployment", deployment(theirs.id, trafficPercent=10))
    limited(2)
    with provider_on(cloud) as provider:
        first, _ = decided(provider, served)
        assert first


def test_a_recreated_deployment_serves_again(cloud: LocalCloud, served: Existing, limited: Any) -> None:
    """The engine deletes first; what is made then has the whole endpoint again."""
    limited(1)
    with provider_on(cloud) as provider:
        other = other_model(provider)
        provider.delete("Deployment", served)
        new = provider.create("Deployment", deployment(other.id))
        assert provider.get(ENDPOINT)["trafficSplit"] == {new.outputs["deployedModelId"]: 100}
