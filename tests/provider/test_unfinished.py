"""What a run left half done, and what two runs do at the same time: nothing is forgotten, and no step skipped."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.provider import probe
from infra.provider.rollout import Rollout
from infra.provider.vertex import Vertex
from infra.recovery.find import DEPLOYMENT, find
from tests.provider.harness import Existing, Harness, Refused, other_model, provider_on, until
from tests.provider.samples import DEPLOY, ENDPOINT, UNDEPLOY, Json, deployment, foreign_deployment
from tests.provider.test_roll import canary_model, ids, planned_id


class Cloud:
    """The local cloud as a recovery asks it; only what a deployment needs."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud

    def vertex(self, location: str, path: str, **query: str) -> Json | None:
        answer = self._cloud.http.get(f"/v1/{path}", params=query)
        return answer.json() if answer.status_code == 200 else None

    def operations(self, location: str, parent: str, kind: str) -> list[str]:
        return []


def interrupted(harness: Harness, model: Existing, rollout: Json, at: str) -> Refused:
    """A create that the user interrupts when it says something."""
    call = harness.meanwhile(lambda: harness.create("Deployment", deployment(model.id, rollout=rollout)))
    harness.engine.wait_for(at)
    harness.cancel()
    with pytest.raises(Refused) as refused:
        call.result(10)
    return refused.value


# The smoke test and the steps are not skipped


def test_one_that_became_ready_after_an_interruption_is_asked_though_refreshed(
    cloud: LocalCloud, provider: Harness, served: Existing
) -> None:
    other = other_model(provider)
    wanted = deployment(other.id)
    cloud.admin.timing(mode="manual")
    with provider_on(cloud) as first:
        left = interrupted(first, other, {}, "(deploying")
    saved = Existing(left.id, left.state, provider.checked("Deployment", wanted))
    cloud.admin.timing(mode="immediate")
    provider.finish(lambda: planned_id(provider, other) in provider.deployed())
    read = provider.read("Deployment", saved.id, saved)
    assert read is not None
    answer = provider.diff("Deployment", read, wanted)
    assert answer.changes == answer.DIFF_SOME
    asked = len(provider.sent("POST", ":rawPredict"))
    done = provider.update("Deployment", read, wanted)
    assert len(provider.sent("POST", ":rawPredict")) > asked
    assert provider.endpoint()["trafficSplit"] == {ids(done)[0]: 100}
    assert len(provider.sent("POST", DEPLOY)) == 2


def test_a_step_that_was_interrupted_is_watched_again(cloud: LocalCloud, served: Existing) -> None:
    with provider_on(cloud) as first:
        other = other_model(first)
        left = interrupted(first, other, {"steps": [25, 50], "bakeSeconds": 60}, "step of 25 %")
    with provider_on(cloud) as second:
        saved = Existing(left.id, left.state, {})
        rollout = {"steps": [10, 25, 50], "bakeSeconds": 1}
        second.update("Deployment", saved, deployment(other.id, rollout=rollout))
        passed = [text.split(":")[0] for text in second.texts("INFO") if text.startswith("step of")]
        assert passed == ["step of 25 % passed", "step of 50 % passed"]


def test_a_roll_that_recover_took_into_the_state_goes_on_where_it_was(
    cloud: LocalCloud, provider: Harness, served: Existing
) -> None:
    other = other_model(provider)
    rollout = {"steps": [50], "bakeSeconds": 60}
    with provider_on(cloud) as killed:
        interrupted(killed, other, rollout, "step of 50 %")  # what it would save is lost
    checked = provider.checked("Deployment", deployment(other.id, rollout={**rollout, "bakeSeconds": 1}))
    found = find(DEPLOYMENT, checked, Cloud(cloud))  # type: ignore[arg-type]
    assert found is not None
    provider.update("Deployment", Existing(found.id, {**checked, **found.outputs}, checked), checked)
    said = provider.texts("INFO")
    assert any(text.startswith("smoke test: deployed model") and "with 50 %" in text for text in said)
    assert any(text.startswith("step of 50 % passed") for text in said)


# A deployment that nobody knows of is not left behind


def unknown(harness: Harness, model: Existing) -> Existing:
    """What is saved where Google did not answer the request to deploy."""
    inputs = harness.checked("Deployment", deployment(model.id))
    id = planned_id(harness, model)
    outputs = {**inputs, "deployedModelId": id, "operation": None, "status": "deploying"}
    return Existing(f"{ENDPOINT}/deployedModels/{id}", outputs, inputs)


@pytest.mark.parametrize("cancels", [True, False])
def test_destroy_ends_a_deployment_whose_request_was_not_answered(
    manual: LocalCloud, provider: Harness, model: Existing, cancels: bool
) -> None:
    if not cancels:
        provider.admin.fault(":cancel", status={"code": "UNIMPLEMENTED", "message": "no"})
    saved = unknown(provider, model)
    provider.meanwhile(lambda: provider.create("Deployment", saved.inputs))
    provider.engine.wait_for("(deploying")
    with provider_on(manual) as destroying:
        call = destroying.meanwhile(lambda: destroying.delete("Deployment", saved))
        until(lambda: bool(destroying.sent("POST", ":cancel")))
        destroying.finish(call.done)
        call.result()
        assert len(destroying.sent("POST", ":cancel")) == 1
        assert len(destroying.sent("POST", UNDEPLOY)) == (0 if cancels else 1)
        assert destroying.deployed() == []
    provider.cancel()


def test_one_that_may_be_ours_is_waited_for_and_not_cancelled(
    manual: LocalCloud, provider: Harness, model: Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Vertex, "being_deployed", lambda *_: None)  # Google does not tell whose it is
    saved = unknown(provider, model)
    provider.meanwhile(lambda: provider.create("Deployment", saved.inputs))
    provider.engine.wait_for("(deploying")
    with provider_on(manual) as destroying:
        call = destroying.meanwhile(lambda: destroying.delete("Deployment", saved))
        destroying.engine.wait_for("waiting for the deployment under way to end, then undeploying")
        destroying.finish(call.done)
        call.result()
        assert destroying.sent("POST", ":cancel") == []
        assert destroying.deployed() == []
    provider.cancel()


def test_refresh_keeps_a_deployment_whose_request_was_not_answered(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    saved = unknown(provider, model)
    assert provider.read("Deployment", saved.id, saved) is None
    call = provider.meanwhile(lambda: provider.create("Deployment", saved.inputs))
    provider.engine.wait_for("(deploying")
    with pytest.raises(Refused, match="is not there yet: its deployment goes on at Google") as refused:
        provider.read("Deployment", saved.id, saved)
    assert refused.value.state == saved.outputs
    provider.finish(call.done)


def test_another_stacks_deployment_is_neither_waited_for_nor_cancelled(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    provider.post(f"{ENDPOINT}{DEPLOY}", foreign_deployment(model.id))
    saved = unknown(provider, model)
    assert provider.read("Deployment", saved.id, saved) is None
    provider.delete("Deployment", saved)
    assert provider.sent("POST", ":cancel") == []


def test_what_was_there_once_is_not_looked_for(cloud: LocalCloud, served: Existing) -> None:
    def listings(harness: Harness) -> int:
        """How often the endpoint's operations were listed."""
        return sum(
            each["path"] == f"/v1/{ENDPOINT}/operations" for each in harness.sent("GET", "/operations")
        )

    with provider_on(cloud) as destroying:
        before = listings(destroying)
        assert before, "its own create listed them"
        for _ in range(2):
            destroying.delete("Deployment", served)
        assert listings(destroying) == before


# Two stacks at the same time


def test_two_stacks_that_start_together_on_an_empty_endpoint_both_serve(
    cloud: LocalCloud, provider: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looked before the other's deployment had begun, so that both give themselves all the traffic."""
    together = threading.Barrier(2)
    deploy = Rollout._deploy

    def at_once(self: Rollout) -> str:
        together.wait(20)
        return deploy(self)

    monkeypatch.setattr(Rollout, "_deploy", at_once)
    with provider_on(cloud, stack="canary") as canary:
        mine, theirs = canary_model(provider), canary_model(canary, 10)
        cloud.admin.timing(mode="manual")
        calls = [
            provider.meanwhile(lambda: provider.create("Deployment", deployment(mine.id))),
            canary.meanwhile(lambda: canary.create("Deployment", deployment(theirs.id, trafficPercent=10))),
        ]
        until(lambda: len(provider.sent("POST", DEPLOY)) == 2)
        for harness in (provider, canary):
            harness.engine.wait_for("(deploying")
        listed = cloud.http.get(f"/v1/{ENDPOINT}/operations").json()["operations"]
        cloud.admin.advance(next(each["name"] for each in listed if not each.get("done")))
        until(lambda: len(provider.deployed()) == 1)
        first = provider if provider.deployed() == [planned_id(provider, mine)] else canary
        first.engine.wait_for("waiting for another deployment that began at the same time")
        provider.finish(lambda: all(call.done() for call in calls))
        one, two = (call.result() for call in calls)
        assert provider.endpoint()["trafficSplit"] == {ids(one)[0]: 90, ids(two)[0]: 10}


def test_a_share_that_another_stack_takes_during_the_smoke_test_is_no_verdict(
    provider: Harness, served: Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_model(provider)
    old, new = ids(served)[0], planned_id(provider, other)
    smoke, shares = probe.smoke, []

    def squeezed(ctx: Any, vertex: Any, endpoint: Any, id: str, share: int) -> int:
        shares.append(share)
        if len(shares) == 1:
            provider.patch(ENDPOINT, "trafficSplit", {"trafficSplit": {old: 98, new: 2}})
            raise probe.NeverAsked("none of 270 requests was answered by it")
        return smoke(ctx, vertex, endpoint, id, share)

    monkeypatch.setattr(probe, "smoke", squeezed)
    provider.create("Deployment", deployment(other.id))
    assert shares == [5, 2]
    assert provider.endpoint()["trafficSplit"] == {new: 100}
