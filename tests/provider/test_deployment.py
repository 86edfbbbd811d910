"""The resource Deployment on the local cloud: how it is made, and what a crash leaves behind."""

from __future__ import annotations

import time
from typing import Any

import pytest

from infra.local.cloud.testing import REGION, LocalCloud
from tests.provider.harness import Existing, Harness, Refused, other_model, provider_on, until
from tests.provider.samples import (
    DEPLOY,
    ENDPOINT,
    FULL_ENDPOINT,
    L4_QUOTA,
    MACHINE,
    MUTATE,
    UNDEPLOY,
    deployment,
    foreign_deployment,
)

# Create


def test_create_deploys_with_all_traffic(provider: Harness, model: Existing) -> None:
    served = provider.create("Deployment", deployment(model.id))

    (live,) = provider.endpoint()["deployedModels"]
    id = served.outputs["deployedModelId"]
    assert served.id == f"{FULL_ENDPOINT}/deployedModels/{id}"
    assert len(id) == 10
    assert live["id"] == id
    assert live["model"] == model.id
    assert live["dedicatedResources"]["machineSpec"] == MACHINE
    assert provider.endpoint()["trafficSplit"] == {id: 100}
    assert served.outputs["traffic"] == 100
    assert served.outputs["dedicatedEndpointDns"] == ""
    assert served.outputs["createTime"] == live["createTime"]


def test_stages_are_shown_live_and_summed_up(manual: LocalCloud, provider: Harness, model: Existing) -> None:
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.engine.wait_for("s (deploying, up to 10 min)")
    while not call.done():
        manual.admin.advance(stages=1)
        time.sleep(0.1)
    call.result()
    shown = [text for text in provider.texts("INFO", ephemeral=True) if "deploying" in text]
    stages = [stage for stage in dict.fromkeys(text.split()[0] for text in shown) if stage.isupper()]
    assert stages[:2] == ["STARTING_DEPLOYMENT", "PREPARING_MODEL"]
    assert "STARTING_MODEL_SERVER" in stages
    summary = next(text for text in provider.texts("INFO") if "STARTING_MODEL_SERVER" in text)
    assert summary.startswith("deployed as ")
    assert "STARTING_MODEL_SERVER" in summary


def test_a_dedicated_endpoint_tells_its_host(provider: Harness, model: Existing) -> None:
    parent = ENDPOINT.rpartition("/")[0]
    provider.post(f"{parent}?endpointId=777777", {"displayName": "d", "dedicatedEndpointEnabled": True})
    inputs = deployment(model.id, endpoint="777777")
    served = provider.create("Deployment", inputs)
    assert served.outputs["dedicatedEndpointDns"].startswith(f"777777.{REGION}-")


def test_the_id_follows_from_what_cannot_change(provider: Harness, model: Existing) -> None:
    from infra.provider.deployed import plan_of

    def id_of(**changes: Any) -> str:
        return plan_of(provider.checked("Deployment", {**deployment(model.id), **changes})).id

    first = id_of()
    assert id_of(minReplicaCount=2, maxReplicaCount=3, deployRequestTimeoutSeconds=60) == first
    assert id_of(endpoint="123456", spot=False) == first
    assert id_of(model=model.id.replace("123456789012", "local-project")) == first
    others = [
        id_of(spot=True),
        id_of(displayName="other"),
        id_of(serviceAccount="a@b.iam.gserviceaccount.com"),
        id_of(machineSpec={**MACHINE, "machineType": "g2-standard-16"}),
        id_of(model=model.id + "x"),
        id_of(endpoint="1234567"),
    ]
    assert len({first, *others}) == 7


# Adoption and crash points


def test_a_repeated_create_adopts_what_is_deployed(
    cloud: LocalCloud, served: Existing, model: Existing
) -> None:
    with provider_on(cloud) as again:
        second = again.create("Deployment", deployment(model.id, maxReplicaCount=2))
        assert second.id == served.id
        assert len(again.sent("POST", DEPLOY)) == 1
        assert again.endpoint()["deployedModels"][0]["dedicatedResources"]["maxReplicaCount"] == 2
        assert any("adopted deployed model" in text for text in again.texts("INFO"))


def test_an_adopted_model_whose_replicas_cannot_change_is_saved(
    cloud: LocalCloud, served: Existing, model: Existing
) -> None:
    message = f"The following quotas are exceeded: {L4_QUOTA} 1"
    cloud.admin.fault(MUTATE, status={"code": "RESOURCE_EXHAUSTED", "message": message})
    with provider_on(cloud) as again, pytest.raises(Refused, match="the quota is too small") as refused:
        again.create("Deployment", deployment(model.id, maxReplicaCount=2))
    assert refused.value.id == served.id
    with provider_on(cloud) as again:
        again.delete("Deployment", Existing(refused.value.id, refused.value.state, {}))
        assert again.deployed() == []


def test_an_adopted_model_is_saved_when_its_change_is_interrupted(
    cloud: LocalCloud, served: Existing, model: Existing
) -> None:
    status = {"code": "FAILED_PRECONDITION", "message": "There are other operations running on the Endpoint."}
    cloud.admin.fault(MUTATE, status=status, times=999)
    with provider_on(cloud) as again:
        call = again.meanwhile(lambda: again.create("Deployment", deployment(model.id, maxReplicaCount=2)))
        again.engine.wait_for("trying again")
        again.cancel()
        with pytest.raises(Refused, match="it goes on as it was, and bills") as refused:
            call.result(5)
        assert refused.value.id == served.id
    cloud.admin.call("DELETE", "faults")


def test_an_adopted_model_without_traffic_gets_it(
    cloud: LocalCloud, provider: Harness, served: Existing, model: Existing
) -> None:
    other = other_model(provider)
    provider.create("Deployment", deployment(other.id))
    assert provider.endpoint()["trafficSplit"].get(served.outputs["deployedModelId"], 0) == 0
    with provider_on(cloud) as again:
        again.create("Deployment", deployment(model.id))
        split = again.endpoint()["trafficSplit"]
        assert {key: value for key, value in split.items() if value} == {
            served.outputs["deployedModelId"]: 100
        }


def test_a_repeated_create_waits_for_the_deployment_under_way(manual: LocalCloud, model: Existing) -> None:
    with provider_on(manual) as crashed, provider_on(manual) as again:
        first = crashed.meanwhile(lambda: crashed.create("Deployment", deployment(model.id)))
        crashed.engine.wait_for("(deploying")
        second = again.meanwhile(lambda: again.create("Deployment", deployment(model.id)))
        again.engine.wait_for("10 min)")
        again.finish(lambda: first.done() and second.done())
        assert first.result().id == second.result().id
        assert len(again.sent("POST", DEPLOY)) == 1
        assert len(again.deployed()) == 1


def test_somebody_elses_deployment_is_waited_for_first(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    provider.post(f"{ENDPOINT}{DEPLOY}", foreign_deployment(model.id))
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.engine.wait_for("waiting for a deployment under way on the endpoint")
    provider.finish(call.done)
    mine = call.result().outputs["deployedModelId"]
    assert sorted(provider.deployed()) == sorted(["5", mine])


def test_a_wait_for_somebody_elses_deployment_that_ends_leaves_it_alone(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    provider.post(f"{ENDPOINT}{DEPLOY}", foreign_deployment(model.id))
    with pytest.raises(Refused, match="It is not this stack's, and goes on") as refused:
        provider.create("Deployment", deployment(model.id, deployRequestTimeoutSeconds=1))
    assert refused.value.partial is None  # nothing of this stack exists, so a destroy has nothing to end
    assert provider.sent("POST", ":cancel") == []


def test_a_lost_answer_is_not_deployed_again(provider: Harness, model: Existing) -> None:
    provider.admin.fault(DEPLOY, reset="after")
    provider.create("Deployment", deployment(model.id))
    assert len(provider.deployed()) == 1
    assert len(provider.sent("POST", DEPLOY)) == 1
    assert not provider.admin.unmet_faults()


def test_a_lost_answer_to_a_running_deployment_is_found_again(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    manual.admin.fault(DEPLOY, reset="after")
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.engine.wait_for("10 min)")
    provider.finish(call.done)
    assert call.result().outputs["deployedModelId"] in provider.deployed()
    assert len(provider.sent("POST", DEPLOY)) == 1


def test_no_answer_at_all_is_saved_because_it_may_bill(provider: Harness, model: Existing) -> None:
    provider.admin.fault(DEPLOY, reset="before", times=9)
    with pytest.raises(Refused, match="it may be under way, and bill") as refused:
        provider.create("Deployment", deployment(model.id))
    assert refused.value.id.startswith(f"{FULL_ENDPOINT}/deployedModels/")
    provider.admin.call("DELETE", "faults")
    saved = Existing(refused.value.id, refused.value.state, {})
    done = provider.update("Deployment", saved, deployment(model.id))
    assert provider.deployed() == [done.outputs["deployedModelId"]]


def test_ctrl_c_stops_within_a_second_and_the_next_up_goes_on(manual: LocalCloud, model: Existing) -> None:
    with provider_on(manual) as first:
        call = first.meanwhile(lambda: first.create("Deployment", deployment(model.id)))
        first.engine.wait_for("(deploying")
        manual.admin.advance(stages=1)
        first.engine.wait_for("STARTING_DEPLOYMENT")
        manual.admin.advance(stages=1)
        first.engine.wait_for("PREPARING_MODEL")
        begun = time.monotonic()
        first.cancel()
        with pytest.raises(Refused) as refused:
            call.result(5)
        assert time.monotonic() - begun < 1
    text = refused.value.text
    assert "goes on at Google at stage PREPARING_MODEL, " in text
    assert "but you interrupted the wait" in text
    assert "Run `pulumi up` again to go on waiting, or `pulumi destroy` to end it." in text
    operation = refused.value.state["operation"]
    assert operation.startswith(f"{FULL_ENDPOINT}/operations/")
    assert refused.value.state["machineSpec"] == MACHINE
    with provider_on(manual) as second:
        saved = Existing(
            refused.value.id, refused.value.state, second.checked("Deployment", deployment(model.id))
        )
        with pytest.raises(Refused, match="is not there yet: its deployment goes on at Google") as unfinished:
            second.read("Deployment", saved.id, saved)
        assert unfinished.value.id == saved.id
        assert unfinished.value.state["operation"] == operation
        call = second.meanwhile(lambda: second.update("Deployment", saved, deployment(model.id)))
        second.engine.wait_for("(deploying")
        second.finish(call.done)
        assert call.result().outputs["operation"] is None
        assert second.deployed() == [saved.id.rpartition("/")[2]]
        assert len(second.sent("POST", DEPLOY)) == 1


def test_the_limit_of_the_stack_file_ends_the_wait(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, deployRequestTimeoutSeconds=1))
    assert "but the wait of 1s is over." in refused.value.text
    assert "To wait longer, raise deploy_request_timeout (now 1 s) in the stack file." in refused.value.text
    assert refused.value.state["operation"]


def test_custom_timeouts_come_first(manual: LocalCloud, provider: Harness, model: Existing) -> None:
    with pytest.raises(Refused, match="the wait of 1s is over"):
        provider.create("Deployment", deployment(model.id), timeout=1)


def test_a_deployment_that_failed_meanwhile_is_tried_again(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    manual.admin.fault(
        DEPLOY, operationError={"code": "UNAVAILABLE", "message": "Machine type temporarily unavailable."}
    )
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, deployRequestTimeoutSeconds=1))
    saved = Existing(refused.value.id, refused.value.state, {})
    provider.finish(lambda: provider.get(saved.outputs["operation"]).get("done", False))
    gone = provider.read("Deployment", saved.id, saved)
    assert gone is None
    call = provider.meanwhile(lambda: provider.update("Deployment", saved, deployment(model.id)))
    provider.finish(call.done)
    assert provider.deployed() == [call.result().outputs["deployedModelId"]]


def test_an_unready_deployment_can_be_destroyed(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, deployRequestTimeoutSeconds=1))
    saved = Existing(refused.value.id, refused.value.state, {})
    with provider_on(manual) as destroy:
        call = destroy.meanwhile(lambda: destroy.delete("Deployment", saved))
        destroy.finish(call.done)
        call.result()
    assert provider.deployed() == []


def test_destroy_waits_for_what_cannot_be_cancelled(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, deployRequestTimeoutSeconds=1))
    saved = Existing(refused.value.id, refused.value.state, {})
    manual.admin.fault(":cancel", status={"code": "UNIMPLEMENTED", "message": "no"}, times=9)
    with provider_on(manual) as destroy:
        call = destroy.meanwhile(lambda: destroy.delete("Deployment", saved))
        destroy.engine.wait_for("waiting for the deployment under way to end, then undeploying")
        destroy.finish(call.done)
        call.result()
    assert provider.deployed() == []
    assert len(provider.sent("POST", UNDEPLOY)) == 1


def test_other_hardware_under_our_id_is_refused(
    cloud: LocalCloud, provider: Harness, model: Existing
) -> None:
    from infra.provider.deployed import plan_of

    id = plan_of(provider.checked("Deployment", deployment(model.id))).id
    foreign = {
        "id": id,
        "model": model.id,
        "displayName": "llama",
        "dedicatedResources": {
            "machineSpec": {**MACHINE, "machineType": "g2-standard-16"},
            "minReplicaCount": 1,
        },
    }
    provider.post(f"{ENDPOINT}{DEPLOY}", {"deployedModel": foreign, "trafficSplit": {"0": 100}})
    until(lambda: bool(provider.deployed()))
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    assert refused.value.text == (
        f"Endpoint 123456 has another deployed model with the id {id}: "
        "machineSpec.machineType is 'g2-standard-16' there and 'g2-standard-12' here.\n"
        f"  If nothing needs it, run `gcloud ai endpoints undeploy-model 123456 --deployed-model-id {id} "
        "--region us-central1 --project local-project`, then `pulumi up`."
    )


def test_a_missing_endpoint_is_explained(provider: Harness, model: Existing) -> None:
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, endpoint="999"))
    assert refused.value.text == (
        "There is no endpoint projects/local-project/locations/us-central1/endpoints/999.\n"
        "  Run `pulumi refresh`, so that `pulumi up` makes it again, or correct the deployment's endpoint."
    )
