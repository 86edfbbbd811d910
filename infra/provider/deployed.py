"""A deployed model in its three forms: inputs, the API's message, and the id made from what cannot change. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra.ids import deployed_model_id
from infra.plugin import UNKNOWN
from infra.provider.content import difference
from infra.provider.failures import Request
from infra.provider.inputs import DEFAULT_WAIT
from infra.provider.names import Name, endpoint_name, model_name, same

SCALING = ("minReplicaCount", "maxReplicaCount", "autoscalingMetricSpecs")
"""What can be changed in place; the rest of a deployed model is fixed when it is deployed."""

_MASK = {
    "minReplicaCount": "dedicated_resources.min_replica_count",
    "maxReplicaCount": "dedicated_resources.max_replica_count",
    "autoscalingMetricSpecs": "dedicated_resources.autoscaling_metric_specs",
}


@dataclass(frozen=True)
class Plan:
    """What a deployment should be.

    Attributes:
        endpoint: The endpoint.
        model: The model.
        id: The deployed model's id.
        inputs: The inputs it was made from.
        limit: How long to wait for an operation on it, in seconds.
    """

    endpoint: Name
    model: Name
    id: str
    inputs: Mapping[str, Any]
    limit: float

    @property
    def endpoint_name(self) -> str:
        """The endpoint's full name."""
        return f"{self.endpoint.parent}/endpoints/{self.endpoint.id}"

    @property
    def request(self) -> Request:
        """What a remedy may name."""
        machine = self.inputs["machineSpec"]
        return Request(
            project=self.inputs["project"],
            location=self.inputs["location"],
            machine_type=machine["machineType"],
            accelerator_type=machine.get("acceleratorType") or "",
            accelerators=machine.get("acceleratorCount") or 0,
            replicas=self.inputs["minReplicaCount"],
            service_account=self.inputs.get("serviceAccount") or "",
        )


def plan_of(inputs: Mapping[str, Any], id: str | None = None, timeout: float | None = None) -> Plan:
    """The plan for checked inputs; `id` is that of an existing deployed model, else it is derived."""
    endpoint = endpoint_name(inputs["endpoint"], inputs["project"], inputs["location"])
    model = model_name(inputs["model"])
    if endpoint is None or model is None:
        raise ValueError("the inputs of a deployment were not checked")
    limit = timeout or float(inputs.get("deployRequestTimeoutSeconds") or DEFAULT_WAIT)
    return Plan(endpoint, model, id or derived_id(endpoint, model, inputs), inputs, limit)


def derived_id(endpoint: Name, model: Name, inputs: Mapping[str, Any]) -> str:
    """The id for these inputs: what is fixed in a deployed model, so that a changed one never meets its own id."""
    fixed = fixed_of(inputs)
    # Named by their parts: a project may be written as its id or as its number.
    fixed["endpoint"] = [endpoint.location, endpoint.id]
    fixed["model"] = [model.location, model.id, model.version]
    return deployed_model_id(fixed)


def machine_of(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """A machine spec without what is empty."""
    return {key: value for key, value in (spec or {}).items() if value is UNKNOWN or value}


def fixed_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the inputs that is fixed when a model is deployed, in one form for equal meanings."""
    return {
        "endpoint": inputs.get("endpoint"),
        "model": inputs.get("model"),
        "displayName": inputs.get("displayName"),
        "machineSpec": machine_of(inputs.get("machineSpec")),
        "spot": bool(inputs.get("spot")),
        "serviceAccount": inputs.get("serviceAccount") or None,
    }


def scaling_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the inputs that can be changed in place, in one form for equal meanings."""
    least = inputs.get("minReplicaCount") or 1
    return {
        "minReplicaCount": least,
        "maxReplicaCount": inputs.get("maxReplicaCount") or least,
        "autoscalingMetricSpecs": [
            metric if metric is UNKNOWN else dict(metric)
            for metric in inputs.get("autoscalingMetricSpecs") or ()
        ],
    }


def to_api(plan: Plan) -> dict[str, Any]:
    """The API's DeployedModel."""
    fixed = fixed_of(plan.inputs)
    body: dict[str, Any] = {
        "id": plan.id,
        "model": plan.inputs["model"],
        "displayName": fixed["displayName"],
        "dedicatedResources": {
            "machineSpec": fixed["machineSpec"],
            **scaling_of(plan.inputs),
            "spot": fixed["spot"],
        },
    }
    if fixed["serviceAccount"]:
        body["serviceAccount"] = fixed["serviceAccount"]
    return body


def live_model(live: Mapping[str, Any]) -> str:
    """The model of a DeployedModel of the API, with its version where that is not the first.

    A model that is not kept in versions has the first one only, and is named without it.
    """
    name, _, version = str(live.get("model", "")).partition("@")
    version = str(live.get("modelVersionId") or version or "1")
    return name if version == "1" else f"{name}@{version}"


def same_model(a: str, b: str) -> bool:
    """Whether two names mean the same version of a model; none is the first one."""
    one, other = model_name(a), model_name(b)
    if one is None or other is None:
        return False
    return same(replace(one, version=one.version or "1"), replace(other, version=other.version or "1"))


def from_api(live: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that would make the given DeployedModel of the API, as far as it tells."""
    resources = live.get("dedicatedResources") or {}
    return {
        "model": live_model(live),
        "displayName": live.get("displayName", ""),
        "machineSpec": machine_of(resources.get("machineSpec")),
        "spot": bool(resources.get("spot")),
        "serviceAccount": live.get("serviceAccount") or None,
        **scaling_of(resources),
    }


def find(endpoint: Mapping[str, Any], id: str) -> Mapping[str, Any] | None:
    """The deployed model of an endpoint with the given id."""
    return next((model for model in endpoint.get("deployedModels", ()) if str(model.get("id")) == id), None)


def disagreement(plan: Plan, live: Mapping[str, Any]) -> str:
    """Where a deployed model differs from the plan in what cannot be changed; empty if nowhere."""
    found = from_api(live)
    wanted = fixed_of(plan.inputs)
    if not same_model(wanted["model"], found["model"]):
        return difference(wanted["model"], found["model"], "model")
    keys = ("machineSpec", "spot", "serviceAccount")
    return difference({key: wanted[key] for key in keys}, {key: found[key] for key in keys})


def scaling_mask(plan: Plan, live: Mapping[str, Any]) -> list[str]:
    """The fields of the API's DeployedModel, in snake case, that have to change in place."""
    wanted, found = scaling_of(plan.inputs), scaling_of(live.get("dedicatedResources") or {})
    return [_MASK[key] for key in SCALING if wanted[key] != found[key]]
