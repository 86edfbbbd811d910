"""Deployments: stages, quota, stock, failures, adoption, mutation, container logs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .double import Double
from .helpers import FULL, L4, Json, Vertex

L4_QUOTA = "CustomModelServingL4GPUsPerProjectPerRegion"
CPU_QUOTA = "CustomModelServingCPUsPerProjectPerRegion"
SPOT_QUOTA = "CustomModelServingPreemptibleL4GPUsPerProjectPerRegion"
DEPLOY = "endpoints/ep1:deployModel"


def failed(vertex: Vertex, body: Json, path: str = DEPLOY) -> Json:
    """The error of a deployment that must fail in its operation."""
    operation = vertex.wait(vertex.ok("POST", path, body))
    assert operation["metadata"]["deploymentStage"] == "FAILED_TO_DEPLOY"
    assert "response" not in operation
    error: Json = operation["error"]
    return error


def logs(vertex: Vertex) -> list[Json]:
    body = {
        "resourceNames": ["projects/local-project"],
        "filter": 'resource.type="aiplatform.googleapis.com/Endpoint"',
    }
    answer = vertex.http.post("/v2/entries:list", json=body)
    assert answer.status_code == 200, answer.text
    entries: list[Json] = answer.json().get("entries", [])
    return entries


@pytest.fixture
def ready(vertex: Vertex) -> Vertex:
    """A model and an endpoint."""
    vertex.upload()
    vertex.endpoint()
    return vertex


def test_stages_pass_one_by_one_and_the_model_shows_at_the_end(ready: Vertex) -> None:
    ready.cloud.admin.timing(mode="manual")
    operation = ready.ok("POST", DEPLOY, ready.deployment())
    assert operation["metadata"]["@type"].endswith(".v1.DeployModelOperationMetadata")
    assert "done" not in operation
    seen: list[str] = []
    for _ in range(20):
        ready.cloud.admin.advance(operation["name"], 1)
        operation = ready.ok("POST", f"/v1/{operation['name']}:wait", {}, timeout="0.05s")
        stage = operation["metadata"].get("deploymentStage")
        if stage not in [None, *seen[-1:]]:
            seen.append(stage)
        if operation.get("done"):
            break
        endpoint = ready.ok("GET", "endpoints/ep1")
        assert "deployedModels" not in endpoint
        in_flight = ready.ok("GET", "endpoints/ep1", allDeploymentStates="true")
        assert [(each["id"], each["state"]) for each in in_flight["deployedModels"]] == [
            ("1", "BEING_DEPLOYED")
        ]
    assert seen == [
        "STARTING_DEPLOYMENT",
        "PREPARING_MODEL",
        "CREATING_SERVING_CLUSTER",
        "ADDING_NODES_TO_CLUSTER",
        "GETTING_CONTAINER_IMAGE",
        "STARTING_MODEL_SERVER",
        "FINISHING_UP",
        "SUCCESSFULLY_DEPLOYED",
    ]
    assert operation["response"]["deployedModel"]["id"] == "1"


def test_what_the_container_is_given(ready: Vertex) -> None:
    ready.deploy(displayName="shown")
    (request,) = Double.made
    assert request.args[-1] == "--port=8080"
    assert (request.machine_type, request.accelerator_type, request.accelerator_count) == (
        "g2-standard-12",
        "NVIDIA_L4",
        1,
    )
    assert request.shared_memory_size_mb == 16384
    assert request.env["MODEL_ID"] == "x"
    aip = {key: value for key, value in request.env.items() if key.startswith("AIP_")}
    assert aip == {
        "AIP_ACCELERATOR_TYPE": "NVIDIA_L4",
        "AIP_DEPLOYED_MODEL_ID": "1",
        "AIP_ENDPOINT_ID": "ep1",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_HEALTH_ROUTE": "/ping",
        "AIP_HTTP_PORT": "8080",
        "AIP_MACHINE_TYPE": "g2-standard-12",
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_MODEL_NAME": "m1",
        "AIP_PREDICT_ROUTE": "/generate",
        "AIP_PROJECT_NUMBER": "123456789012",
        "AIP_STORAGE_URI": "",
        "AIP_VERSION_NAME": "1",
    }


def test_container_lines_are_in_cloud_logging(ready: Vertex) -> None:
    ready.deploy()
    (entry,) = logs(ready)
    assert entry["textPayload"] == "Application startup complete."
    assert entry["logName"] == "projects/local-project/logs/aiplatform.googleapis.com%2Fprediction_container"
    assert entry["resource"]["labels"]["endpoint_id"] == "ep1"
    assert entry["resource"]["labels"]["location"] == "us-central1"
    assert entry["labels"]["deployed_model_id"] == "1"


@pytest.mark.parametrize(
    ("version", "fields", "lines"),
    [
        ("v1", {}, 1),
        ("v1", {"disableContainerLogging": True}, 0),
        ("v1beta1", {}, 0),
        ("v1beta1", {"enableContainerLogging": True}, 1),
    ],
)
def test_container_logging_is_on_in_v1_and_off_in_v1beta1(
    ready: Vertex, version: str, fields: dict[str, Any], lines: int
) -> None:
    path = f"/{version}/{FULL}/{DEPLOY}"
    assert "error" not in ready.wait(ready.ok("POST", path, ready.deployment(**fields)))
    assert len(logs(ready)) == lines


def test_a_container_that_exits(vertex: Vertex) -> None:
    vertex.upload(START="exit")
    vertex.endpoint()
    error = failed(vertex, vertex.deployment())
    assert error["code"] == 9
    start = "Model server exited unexpectedly. Model server logs can be found at https://console.cloud.google.com/logs/"
    assert error["message"].startswith(start)
    assert "project=123456789012" in error["message"]
    (line,) = logs(vertex)
    assert (line["severity"], line["labels"]["deployed_model_id"]) == ("ERROR", "1")
    assert "unrecognized arguments" in line["textPayload"]
    assert "deployedModels" not in vertex.ok("GET", "endpoints/ep1", allDeploymentStates="true")
    vertex.done("DELETE", "endpoints/ep1")
    vertex.done("DELETE", "models/m1")


def test_a_container_that_never_gets_ready(vertex: Vertex) -> None:
    body = {"modelId": "m1", "model": {"displayName": "m", "containerSpec": {"imageUri": "gcr.io/p/i"}}}
    body["model"]["containerSpec"] |= {  # type: ignore[index]
        "deploymentTimeout": "0.05s",
        "env": [{"name": "START", "value": "hang"}],
    }
    vertex.done("POST", "models:upload", body)
    vertex.endpoint()
    error = failed(vertex, vertex.deployment())
    assert error["code"] == 9
    assert "Model server never became ready" in error["message"]


def test_quotas_are_charged_by_the_largest_number_of_replicas(ready: Vertex) -> None:
    ready.cloud.admin.quota(L4_QUOTA, "us-central1", 3)
    error = failed(ready, ready.deployment(dedicatedResources={"minReplicaCount": 1, "maxReplicaCount": 4}))
    assert (error["code"], error["message"]) == (8, f"The following quotas are exceeded: {L4_QUOTA}")
    ready.deploy(dedicatedResources={"maxReplicaCount": 2})
    assert failed(ready, ready.deployment("2", dedicatedResources={"maxReplicaCount": 2}))["code"] == 8
    ready.deploy(deployed_id="3")
    ready.done("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1", "trafficSplit": {"3": 100}})
    ready.deploy(deployed_id="4")


def test_cpus_have_a_quota_too_and_spot_machines_have_their_own(ready: Vertex) -> None:
    ready.cloud.admin.quota(CPU_QUOTA, "us-central1", 11)
    assert failed(ready, ready.deployment())["message"] == f"The following quotas are exceeded: {CPU_QUOTA}"
    ready.cloud.admin.quota(L4_QUOTA, "us-central1", 0)
    both = f"The following quotas are exceeded: {L4_QUOTA}, {CPU_QUOTA}"
    assert failed(ready, ready.deployment())["message"] == both
    ready.deploy(dedicatedResources={"spot": True})
    ready.cloud.admin.quota(SPOT_QUOTA, "us-central1", 1)
    error = failed(ready, ready.deployment("2", dedicatedResources={"spot": True}))
    assert error["message"] == f"The following quotas are exceeded: {SPOT_QUOTA}"


def test_documented_defaults_count(ready: Vertex) -> None:
    machine = {"machineType": "a2-ultragpu-2g", "acceleratorType": "NVIDIA_A100_80GB", "acceleratorCount": 2}
    error = failed(ready, ready.deployment(dedicatedResources={"machineSpec": machine}))
    assert error["message"].endswith(": CustomModelServingA10080GBGPUsPerProjectPerRegion")


def test_a_region_that_is_out_of_machines(ready: Vertex) -> None:
    ready.cloud.admin.stock("us-central1", "g2-standard-12", 0)
    error = failed(ready, ready.deployment())
    text = (
        'Machine type temporarily unavailable. Machine type: "g2-standard-12". Accelerator type: "nvidia-l4".'
    )
    assert (error["code"], error["message"]) == (14, text)
    ready.cloud.admin.stock("us-central1", "g2-standard-12", 1)
    ready.deploy()
    assert failed(ready, ready.deployment("2"))["code"] == 14
    ready.done("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1"})
    ready.deploy(deployed_id="2")


def test_an_accelerator_that_the_region_lacks(vertex: Vertex) -> None:
    place = "/v1/projects/local-project/locations/europe-west9"
    vertex.upload()
    vertex.done("POST", f"{place}/endpoints", {"displayName": "x"}, endpointId="far")
    machine = {"machineType": "a3-highgpu-8g", "acceleratorType": "NVIDIA_H100_80GB", "acceleratorCount": 8}
    body = vertex.deployment(dedicatedResources={"machineSpec": machine})
    error = vertex.call("POST", f"{place}/endpoints/far:deployModel", body).json()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert 'Accelerator "NVIDIA_H100_80GB" is not supported in region "europe-west9"' in error["message"]
    assert "us-central1" in error["message"]


def test_two_deployments_of_one_id_and_of_two(ready: Vertex) -> None:
    ready.cloud.admin.timing(mode="manual")
    first = ready.ok("POST", DEPLOY, ready.deployment("7"))
    again = ready.call("POST", DEPLOY, ready.deployment("7"))
    assert again.status_code == 409
    assert again.json()["error"]["status"] == "ALREADY_EXISTS"
    assert first["name"] in again.json()["error"]["message"]
    ready.ok("POST", DEPLOY, ready.deployment("8"))
    refused = ready.call("DELETE", "endpoints/ep1").json()["error"]
    assert "has deployed or being-deployed DeployedModel(s) " in refused["message"]
    ready.cloud.admin.timing(mode="immediate")
    ready.wait(first)


def test_many_at_once_never_pass_the_quota(ready: Vertex) -> None:
    ready.cloud.admin.quota(L4_QUOTA, "us-central1", 3)
    with ThreadPoolExecutor(8) as pool:
        bodies = [ready.deployment(str(number)) for number in range(1, 9)]
        operations = list(pool.map(lambda body: ready.wait(ready.ok("POST", DEPLOY, body)), bodies))
    good = [each for each in operations if "response" in each]
    assert len(good) == 3
    assert {each["error"]["code"] for each in operations if "error" in each} == {8}
    assert len(ready.ok("GET", "endpoints/ep1")["deployedModels"]) == 3


def test_one_id_uploaded_by_many_is_made_once(vertex: Vertex) -> None:
    from .helpers import model

    with ThreadPoolExecutor(8) as pool:
        body = {"modelId": "same", "model": model()}
        answers = list(pool.map(lambda _: vertex.call("POST", "models:upload", body).status_code, range(8)))
    assert sorted(answers) == [200, *[409] * 7]


def test_a_cancelled_deployment_leaves_nothing(ready: Vertex) -> None:
    ready.cloud.admin.timing(mode="manual")
    ready.cloud.admin.stock("us-central1", "NVIDIA_L4", 1)
    operation = ready.ok("POST", DEPLOY, ready.deployment())
    ready.cloud.admin.advance(operation["name"], 5)
    ready.ok("POST", f"/v1/{operation['name']}:wait", {}, timeout="0.2s")
    assert ready.ok("POST", f"/v1/{operation['name']}:cancel", {}) == {}
    ended = ready.ok("GET", f"/v1/{operation['name']}")
    assert ended["done"] is True
    assert ended["error"]["code"] == 1
    ready.cloud.admin.timing(mode="immediate")
    ready.deploy()
    assert ready.ok("DELETE", f"/v1/{operation['name']}") == {}
    assert ready.call("GET", f"/v1/{operation['name']}").status_code == 404


def test_undeploying_what_is_being_deployed_ends_the_deployment(ready: Vertex) -> None:
    ready.cloud.admin.timing(mode="manual")
    operation = ready.ok("POST", DEPLOY, ready.deployment())
    undeployment = ready.ok("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1"})
    ready.cloud.admin.timing(mode="immediate")
    assert "error" not in ready.wait(undeployment)
    assert ready.wait(operation)["error"]["code"] == 1
    ready.done("DELETE", "endpoints/ep1")


def test_undeploying_with_traffic_is_refused_unless_it_is_the_last(ready: Vertex) -> None:
    ready.deploy()
    body = {**ready.deployment("2"), "trafficSplit": {"0": 40, "1": 60}}
    ready.done("POST", DEPLOY, body)
    error = ready.call("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1"}).json()["error"]
    assert error["status"] == "FAILED_PRECONDITION"
    assert "has 60% of the traffic" in error["message"]
    still = {"deployedModelId": "1", "trafficSplit": {"1": 10, "2": 90}}
    assert (
        "has 10% of the traffic"
        in ready.call("POST", "endpoints/ep1:undeployModel", still).json()["error"]["message"]
    )
    moved = {"deployedModelId": "1", "trafficSplit": {"2": 100}}
    ready.done("POST", "endpoints/ep1:undeployModel", moved)
    assert ready.ok("GET", "endpoints/ep1")["trafficSplit"] == {"2": 100}
    ready.done("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "2"})
    assert "trafficSplit" not in ready.ok("GET", "endpoints/ep1")


def test_an_empty_split_leaves_the_traffic_as_it_is(ready: Vertex) -> None:
    ready.deploy()
    body = ready.deployment("2")
    del body["trafficSplit"]
    ready.done("POST", DEPLOY, body)
    assert ready.ok("GET", "endpoints/ep1")["trafficSplit"] == {"1": 100}
    model = ready.ok("GET", "models/m1")
    assert model["deployedModels"] == [
        {"endpoint": f"{FULL}/endpoints/ep1", "deployedModelId": "1"},
        {"endpoint": f"{FULL}/endpoints/ep1", "deployedModelId": "2"},
    ]


def test_replicas_and_metrics_change_in_place(ready: Vertex) -> None:
    ready.deploy()
    metric = {
        "metricName": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
        "target": 70,
    }
    resources = {"minReplicaCount": 2, "maxReplicaCount": 3, "autoscalingMetricSpecs": [metric]}
    mask = ",".join(f"dedicated_resources.{name}" for name in ("min_replica_count", "max_replica_count"))
    request = {
        "deployedModel": {"id": "1", "dedicatedResources": resources},
        "updateMask": f"{mask},dedicatedResources.autoscalingMetricSpecs",
    }
    mutated = ready.done("POST", "endpoints/ep1:mutateDeployedModel", request)["deployedModel"]
    assert mutated["dedicatedResources"] == {"machineSpec": L4, **resources}
    assert mutated["status"]["availableReplicaCount"] == 2
    assert ready.ok("GET", "endpoints/ep1")["deployedModels"] == [mutated]
    assert len(Double.made) == 1


def test_growing_beyond_the_quota_fails_in_the_operation(ready: Vertex) -> None:
    ready.deploy()
    ready.cloud.admin.quota(L4_QUOTA, "us-central1", 2)
    request = {
        "deployedModel": {"id": "1", "dedicatedResources": {"minReplicaCount": 1, "maxReplicaCount": 3}},
        "updateMask": "dedicatedResources.maxReplicaCount",
    }
    operation = ready.wait(ready.ok("POST", "endpoints/ep1:mutateDeployedModel", request))
    assert operation["error"]["code"] == 8
    assert ready.ok("GET", "endpoints/ep1")["deployedModels"][0]["dedicatedResources"]["maxReplicaCount"] == 1
    request["deployedModel"]["dedicatedResources"]["maxReplicaCount"] = 2  # type: ignore[index]
    ready.done("POST", "endpoints/ep1:mutateDeployedModel", request)


def test_scale_to_zero_is_v1beta1(ready: Vertex) -> None:
    zero = {
        "machineSpec": L4,
        "initialReplicaCount": 1,
        "maxReplicaCount": 2,
        "scaleToZeroSpec": {"idleScaledownPeriod": "300s"},
    }
    body = {"deployedModel": {"id": "1", "model": f"{FULL}/models/m1", "dedicatedResources": zero}}
    name = ready.wait(ready.ok("POST", f"/v1beta1/{FULL}/{DEPLOY}", body))["name"]
    operation = ready.ok("GET", f"/v1beta1/{name}")
    assert operation["response"]["@type"].endswith(".v1beta1.DeployModelResponse")
    assert operation["response"]["deployedModel"]["dedicatedResources"] == zero
    in_v1 = ready.ok("GET", "endpoints/ep1")["deployedModels"][0]["dedicatedResources"]
    assert "scaleToZeroSpec" not in in_v1


def test_a_planned_fault_ends_the_deployment_in_its_stage(ready: Vertex) -> None:
    fault = {"code": "INTERNAL", "message": "Internal error.", "stage": "GETTING_CONTAINER_IMAGE"}
    ready.cloud.admin.fault(":deployModel", operationError=fault)
    error = failed(ready, ready.deployment())
    assert (error["code"], error["message"]) == (13, "Internal error.")
    assert ready.cloud.admin.unmet_faults() == []
    ready.deploy()


def test_an_operation_under_another_version_and_under_ui(ready: Vertex) -> None:
    operation = ready.wait(ready.ok("POST", DEPLOY, ready.deployment()))
    name = operation["name"]
    assert ready.ok("GET", f"/v1beta1/{name}")["response"]["@type"].endswith(".v1beta1.DeployModelResponse")
    assert ready.ok("GET", f"/ui/{name}") == operation
    short = f"{FULL}/operations/{name.rpartition('/')[2]}"
    assert ready.ok("GET", f"/v1/{short}") == operation
    listed = ready.ok("GET", f"/v1/{FULL}/endpoints/ep1/operations", filter="done=true")["operations"]
    assert operation in listed
    page = ready.ok("GET", f"/v1/{FULL}/endpoints/ep1/operations", pageSize="1")
    assert len(page["operations"]) == 1
    rest = ready.ok("GET", f"/v1/{FULL}/endpoints/ep1/operations", pageToken=page["nextPageToken"])
    assert len(rest["operations"]) == len(listed) - 1
