"""The resource Deployment on the local cloud: changed in place, read, imported, deleted."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from tests.provider.harness import Existing, Harness, Refused, other_model, provider_on
from tests.provider.samples import (
    DEPLOY,
    ENDPOINT,
    FULL_ENDPOINT,
    MACHINE,
    MUTATE,
    NUMBER,
    PARENT,
    UNDEPLOY,
    deployment,
)

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
        ({"displayName": "x"}, [], []),
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


def test_an_operation_in_the_state_is_a_difference(provider: Harness) -> None:
    """A refresh takes the engine's own mark of an unfinished resource away: up would never look at it again."""
    inputs = provider.checked("Deployment", deployment(f"{PARENT}/models/m"))
    old = Existing(
        f"{FULL_ENDPOINT}/deployedModels/1", {**inputs, "operation": f"{FULL_ENDPOINT}/operations/1"}, inputs
    )
    answer = provider.diff("Deployment", old, deployment(f"{PARENT}/models/m"))
    assert (answer.changes == answer.DIFF_SOME, list(answer.replaces)) == (True, [])


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


def test_another_undeployment_at_the_same_time_moves_the_traffic(cloud: LocalCloud, served: Existing) -> None:
    """A destroy after a change that was cut off undeploys both; each sees a split that the other one changes."""
    message = (
        "DeployedModel 1 of Endpoint `e` has 100% of the traffic. Assign its traffic to other DeployedModels."
    )
    cloud.admin.fault(UNDEPLOY, status={"code": "FAILED_PRECONDITION", "message": message})
    with provider_on(cloud) as other:
        other.delete("Deployment", served)
        assert other.deployed() == []
    assert not cloud.admin.unmet_faults()


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
