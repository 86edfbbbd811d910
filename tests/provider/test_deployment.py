"""The resource Deployment on the local cloud: its whole life, and what a crash leaves behind."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.cloud.testing import REGION, LocalCloud
from tests.provider.harness import Existing, Harness, Refused, provider_on, until
from tests.provider.samples import CONTAINER, ENDPOINT, MACHINE, MODEL, NUMBER, PARENT, deployment

L4_QUOTA = "CustomModelServingL4GPUsPerProjectPerRegion"
DEPLOY, UNDEPLOY, MUTATE = ":deployModel", ":undeployModel", ":mutateDeployedModel"
FULL_ENDPOINT = ENDPOINT.replace("local-project", "123456789012")


@pytest.fixture
def served(provider: Harness, model: Existing) -> Existing:
    """A deployed model."""
    return provider.create("Deployment", deployment(model.id))


@pytest.fixture
def manual(cloud: LocalCloud, provider: Harness, model: Existing) -> Iterator[LocalCloud]:
    """The cloud with operations that wait to be let go on; the model is uploaded already."""
    assert provider.cloud is cloud
    assert model.id
    cloud.admin.timing(mode="manual")
    yield cloud
    cloud.admin.timing(mode="immediate")


def other_model(provider: Harness) -> Existing:
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--enforce-eager"]}
    return provider.create("Model", {**MODEL, "containerSpec": spec})


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
    assert served.outputs["dedicatedEndpointDns"] is None
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
    summary = provider.texts("INFO")[-1]
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
    foreign = {
        "id": "5",
        "model": model.id,
        "displayName": "x",
        "dedicatedResources": {"machineSpec": MACHINE, "minReplicaCount": 1},
    }
    provider.post(f"{ENDPOINT}{DEPLOY}", {"deployedModel": foreign, "trafficSplit": {"0": 100}})
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.engine.wait_for("waiting for a deployment under way on the endpoint")
    provider.finish(call.done)
    mine = call.result().outputs["deployedModelId"]
    assert sorted(provider.deployed()) == sorted(["5", mine])


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
        read = second.read("Deployment", saved.id, saved)
        assert read is not None
        assert read.outputs["operation"] == operation
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


# Failures


def test_quota_is_conclusive_and_named(provider: Harness, model: Existing) -> None:
    provider.admin.quota(L4_QUOTA, REGION, 0)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    text = refused.value.text
    assert text.startswith(
        f"Vertex AI could not deploy model {model.outputs['modelId']} on endpoint 123456: the quota is too small."
    )
    assert f"Google's answer: RESOURCE_EXHAUSTED: The following quotas are exceeded: {L4_QUOTA}" in text
    assert f"Ask for more of {L4_QUOTA} in us-central1: It takes 1 NVIDIA_L4 in us-central1." in text
    assert "https://console.cloud.google.com/iam-admin/quotas?project=local-project" in text
    assert text.endswith("Nothing of it is deployed.")
    assert refused.value.partial is None
    assert len(provider.sent("POST", DEPLOY)) == 1
    provider.admin.quota(L4_QUOTA, REGION, None)


def test_a_stock_out_is_tried_three_times(provider: Harness, model: Existing) -> None:
    provider.admin.stock(REGION, "NVIDIA_L4", 0)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    provider.admin.stock(REGION, "NVIDIA_L4", None)
    text = refused.value.text
    assert "the region has no such machine free at present" in text
    assert (
        "1 x g2-standard-12 with 1 x NVIDIA_L4 each cannot be had in us-central1 now: run `pulumi up` again later"
        in text
    )
    assert len(provider.sent("POST", DEPLOY)) == 3
    assert any("trying again in" in text for text in provider.texts("INFO", ephemeral=True))


def test_a_stock_out_that_passes_is_forgotten(provider: Harness, model: Existing) -> None:
    message = "Machine type temporarily unavailable, please deploy with a different machine type or retry."
    provider.admin.fault(DEPLOY, operationError={"code": "UNAVAILABLE", "message": message})
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100


def test_an_internal_error_is_tried_again(provider: Harness, model: Existing) -> None:
    provider.admin.fault(
        DEPLOY, operationError={"code": "INTERNAL", "message": "Internal error occurred."}, times=2
    )
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
    assert len(provider.sent("POST", DEPLOY)) == 3


def test_a_container_that_fails_is_shown_with_its_log(provider: Harness) -> None:
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--no-such-flag=1"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(bad.id))
    text = refused.value.text
    assert "on endpoint 123456: the container did not start." in text
    assert "Google's answer: FAILED_PRECONDITION: Model server exited unexpectedly." in text
    assert "after the start (operation projects/" in text
    assert "The container's last lines:" in text
    assert "error: unrecognized arguments: --no-such-flag=1" in text
    assert "The image's vLLM does not know --no-such-flag=1: take it out of vllm.extra_args" in text
    assert len(provider.sent("POST", DEPLOY)) == 1
    assert provider.deployed() == []


def test_the_last_stage_of_a_failure_is_told(manual: LocalCloud, provider: Harness, model: Existing) -> None:
    error = {
        "code": "FAILED_PRECONDITION",
        "message": "Model server exited unexpectedly.",
        "stage": "STARTING_MODEL_SERVER",
    }
    manual.admin.fault(DEPLOY, operationError=error)
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    while not call.done():
        manual.admin.advance(stages=1)
        time.sleep(0.1)
    with pytest.raises(Refused, match=r"Last stage: [A-Z_]+, \d+s after the start") as refused:
        call.result()
    assert (
        "The container's log: gcloud logging read 'resource.type=\"aiplatform.googleapis.com/Endpoint\" AND "
        'resource.labels.endpoint_id="123456" AND labels.deployed_model_id="'
    ) in refused.value.text


def test_a_repeated_failure_shows_its_own_lines_only(provider: Harness) -> None:
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--no-such-flag=1"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            provider.create("Deployment", deployment(bad.id))
        lines = [line for line in refused.value.text.splitlines() if line.startswith("    | ")]
        assert lines[0] == "    | error usage: api_server.py [-h] [--allow-credentials]"
        assert re.fullmatch(r"    \| \.\.\. \(\d+ more lines of usage\)", lines[1])
        assert lines[2:] == ["    | error api_server.py: error: unrecognized arguments: --no-such-flag=1"]


def test_a_gated_model_without_token_is_diagnosed(provider: Harness) -> None:
    gated = provider.create("Model", {key: value for key, value in MODEL.items() if key != "hfToken"})
    with pytest.raises(
        Refused, match="accept the model's licence there, then run `pulumi config set --secret"
    ) as refused:
        provider.create("Deployment", deployment(gated.id))
    assert "The container's last lines:" in refused.value.text


def test_a_failed_replacement_leaves_the_old_one_serving(provider: Harness, served: Existing) -> None:
    spec = {**CONTAINER, "args": ["--no-such-flag"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(bad.id))
    old = served.outputs["deployedModelId"]
    assert refused.value.text.endswith(f"Nothing of it is deployed. Deployed model {old} goes on serving.")
    assert provider.endpoint()["trafficSplit"] == {old: 100}


def test_a_refused_service_account_is_explained(provider: Harness, model: Existing) -> None:
    message = "You do not have permission to act as service account: a@b.c. (or it may not exist)."
    provider.admin.fault(DEPLOY, status={"code": "PERMISSION_DENIED", "message": message}, times=3)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, serviceAccount="a@b.c"))
    assert "Grant yourself roles/iam.serviceAccountUser on a@b.c" in refused.value.text
    assert len(provider.sent("POST", DEPLOY)) == 3


def test_expired_credentials_are_explained(provider: Harness, model: Existing) -> None:
    provider.admin.fault(
        "/endpoints/", status={"code": "UNAUTHENTICATED", "message": "Request had invalid credentials."}
    )
    with pytest.raises(Refused, match="Run `gcloud auth application-default login`"):
        provider.create("Deployment", deployment(model.id))


def test_reading_survives_an_outage(provider: Harness, model: Existing) -> None:
    provider.admin.fault(
        "/endpoints/",
        method="GET",
        times=4,
        status={"code": "UNAVAILABLE", "message": "The service is currently unavailable."},
    )
    provider.admin.fault("/operations/", method="GET", times=2, reset="before")
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100


# Change in place


@pytest.mark.parametrize(
    ("changes", "replaces", "diffs"),
    [
        ({}, [], []),
        ({"deployRequestTimeoutSeconds": 60}, [], []),
        ({"endpoint": "123456"}, [], []),
        ({"spot": False, "autoscalingMetricSpecs": [], "serviceAccount": None}, [], []),
        ({"maxReplicaCount": 3}, [], ["maxReplicaCount"]),
        ({"minReplicaCount": 2, "maxReplicaCount": 3}, [], ["maxReplicaCount", "minReplicaCount"]),
        ({"spot": True}, ["spot"], ["spot"]),
        ({"displayName": "x"}, ["displayName"], ["displayName"]),
        ({"serviceAccount": "a@b.c"}, ["serviceAccount"], ["serviceAccount"]),
        ({"machineSpec": {"machineType": "n1-standard-4"}}, ["machineSpec"], ["machineSpec"]),
        ({"endpoint": "7"}, ["endpoint"], ["endpoint"]),
        ({"model": f"{PARENT}/models/other", "maxReplicaCount": 2}, ["model"], ["maxReplicaCount", "model"]),
    ],
)
def test_diff(provider: Harness, changes: dict[str, Any], replaces: list[str], diffs: list[str]) -> None:
    inputs = provider.checked("Deployment", deployment(f"{PARENT}/models/m"))
    old = Existing(f"{FULL_ENDPOINT}/deployedModels/1", dict(inputs), inputs)
    answer = provider.diff("Deployment", old, {**deployment(f"{PARENT}/models/m"), **changes})
    assert list(answer.replaces) == replaces
    assert list(answer.diffs) == diffs
    assert (answer.changes == answer.DIFF_SOME) is bool(diffs)
    assert not answer.deleteBeforeReplace


METRIC = {"metricName": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle", "target": 70}


@pytest.mark.parametrize(
    ("changes", "mask"),
    [
        ({"maxReplicaCount": 3}, ["max_replica_count"]),
        ({"minReplicaCount": 2, "maxReplicaCount": 2}, ["min_replica_count", "max_replica_count"]),
        (
            {"maxReplicaCount": 2, "autoscalingMetricSpecs": [METRIC]},
            ["max_replica_count", "autoscaling_metric_specs"],
        ),
    ],
)
def test_replicas_change_in_place(
    provider: Harness,
    served: Existing,
    model: Existing,
    changes: dict[str, Any],
    mask: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from infra.provider.vertex import Vertex

    masks: list[list[str]] = []
    mutate = Vertex.mutate_deployed_model

    def recording(self: Vertex, endpoint: str, body: dict[str, Any], fields: list[str]) -> dict[str, Any]:
        masks.append(fields)
        return mutate(self, endpoint, body, fields)

    monkeypatch.setattr(Vertex, "mutate_deployed_model", recording)
    updated = provider.update("Deployment", served, deployment(model.id, **changes))
    assert updated.outputs["deployedModelId"] == served.outputs["deployedModelId"]
    resources = provider.endpoint()["deployedModels"][0]["dedicatedResources"]
    for key, value in changes.items():
        assert resources[key] == updated.outputs[key] == value
    assert masks == [[f"dedicated_resources.{field}" for field in mask]]
    assert len(provider.sent("POST", DEPLOY)) == 1


def test_nothing_to_change_sends_nothing(provider: Harness, served: Existing, model: Existing) -> None:
    provider.update("Deployment", served, deployment(model.id, deployRequestTimeoutSeconds=60))
    assert not provider.sent("POST", MUTATE)


def test_a_busy_endpoint_is_waited_for(provider: Harness, served: Existing, model: Existing) -> None:
    message = "There are other operations running on the Endpoint."
    provider.admin.fault(MUTATE, status={"code": "FAILED_PRECONDITION", "message": message}, times=3)
    updated = provider.update("Deployment", served, deployment(model.id, maxReplicaCount=2))
    assert updated.outputs["maxReplicaCount"] == 2
    assert len(provider.sent("POST", MUTATE)) == 4


def test_an_interrupted_change_is_continued(
    manual: LocalCloud, cloud: LocalCloud, provider: Harness, model: Existing
) -> None:
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.engine.wait_for("(deploying")
    provider.finish(call.done)
    served = call.result()
    with provider_on(cloud) as first:
        call = first.meanwhile(
            lambda: first.update("Deployment", served, deployment(model.id, maxReplicaCount=2))
        )
        first.engine.wait_for("changing replicas")
        first.cancel()
        with pytest.raises(Refused) as refused:
            call.result(5)
        assert refused.value.id == served.id
    assert refused.value.text.startswith(
        f"The change of deployed model {served.outputs['deployedModelId']} on endpoint 123456 to 1 to 2 replicas "
        "goes on at Google, "
    )
    assert (
        " after it began, but you interrupted the wait.\n"
        "  The model serves meanwhile. Run `pulumi up` again to go on waiting.\n"
    ) in refused.value.text
    with provider_on(cloud) as second:
        saved = Existing(served.id, refused.value.state, {})
        call = second.meanwhile(
            lambda: second.update("Deployment", saved, deployment(model.id, maxReplicaCount=2))
        )
        second.engine.wait_for("changing replicas")
        assert len(second.sent("POST", MUTATE)) == 1
        second.cancel()
        with pytest.raises(Refused, match="The change of deployed model"):
            call.result(5)
    manual.admin.timing(mode="immediate")
    manual.admin.advance()
    with provider_on(cloud) as second:
        saved = Existing(served.id, refused.value.state, {})
        done = second.update("Deployment", saved, deployment(model.id, maxReplicaCount=2))
        assert done.outputs["operation"] is None
        assert second.endpoint()["deployedModels"][0]["dedicatedResources"]["maxReplicaCount"] == 2
        assert len(second.sent("POST", MUTATE)) == 1


# Read


def test_refresh_without_drift_changes_nothing(provider: Harness, served: Existing) -> None:
    read = provider.read("Deployment", served.id, served)
    assert read == Existing(served.id, served.outputs, served.inputs)
    answer = provider.diff("Deployment", read, served.inputs)
    assert answer.changes == answer.DIFF_NONE


def test_refresh_finds_changed_replicas(provider: Harness, served: Existing, model: Existing) -> None:
    body = {
        "deployedModel": {
            "id": served.outputs["deployedModelId"],
            "dedicatedResources": {"machineSpec": MACHINE, "minReplicaCount": 1, "maxReplicaCount": 4},
        },
        "updateMask": "dedicatedResources.maxReplicaCount",
    }
    provider.post(f"{ENDPOINT}{MUTATE}", body)
    read = provider.read("Deployment", served.id, served)
    assert read is not None
    assert read.inputs["maxReplicaCount"] == read.outputs["maxReplicaCount"] == 4
    answer = provider.diff("Deployment", read, deployment(model.id))
    assert list(answer.diffs) == ["maxReplicaCount"]
    assert not answer.replaces


def test_refresh_finds_an_undeployed_model(provider: Harness, served: Existing) -> None:
    provider.post(f"{ENDPOINT}{UNDEPLOY}", {"deployedModelId": served.outputs["deployedModelId"]})
    assert provider.read("Deployment", served.id, served) is None


def test_refresh_notes_a_model_without_traffic(provider: Harness, served: Existing) -> None:
    other = provider.create("Deployment", deployment(other_model(provider).id))
    read = provider.read("Deployment", served.id, served)
    assert read is not None
    assert read.outputs["traffic"] == 0
    (warning,) = provider.texts("WARNING")
    assert warning == (
        f"Deployed model {served.outputs['deployedModelId']} gets no traffic (0 %) but bills its machines: "
        f"endpoint 123456 sends its requests to {other.outputs['deployedModelId']}."
    )


def test_an_import_agrees_with_the_program(provider: Harness, served: Existing, model: Existing) -> None:
    imported = provider.read("Deployment", served.id.replace("123456789012", "local-project"))
    assert imported is not None
    assert imported.outputs["deployedModelId"] == served.outputs["deployedModelId"]
    answer = provider.diff("Deployment", imported, deployment(model.id))
    assert answer.changes == answer.DIFF_NONE


@pytest.mark.parametrize(
    ("environment", "project"), [(None, NUMBER), ("local-project", "local-project"), ("elsewhere", NUMBER)]
)
def test_an_import_by_the_projects_number_agrees_with_the_program(
    provider: Harness,
    served: Existing,
    model: Existing,
    monkeypatch: pytest.MonkeyPatch,
    environment: str | None,
    project: str,
) -> None:
    if environment:
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", environment)
    imported = provider.read("Deployment", served.id)
    assert imported is not None
    assert imported.id == served.id
    assert imported.inputs["project"] == project
    assert imported.inputs["endpoint"] == ENDPOINT.replace("local-project", project)
    answer = provider.diff("Deployment", imported, deployment(model.id))
    assert answer.changes == answer.DIFF_NONE
    elsewhere = provider.diff("Deployment", imported, deployment(model.id, project="999", endpoint="123456"))
    assert "project" in elsewhere.replaces


def test_an_imported_deployment_has_googles_name(provider: Harness, served: Existing) -> None:
    imported = provider.read("Deployment", served.id.replace(NUMBER, "local-project"))
    assert imported is not None
    assert imported.id == served.id


def test_a_wrong_import_id_is_explained(provider: Harness) -> None:
    with pytest.raises(Refused, match="'endpoints/1' is not the id of a deployment"):
        provider.read("Deployment", "endpoints/1")


# Delete


def test_the_last_one_is_undeployed_without_a_split(cloud: LocalCloud, served: Existing) -> None:
    with provider_on(cloud) as other:
        other.delete("Deployment", served)
        assert other.deployed() == []
        (request,) = other.sent("POST", UNDEPLOY)
        assert "trafficSplit" not in str(request)
        other.delete("Deployment", served)
        assert len(other.sent("POST", UNDEPLOY)) == 1


def test_traffic_moves_to_the_others_first(cloud: LocalCloud, provider: Harness, served: Existing) -> None:
    other = provider.create("Deployment", deployment(other_model(provider).id))
    mine, theirs = served.outputs["deployedModelId"], other.outputs["deployedModelId"]
    provider.patch(ENDPOINT, "trafficSplit", {"trafficSplit": {mine: 60, theirs: 40}})
    with provider_on(cloud) as again:
        again.delete("Deployment", served)
        endpoint = again.endpoint()
        assert [each["id"] for each in endpoint["deployedModels"]] == [theirs]
        assert endpoint["trafficSplit"] == {theirs: 100}


def test_a_model_without_traffic_is_undeployed_as_it_is(
    cloud: LocalCloud, provider: Harness, served: Existing
) -> None:
    other = provider.create("Deployment", deployment(other_model(provider).id))
    with provider_on(cloud) as again:
        again.delete("Deployment", served)
        assert again.endpoint()["trafficSplit"] == {other.outputs["deployedModelId"]: 100}


def test_an_endpoint_that_is_gone_needs_no_undeployment(provider: Harness, served: Existing) -> None:
    gone = Existing(served.id.replace("/123456/", "/999/"), served.outputs, served.inputs)
    provider.delete("Deployment", gone)
    assert not provider.sent("POST", UNDEPLOY)


def test_a_busy_endpoint_delays_the_undeployment(cloud: LocalCloud, served: Existing) -> None:
    message = "There are other operations running on the Endpoint."
    cloud.admin.fault(UNDEPLOY, status={"code": "FAILED_PRECONDITION", "message": message}, times=2)
    with provider_on(cloud) as other:
        other.delete("Deployment", served)
        assert other.deployed() == []


def test_a_lost_answer_to_the_undeployment_is_fine(cloud: LocalCloud, served: Existing) -> None:
    cloud.admin.fault(UNDEPLOY, reset="after")
    with provider_on(cloud) as other:
        other.delete("Deployment", served)
        assert other.deployed() == []


def test_a_forced_replacement_by_itself_does_not_undeploy(
    provider: Harness, served: Existing, model: Existing
) -> None:
    assert provider.create("Deployment", deployment(model.id)).id == served.id
    provider.delete("Deployment", served)
    assert provider.deployed() == [served.outputs["deployedModelId"]]


def test_what_a_later_run_still_has_is_not_undeployed(
    cloud: LocalCloud, served: Existing, model: Existing
) -> None:
    id = served.outputs["deployedModelId"]
    with provider_on(cloud) as up:
        assert up.diff("Deployment", served, deployment(model.id, maxReplicaCount=2)).changes
        up.delete("Deployment", served)
        assert up.deployed() == [id]
        (told,) = up.texts("INFO")
        assert (
            told == f"{served.id} stays: what was to be undeployed is in use again, its content is the same."
        )
    with provider_on(cloud) as up:
        assert up.diff("Deployment", served, deployment(model.id, spot=True)).replaces
        up.delete("Deployment", served)
        assert up.deployed() == []


def test_an_interrupted_undeployment_can_be_repeated(
    manual: LocalCloud, cloud: LocalCloud, provider: Harness, model: Existing
) -> None:
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.finish(call.done)
    served = call.result()
    with provider_on(cloud) as first:
        call = first.meanwhile(lambda: first.delete("Deployment", served))
        first.engine.wait_for("(undeploying")
        first.cancel()
        with pytest.raises(Refused, match="is still there, and may bill: you interrupted the wait"):
            call.result(5)
    with provider_on(cloud) as second:
        call = second.meanwhile(lambda: second.delete("Deployment", served))
        second.finish(call.done)
        call.result()
        assert second.deployed() == []
