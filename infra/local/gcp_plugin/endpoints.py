"""gcp:vertex/aiEndpoint:AiEndpoint: a Vertex AI endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from infra.local.gcp_plugin.base import GcpResource
from infra.local.gcp_plugin.operations import wait
from infra.local.gcp_plugin.properties import DELETION_POLICY, LABELS, PROJECT, Property
from infra.local.gcp_plugin.rest import ApiError, Json
from infra.plugin import Context, ResourceError, State
from infra.plugin.resource import Properties
from infra.plugin.values import UNKNOWN

API = "Vertex AI"


def same_json(old: str, new: str) -> bool:
    """Whether two texts are the same JSON; texts that are none are compared as they are."""
    try:
        return bool(json.loads(old) == json.loads(new))
    except (TypeError, ValueError):
        return old == new


class AiEndpoint(GcpResource):
    """An endpoint under a chosen id."""

    token = "gcp:vertex/aiEndpoint:AiEndpoint"
    replace_deletes_first = True
    properties = (
        Property(
            "name",
            required=True,
            replaces=True,
            # The official plugin checks nothing; Google makes ids of up to 19 digits itself.
            pattern=r"[1-9][0-9]*",
            hint="the endpoint's id is meant: digits, the first not 0.",
        ),
        Property("location", required=True, replaces=True),
        Property("region", replaces=True),
        PROJECT,
        Property("displayName", required=True),
        Property("description"),
        LABELS,
        Property("network", replaces=True),
        Property("dedicatedEndpointEnabled", kind="boolean", default=False),
        Property("trafficSplit", computed=True, same=same_json),
        DELETION_POLICY,
    )
    absent = ("encryptionSpec", "predictRequestResponseLoggingConfig", "privateServiceConnectConfig")
    computed: ClassVar[Mapping[str, str]] = {
        "createTime": "string",
        "dedicatedEndpointDns": "string",
        "deployedModels": "array",
        "effectiveLabels": "object",
        "etag": "string",
        "modelDeploymentMonitoringJob": "string",
        "pulumiLabels": "object",
        "updateTime": "string",
    }

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        split = inputs.get("trafficSplit")
        if not split or split is UNKNOWN:
            return []
        try:
            wrong = not isinstance(json.loads(split), dict)
        except ValueError:
            wrong = True
        reason = f'{split!r} is not a JSON object such as {{"1234567890": 100}}.'
        return [("trafficSplit", reason)] if wrong else []

    def create(self, ctx: Context, inputs: Properties) -> State:
        parent = f"projects/{inputs['project']}/locations/{inputs['location']}/endpoints"
        name = f"{parent}/{inputs['name']}"
        doing = f"creating the endpoint {inputs['name']}"
        try:
            operation = self.api(
                ctx, API, "POST", parent, params={"endpointId": inputs["name"]}, body=self._body(inputs)
            )
        except ApiError as e:
            if e.status != 409:
                raise
            existing = self.until_visible(ctx, API, name)
            ours = not any(_differs(existing, self._body(inputs), key) for key in ("network", *_MUTABLE))
            if not (ours or e.repeated):
                raise e.because(
                    "Choose another name (the endpoint's id), or, if the endpoint is yours, take it over "
                    f"with `pulumi import {self.token} {ctx.name} {name}`."
                ) from e
            operation = {"done": True}  # an earlier attempt made it, and could not say or save so
        with self.exists(name, inputs):
            wait(self.gcp.rest, ctx, API, operation, doing)
            endpoint = self.until_visible(ctx, API, name)
        return State(name, self._outputs(inputs, endpoint))

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        project, location, endpoint_id = self._parse(id)
        name = f"projects/{project}/locations/{location}/endpoints/{endpoint_id}"
        try:
            endpoint = self.api(ctx, API, "GET", name)
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        values = {
            "name": endpoint_id,
            "project": project,
            "location": location,
            "displayName": endpoint.get("displayName"),
            "description": endpoint.get("description") or None,
            "labels": endpoint.get("labels") or None,
            "network": endpoint.get("network") or None,
            "dedicatedEndpointEnabled": bool(endpoint.get("dedicatedEndpointEnabled")),
            "trafficSplit": _traffic_split(endpoint),
        }
        given = {key: value for key, value in inputs.items() if key not in values or key == "labels"}
        live = {key: value for key, value in values.items() if value is not None and key != "labels"}
        return name, self._outputs({**given, **live}, endpoint), values

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        try:
            endpoint = self.api(ctx, API, "GET", id)
        except ApiError as e:
            if e.status != 404:
                raise
            # An interrupted create is saved before the operation has made the endpoint, or failed to.
            return self.create(ctx, news)
        body = self._body(news)
        labels = {**(endpoint.get("labels") or {}), **body.get("labels", {})}
        managed = {*(old_inputs.get("labels") or {}), *(state.get("pulumiLabels") or {})}
        body["labels"] = {
            key: value
            for key, value in labels.items()
            if key not in managed or key in self.labels_wanted(news)
        }
        mask = [key for key in _MUTABLE if _differs(endpoint, body, key)]
        if mask:
            changes = {key: body[key] for key in mask if key in body}
            endpoint = self.api(ctx, API, "PATCH", id, params={"updateMask": ",".join(mask)}, body=changes)
        return State(id, self._outputs(news, endpoint))

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        try:
            operation = self.api(ctx, API, "DELETE", id)
        except ApiError as e:
            if e.status == 404:
                return
            if e.status == 400:
                raise e.because(
                    "An endpoint can be deleted only when no model is deployed on it: undeploy what the "
                    "message names, then try again."
                ) from e
            raise
        wait(self.gcp.rest, ctx, API, operation, f"deleting {id}")

    def _parse(self, id: str) -> tuple[str, str, str]:
        match id.split("/"):
            case ["projects", project, "locations", location, "endpoints", name] | [project, location, name]:
                return project, location, name
            case [location, name] if self.gcp.settings.project:
                return self.gcp.settings.project, location, name
        raise ResourceError(
            f"The id {id!r} is not projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT_ID."
        )

    def _body(self, inputs: Properties) -> Json:
        body: Json = {"displayName": inputs["displayName"]}
        for key in ("description", "network", "dedicatedEndpointEnabled"):
            if inputs.get(key):
                body[key] = inputs[key]
        if labels := self.labels_wanted(inputs):
            body["labels"] = labels
        if inputs.get("trafficSplit"):
            body["trafficSplit"] = json.loads(inputs["trafficSplit"])
        return body

    def _outputs(self, inputs: Properties, endpoint: Json) -> Properties:
        return self.all_outputs(
            {
                **inputs,
                **self.label_outputs(inputs, endpoint.get("labels") or {}),
                "trafficSplit": _traffic_split(endpoint) or "",
                "createTime": endpoint.get("createTime", ""),
                "updateTime": endpoint.get("updateTime", ""),
                "dedicatedEndpointDns": endpoint.get("dedicatedEndpointDns", ""),
                "modelDeploymentMonitoringJob": endpoint.get("modelDeploymentMonitoringJob", ""),
                "deployedModels": [_deployed_model(each) for each in endpoint.get("deployedModels") or []],
                "etag": "",  # the official plugin never reads it
            }
        )


_MUTABLE = ("displayName", "description", "labels", "dedicatedEndpointEnabled", "trafficSplit")


def _differs(endpoint: Json, body: Json, key: str) -> bool:
    if key == "trafficSplit" and key not in body:
        return False  # left out: whoever deploys models decides
    return (endpoint.get(key) or None) != (body.get(key) or None)


def _traffic_split(endpoint: Json) -> str | None:
    split = endpoint.get("trafficSplit")
    return json.dumps(split, separators=(",", ":"), sort_keys=True) if split else None


def _deployed_model(model: Json) -> dict[str, Any]:
    """A deployed model as pulumi-gcp shows it: what is one object in the API is a list of one."""
    result: dict[str, Any] = {
        key: model.get(key, "")
        for key in (
            "id",
            "model",
            "modelVersionId",
            "displayName",
            "createTime",
            "serviceAccount",
            "sharedResources",
        )
    }
    result["enableAccessLogging"] = bool(model.get("enableAccessLogging"))
    result["enableContainerLogging"] = not model.get("disableContainerLogging", False)
    for key in ("automaticResources", "privateEndpoints"):
        result[key] = [model[key]] if model.get(key) else []
    result["dedicatedResources"] = [_dedicated(each) for each in [model.get("dedicatedResources")] if each]
    return result


def _dedicated(resources: Json) -> dict[str, Any]:
    machine = resources.get("machineSpec") or {}
    return {
        "minReplicaCount": resources.get("minReplicaCount", 0),
        "maxReplicaCount": resources.get("maxReplicaCount", 0),
        "autoscalingMetricSpecs": list(resources.get("autoscalingMetricSpecs") or []),
        "machineSpecs": [
            {
                "machineType": machine.get("machineType", ""),
                "acceleratorType": machine.get("acceleratorType", ""),
                "acceleratorCount": machine.get("acceleratorCount", 0),
            }
        ],
    }
