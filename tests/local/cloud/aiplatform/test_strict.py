"""Wrong requests: HTTP status, canonical status and text of each, and that none of them leaves anything behind."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .helpers import FULL, IMAGE, L4, Json, Vertex, model

CANONICAL = {
    400: ("INVALID_ARGUMENT", "FAILED_PRECONDITION"),
    403: ("PERMISSION_DENIED",),
    404: ("NOT_FOUND",),
}


def upload(**changes: Any) -> Json:
    return {"model": {**model(), **changes}}


def spec(**changes: Any) -> Json:
    return upload(containerSpec={**model()["containerSpec"], **changes})


def deployment(machine: Json | None = None, split: Json | None = None, **fields: Any) -> Json:
    resources = {"machineSpec": machine or L4, "minReplicaCount": 1, **fields.pop("resources", {})}
    deployed = {"model": f"{FULL}/models/m2", "dedicatedResources": resources, **fields}
    return {"deployedModel": deployed, "trafficSplit": {"0": 100} if split is None else split}


def at(field: str, message: str) -> str:
    return rf"List of found errors:\t1\.Field: {re.escape(field)}; Message: {message}"


BAD_ARGUMENT, PRECONDITION = "INVALID_ARGUMENT", "FAILED_PRECONDITION"
DEPLOY, MUTATE, UNDEPLOY = (
    "endpoints/ep1:deployModel",
    "endpoints/ep1:mutateDeployedModel",
    "endpoints/ep1:undeployModel",
)
RESOURCES = "deployed_model.dedicated_resources"
#: name: (method, path, body, query, canonical status, text)
CASES: dict[str, tuple[str, str, Any, dict[str, str], str, str]] = {
    # JSON front end
    "unknown field": ("POST", "models:upload", {"model": model(), "x": 1}, {}, BAD_ARGUMENT,
        r'^Invalid JSON payload received\. Unknown name "x": Cannot find field\.$'),
    "unknown nested field": ("POST", "models:upload", spec(image="x"), {}, BAD_ARGUMENT,
        r"Unknown name \"image\" at 'model\.container_spec': Cannot find field\."),
    "unknown field in a list": ("POST", "models:upload", spec(env=[{"name": "A", "valu": "x"}]), {}, BAD_ARGUMENT,
        r"Unknown name \"valu\" at 'model\.container_spec\.env\[0\]'"),
    "unknown field of the endpoint": ("POST", "endpoints", {"displayName": "x", "dedicated": True}, {}, BAD_ARGUMENT,
        r"Unknown name \"dedicated\" at 'endpoint': Cannot find field\."),
    "v1beta1 field in v1": ("POST", DEPLOY, deployment(resources={"initialReplicaCount": 1}), {}, BAD_ARGUMENT,
        rf"Unknown name \"initialReplicaCount\" at '{RESOURCES}'"),
    "body is a list": ("POST", "models:upload", [1], {}, BAD_ARGUMENT, "Root element must be a message"),
    "message is text": ("POST", "models:upload", {"model": "m"}, {}, BAD_ARGUMENT,
        r"Invalid value at 'model' \(type\.googleapis\.com/google\.cloud\.aiplatform\.v1\.Model\), \"m\""),
    "message is a list": ("POST", DEPLOY, {"deployedModel": [1]}, {}, BAD_ARGUMENT,
        r"Unknown name \"deployedModel\": Proto field is not repeating, cannot start list\."),
    "text is a number": ("POST", "endpoints", {"displayName": 5}, {}, BAD_ARGUMENT,
        r"Invalid value at 'endpoint\.display_name' \(TYPE_STRING\), 5"),
    "number is text": ("POST", DEPLOY, deployment({**L4, "acceleratorCount": "one"}), {}, BAD_ARGUMENT,
        rf"Invalid value at '{RESOURCES}\.machine_spec\.accelerator_count' \(TYPE_INT32\), \"one\""),
    "number too large": ("POST", DEPLOY, deployment(resources={"maxReplicaCount": 2**31}), {}, BAD_ARGUMENT,
        rf"Invalid value at '{RESOURCES}\.max_replica_count' \(TYPE_INT32\), 2147483648"),
    "unknown enum name": ("POST", DEPLOY, deployment({**L4, "acceleratorType": "NVIDIA_L40"}), {}, BAD_ARGUMENT,
        r"\(type\.googleapis\.com/google\.cloud\.aiplatform\.v1\.AcceleratorType\), \"NVIDIA_L40\""),
    "bad duration": ("POST", "models:upload", spec(deploymentTimeout="2h"), {}, BAD_ARGUMENT,
        "Illegal duration format; duration must end with 's'"),
    "labels are a list": ("POST", "endpoints", {"displayName": "x", "labels": ["a"]}, {}, BAD_ARGUMENT,
        "Cannot bind a list to map for field 'labels'"),
    "two kinds of resources": ("POST", DEPLOY, deployment(automaticResources={}), {}, BAD_ARGUMENT,
        "oneof field 'prediction_resources' is already set"),
    "unknown query parameter": ("GET", "models", None, {"page": "1"}, BAD_ARGUMENT,
        r"Unknown name \"page\": Cannot bind query parameter\."),
    "bad page size": ("GET", "endpoints", None, {"pageSize": "many"}, BAD_ARGUMENT,
        r"Invalid value at 'page_size' \(TYPE_INT32\), \"many\""),
    # lists
    "negative page size": ("GET", "models", None, {"pageSize": "-1"}, BAD_ARGUMENT, "must not be negative"),
    "bad page token": ("GET", "models", None, {"pageToken": "abc"}, BAD_ARGUMENT, "page token is invalid"),
    "unknown filter field": ("GET", "models", None, {"filter": 'state="x"'}, BAD_ARGUMENT,
        'Field "state" is not supported; supported: model, displayName, baseModelName, labels'),
    "unfinished filter": ("GET", "models", None, {"filter": "displayName="}, BAD_ARGUMENT, "it ends too early"),
    "unknown order": ("GET", "models", None, {"orderBy": "size"}, BAD_ARGUMENT, 'Invalid order_by "size"'),
    "unknown read mask": ("GET", "models", None, {"readMask": "size"}, BAD_ARGUMENT, "path 'size' is not a field of"),
    # models
    "no model": ("POST", "models:upload", {}, {}, BAD_ARGUMENT, at("model", "Required field is not set")),
    "no display name": ("POST", "models:upload", upload(displayName=""), {}, BAD_ARGUMENT,
        at("model.display_name", "Required field is not set")),
    "long display name": ("POST", "models:upload", upload(displayName="x" * 129), {}, BAD_ARGUMENT,
        at("model.display_name", "The display name must be less than")),
    "no container": ("POST", "models:upload", upload(containerSpec=None), {}, BAD_ARGUMENT,
        at("model.container_spec", "Required field is not set")),
    "no image": ("POST", "models:upload", spec(imageUri=""), {}, BAD_ARGUMENT,
        at("model.container_spec.image_uri", "Required field is not set")),
    "image elsewhere": ("POST", "models:upload", spec(imageUri="vllm/vllm-openai:latest"), {}, BAD_ARGUMENT,
        at("model.container_spec.image_uri", "Invalid image URI 'vllm/vllm-openai:latest'")),
    "empty variable": ("POST", "models:upload", spec(env=[{"name": "A", "value": ""}]), {}, BAD_ARGUMENT,
        at("model.container_spec.env[0].value", "Required field is not set")),
    "bad variable": ("POST", "models:upload", spec(env=[{"name": "A-B", "value": "x"}]), {}, BAD_ARGUMENT,
        at("model.container_spec.env[0].name", "Invalid name 'A-B': it must be a valid C identifier")),
    "reserved variable": ("POST", "models:upload", spec(env=[{"name": "AIP_X", "value": "x"}]), {}, BAD_ARGUMENT,
        "the prefix AIP_ is reserved"),
    "bad port": ("POST", "models:upload", spec(ports=[{"containerPort": 70000}]), {}, BAD_ARGUMENT,
        at("model.container_spec.ports[0].container_port", "Invalid port 70000")),
    "relative route": ("POST", "models:upload", spec(healthRoute="ping"), {}, BAD_ARGUMENT, "must start with a slash"),
    "both routes": ("POST", "models:upload", spec(invokeRoutePrefix="/*"), {}, BAD_ARGUMENT,
        "Only one of predict_route and invoke_route_prefix can be set"),
    "long timeout": ("POST", "models:upload", spec(deploymentTimeout="7201s"), {}, BAD_ARGUMENT,
        at("model.container_spec.deployment_timeout", "Invalid timeout 7201s")),
    "upper case label": ("POST", "models:upload", upload(labels={"Team": "x"}), {}, BAD_ARGUMENT,
        at("model.labels", "Label keys and values can only contain lowercase letters")),
    "bad model id": ("POST", "models:upload", {**upload(), "modelId": "1m"}, {}, BAD_ARGUMENT,
        at("model_id", "The model ID may be up to 63 characters")),
    "model id taken": ("POST", "models:upload", {**upload(), "modelId": "m1"}, {}, "ALREADY_EXISTS",
        f"The Model {FULL}/models/m1 already exists"),
    "parent model missing": ("POST", "models:upload", {**upload(), "parentModel": f"{FULL}/models/no"}, {}, "NOT_FOUND",
        f"The Model {FULL}/models/no does not exist"),
    "bad artifact path": ("POST", "models:upload", upload(artifactUri="s3://b"), {}, BAD_ARGUMENT,
        at("model.artifact_uri", "Invalid Cloud Storage path")),
    "model not found": ("GET", "models/no", None, {}, "NOT_FOUND", f"^The Model {FULL}/models/no does not exist\\.$"),
    "version not found": ("GET", "models/m1@7", None, {}, "NOT_FOUND", "models/m1@7 does not exist"),
    "patch without a mask": ("PATCH", "models/m1", {"displayName": "x"}, {}, BAD_ARGUMENT,
        at("update_mask", "Required field is not set")),
    "patch of what is fixed": ("PATCH", "models/m1", model(), {"updateMask": "containerSpec"}, BAD_ARGUMENT,
        at("update_mask", "Field container_spec is immutable")),
    "patch of an unknown path": ("PATCH", "models/m1", {}, {"updateMask": "nothing"}, BAD_ARGUMENT,
        "path 'nothing' is not a field of google.cloud.aiplatform.v1.Model"),
    "delete a model in use": ("DELETE", "models/m1", None, {}, PRECONDITION,
        f"is deployed or being deployed at the following Endpoint\\(s\\): {FULL}/endpoints/ep1"),
    "delete the only version": ("DELETE", "models/m1@1:deleteVersion", None, {}, PRECONDITION,
        "Deleting the only version"),
    "delete the default version": ("DELETE", "models/m2@1:deleteVersion", None, {}, PRECONDITION, "default alias"),
    "take the default away": ("POST", "models/m2@1:mergeVersionAliases", {"versionAliases": ["-default"]}, {},
        BAD_ARGUMENT, "cannot be removed"),
    "bad alias": ("POST", "models/m2@1:mergeVersionAliases", {"versionAliases": ["1st"]}, {}, BAD_ARGUMENT,
        "Invalid alias '1st'"),
    # endpoints
    "endpoint without a name": ("POST", "endpoints", {}, {}, BAD_ARGUMENT,
        at("endpoint.display_name", "Required field is not set")),
    "bad endpoint id": ("POST", "endpoints", {"displayName": "x"}, {"endpointId": "Ep"}, BAD_ARGUMENT,
        at("endpoint_id", "If the first character is a letter")),
    "endpoint id of ten digits": ("POST", "endpoints", {"displayName": "x"}, {"endpointId": "1234567890"}, BAD_ARGUMENT,
        "up to 9 characters"),
    "endpoint id taken": ("POST", "endpoints", {"displayName": "x"}, {"endpointId": "ep1"}, "ALREADY_EXISTS",
        "endpoints/ep1` already exists"),
    "timeout of a shared endpoint": ("POST", "endpoints",
        {"displayName": "x", "clientConnectionConfig": {"inferenceTimeout": "100s"}}, {}, BAD_ARGUMENT,
        "can only be set for dedicated"),
    "endpoint not found": ("GET", "endpoints/no", None, {}, "NOT_FOUND", f"^Endpoint `{FULL}/endpoints/no` not found"),
    "endpoint patch without a mask": ("PATCH", "endpoints/ep1", {"displayName": "x"}, {}, BAD_ARGUMENT,
        at("update_mask", "Required field is not set")),
    "endpoint patch of what is fixed": ("PATCH", "endpoints/ep1", {"dedicatedEndpointEnabled": True},
        {"updateMask": "dedicatedEndpointEnabled"}, BAD_ARGUMENT, "Field 'dedicatedEndpointEnabled' cannot be updated"),
    "traffic that is not 100": ("PATCH", "endpoints/ep1", {"trafficSplit": {"1": 90}}, {"updateMask": "trafficSplit"},
        BAD_ARGUMENT, "must add up to 100, but they add up to 90"),
    "traffic of nobody": ("PATCH", "endpoints/ep1", {"trafficSplit": {"9": 100}}, {"updateMask": "trafficSplit"},
        PRECONDITION, r"The following DeployedModel ID\(s\) \[9\] do not exist\."),
    "stale etag": ("PATCH", "endpoints/ep1", {"displayName": "x", "etag": "old"}, {"updateMask": "displayName"},
        "ABORTED", "does not match the current etag"),
    "delete an endpoint in use": ("DELETE", "endpoints/ep1", None, {}, PRECONDITION,
        r"has deployed or being-deployed DeployedModel\(s\) 1\."),
    # deployments
    "no model named": ("POST", DEPLOY, deployment(model=None), {}, BAD_ARGUMENT,
        at("deployed_model.model", "Required field is not set")),
    "not a model's name": ("POST", DEPLOY, deployment(model="m2"), {}, BAD_ARGUMENT, "Invalid resource name 'm2'"),
    "no such model": ("POST", DEPLOY, deployment(model=f"{FULL}/models/no"), {}, "NOT_FOUND", "does not exist"),
    "bad deployed model id": ("POST", DEPLOY, deployment(id="a1"), {}, BAD_ARGUMENT,
        at("deployed_model.id", "This value should be 1-10 characters")),
    "deployed model id taken": ("POST", DEPLOY, deployment(id="1"), {}, "ALREADY_EXISTS",
        "DeployedModel 1 already exists in Endpoint"),
    "automatic resources": ("POST", DEPLOY,
        {"deployedModel": {"model": f"{FULL}/models/m2", "automaticResources": {"minReplicaCount": 1}}}, {},
        BAD_ARGUMENT, f"^'automatic_resources' is not supported for Model {FULL}/models/m2\\.$"),
    "no resources": ("POST", DEPLOY, {"deployedModel": {"model": f"{FULL}/models/m2"}}, {}, BAD_ARGUMENT,
        at(RESOURCES, "Required field is not set")),
    "no replicas": ("POST", DEPLOY, deployment(resources={"minReplicaCount": 0}), {}, BAD_ARGUMENT,
        at(f"{RESOURCES}.min_replica_count", "Required field is not set")),
    "max below min": ("POST", DEPLOY, deployment(resources={"minReplicaCount": 3, "maxReplicaCount": 2}), {},
        BAD_ARGUMENT, "2 is less than 3"),
    "unknown machine": ("POST", DEPLOY, deployment({"machineType": "g2-standard-13"}), {}, BAD_ARGUMENT,
        '^Machine type "g2-standard-13" is not supported\\.$'),
    "accelerator of another machine": ("POST", DEPLOY, deployment({**L4, "acceleratorType": "NVIDIA_TESLA_A100"}), {},
        BAD_ARGUMENT, '^Accelerator "NVIDIA_TESLA_A100" is not supported for machine type "g2-standard-12"$'),
    "wrong count": ("POST", DEPLOY, deployment({**L4, "acceleratorCount": 2}), {}, BAD_ARGUMENT,
        "Supported accelerator counts: 1"),
    "GPU machine without its GPU": ("POST", DEPLOY, deployment({"machineType": "g2-standard-12"}), {}, BAD_ARGUMENT,
        'requires accelerator_type "NVIDIA_L4" and accelerator_count 1'),
    "count without a type": ("POST", DEPLOY, deployment({"machineType": "n1-standard-4", "acceleratorCount": 1}), {},
        BAD_ARGUMENT, "accelerator_type must be set"),
    "unknown metric": ("POST", DEPLOY,
        deployment(resources={"autoscalingMetricSpecs": [{"metricName": "cpu", "target": 60}]}), {}, BAD_ARGUMENT,
        "Metric 'cpu' is not supported"),
    "deploy with traffic over 100": ("POST", DEPLOY, deployment(split={"0": 50, "1": 60}), {}, BAD_ARGUMENT,
        "they add up to 110"),
    "deploy with traffic of nobody": ("POST", DEPLOY, deployment(split={"0": 50, "9": 50}), {}, PRECONDITION,
        r"\[9\] do not exist"),
    "unknown account": ("POST", DEPLOY, deployment(serviceAccount="no@local-project.iam.gserviceaccount.com"), {},
        "PERMISSION_DENIED", r"act as service account: no@local-project\S+ \(or it may not exist\)\."),
    "undeploy nobody": ("POST", UNDEPLOY, {"deployedModelId": "9"}, {}, "NOT_FOUND", "DeployedModel 9 is not found"),
    "undeploy without an id": ("POST", UNDEPLOY, {}, {}, BAD_ARGUMENT, at("deployed_model_id", "Required field")),
    "mutate without a mask": ("POST", MUTATE, {"deployedModel": {"id": "1"}}, {}, BAD_ARGUMENT,
        at("update_mask", "Required field is not set")),
    "mutate what is fixed": ("POST", MUTATE,
        {"deployedModel": {"id": "1"}, "updateMask": "dedicatedResources.machineSpec"}, {}, BAD_ARGUMENT,
        "Field 'dedicatedResources.machineSpec' cannot be mutated"),
    "mutate nobody": ("POST", MUTATE, {"deployedModel": {"id": "9"}, "updateMask": "disableContainerLogging"}, {},
        "NOT_FOUND", "DeployedModel 9 is not found"),
    "mutate to no replicas": ("POST", MUTATE,
        {"deployedModel": {"id": "1"}, "updateMask": "dedicatedResources.minReplicaCount"}, {}, BAD_ARGUMENT,
        at(f"{RESOURCES}.min_replica_count", "The value must be greater than or equal to 1")),
    # predictions
    "predict without instances": ("POST", "endpoints/ep1:predict", {}, {}, BAD_ARGUMENT, at("instances", "Required")),
    "predict with an unknown field": ("POST", "endpoints/ep1:predict", {"instances": [1], "prompt": "x"}, {},
        BAD_ARGUMENT, 'Unknown name "prompt": Cannot find field'),
    "predict where nothing is deployed": ("POST", "endpoints/ep2:predict", {"instances": [1]}, {}, PRECONDITION,
        "^Endpoint projects/local-project/locations/us-central1/endpoints/ep2 doesn't have traffic_split\\.$"),
    "predict nowhere": ("POST", "endpoints/no:predict", {"instances": [1]}, {}, "NOT_FOUND",
        "endpoints/no` not found"),
    "dedicated endpoint on the shared host": ("POST", "endpoints/ded:predict", {"instances": [1]}, {}, PRECONDITION,
        r"^This endpoint is a dedicated endpoint via CloudESF and cannot be accessed through the Vertex AI API\. "
        r"Please access the endpoint using its dedicated dns name "
        r"'ded\.us-central1-123456789012\.prediction\.vertexai\.goog'$"),
    "invoke without a prefix": ("POST", "endpoints/ep1/invoke/x", {}, {}, PRECONDITION, "invoke_route_prefix"),
    "explain": ("POST", "endpoints/ep1:explain", {"instances": [1]}, {}, "UNIMPLEMENTED", "does not have explain"),
    # operations
    "operation not found": ("GET", "endpoints/ep1/operations/1", None, {}, "NOT_FOUND", "operations/1 not found"),
    "bad wait": ("POST", "endpoints/ep1/operations/1:wait", {}, {"timeout": "1m"}, "NOT_FOUND", "not found"),
}  # fmt: skip

HTTP = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "ABORTED": 409, "UNIMPLEMENTED": 501,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_wrong_request(shared: Vertex, name: str) -> None:
    method, path, body, query, status, text = CASES[name]
    before = shared.cloud.admin.state()
    response = shared.call(method, path, body, **query)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (HTTP[status], HTTP[status], status), (
        error
    )
    assert re.search(text, error["message"]), error["message"]
    assert shared.cloud.admin.state() == before
    assert shared.ok("GET", "operations", filter="done=false") == {}


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 90


def test_every_fault_is_listed_at_once(shared: Vertex) -> None:
    body = {"model": {"labels": {"A": "b"}, "containerSpec": {"imageUri": IMAGE, "env": [{"name": "x"}]}}}
    message = shared.call("POST", "models:upload", body).json()["error"]["message"]
    assert message == (
        "List of found errors:\t1.Field: model.display_name; Message: Required field is not set."
        "\t2.Field: model.container_spec.env[0].value; Message: Required field is not set.\t"
    )


def test_text_that_is_not_json(shared: Vertex) -> None:
    for content in (b"{", b'{"instances": [1,]}', b"\xff"):
        path = "/v1/projects/local-project/locations/us-central1/endpoints/ep1:predict"
        error = shared.http.post(path, content=content).json()["error"]
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["message"].startswith("Invalid JSON payload received.")


def test_snake_case_and_enum_numbers_are_taken(vertex: Vertex) -> None:
    vertex.upload()
    vertex.endpoint()
    machine = {"machine_type": "g2-standard-12", "accelerator_type": 11, "accelerator_count": "1"}
    body = {
        "deployed_model": {
            "id": "5",
            "model": f"{FULL}/models/m1",
            "dedicated_resources": {"machine_spec": machine, "min_replica_count": 1},
        }
    }
    deployed = vertex.done("POST", "endpoints/ep1:deployModel", body)["deployedModel"]
    assert deployed["dedicatedResources"]["machineSpec"]["acceleratorType"] == "NVIDIA_L4"
    answer = vertex.ok("GET", "endpoints/ep1", **{"$alt": "json;enum-encoding=int"})
    assert answer["deployedModels"][0]["dedicatedResources"]["machineSpec"]["acceleratorType"] == 11
    assert "trafficSplit" not in answer


@pytest.mark.parametrize(
    "where", ["endpoints", "models", "operations", "/v1/projects/local-project/locations"]
)
def test_pages_of_less_than_nothing(shared: Vertex, where: str) -> None:
    for size in ("-1", "x", "9" * 5000):
        assert shared.call("GET", where, pageSize=size).status_code == 400
    assert shared.call("GET", where, pageSize="0").status_code == 200
