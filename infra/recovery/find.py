"""What a pending create of a killed run did make: found in the cloud by its chosen id, or else by its content.

Every type that the program creates is here but three: an API is enabled again without harm and stays after a destroy; a
BucketDisposal and a LeftoverCheck exist in the state only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from infra.provider.deployed import find as find_deployed
from infra.provider.deployed import plan_of
from infra.provider.names import PROJECT_LABEL, STACK_LABEL

Json = dict[str, Any]
Inputs = Mapping[str, Any]

#: Of `vertexserving`: its own update and delete look first and then act, so that the state may name what is not there.
MODEL, DEPLOYMENT = "vertexserving:index:Model", "vertexserving:index:Deployment"

#: Nothing in the cloud of its own, or nothing that a destroy would remove.
_NOTHING = (
    "pulumi:",
    "vertex-vllm:",
    "gcp:projects/service:Service",
    "vertexserving:index:BucketDisposal",
    "vertexserving:index:LeftoverCheck",
)


class Cloud(Protocol):
    """What `infra.recovery.cloud.Google` answers."""

    def vertex(self, location: str, path: str, **query: str) -> Json | None: ...
    def operations(self, location: str, parent: str, kind: str) -> list[str]: ...
    def account(self, name: str) -> Json | None: ...
    def project_policy(self, project: str) -> Json | None: ...
    def bucket(self, name: str) -> Json | None: ...
    def object(self, bucket: str, name: str) -> Json | None: ...
    def bucket_policy(self, name: str) -> Json | None: ...
    def dashboards(self, project: str) -> list[Json]: ...
    def alert_policies(self, project: str) -> list[Json]: ...


@dataclass(frozen=True)
class Found:
    """What belongs into the state for one pending create.

    Attributes:
        id: The engine's id of the resource.
        outputs: What is known of it beside its inputs.
        words: What is there, for the user.
        read_back: The provider can read the rest; not where an operation may still be under way.
    """

    id: str
    words: str
    outputs: Json = field(default_factory=dict)
    read_back: bool = True


def find(kind: str, inputs: Inputs, cloud: Cloud, known: Collection[str] = ()) -> Found | None:
    """What a create of this type with these inputs has made, None where it has made nothing.

    Args:
        kind: The type token.
        inputs: The checked inputs, as the state has them: a secret is encrypted.
        cloud: Where it is looked for.
        known: Ids that the state has already; something with a generated id is looked for among the others.

    Raises:
        NoAnswer: The cloud cannot be asked.
    """
    finder = _FINDERS.get(kind)
    try:
        return finder(inputs, cloud, known) if finder else None
    except KeyError:  # an input without which nothing was sent
        return None


def findable(kind: str) -> bool:
    """Whether `find` knows where to look for what a create of this type makes; else nobody knows whether it exists."""
    return kind in _FINDERS or kind.startswith(_NOTHING)


def _endpoint(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    name = f"projects/{inputs['project']}/locations/{inputs['location']}/endpoints/{inputs['name']}"
    return Found(name, "endpoint exists") if cloud.vertex(inputs["location"], name) else None


def _account(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    email = f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com"
    name = f"projects/{inputs['project']}/serviceAccounts/{email}"
    return Found(name, "service account exists") if cloud.account(name) else None


def _bucket(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    return Found(inputs["name"], "bucket exists") if cloud.bucket(inputs["name"]) else None


def _object(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    bucket, name = inputs["bucket"], inputs["name"]
    return Found(f"{bucket}-{name}", "object exists") if cloud.object(bucket, name) else None


def _project_grant(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    project = str(inputs["project"]).removeprefix("projects/")
    return _grant(project, inputs, cloud.project_policy(project))


def _bucket_grant(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    bucket = str(inputs["bucket"]).removeprefix("b/")
    return _grant(f"b/{bucket}", inputs, cloud.bucket_policy(bucket))


def _grant(target: str, inputs: Inputs, policy: Json | None) -> Found | None:
    role, member = inputs["role"], inputs["member"]
    if inputs.get("condition"):  # the program sets none; its id would need the condition's title
        return None
    granted = any(
        each.get("role") == role and member in (each.get("members") or ()) and not each.get("condition")
        for each in (policy or {}).get("bindings") or ()
    )
    return Found(f"{target}/{role}/{member}", "granted") if granted else None


def _dashboard(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    wanted = json.loads(inputs["dashboardJson"])
    queries = _queries(wanted)
    for each in cloud.dashboards(inputs["project"]):
        same = each.get("displayName") == wanted.get("displayName") and _queries(each) == queries
        if same and _unknown(str(each.get("name")), known):
            return Found(str(each["name"]), "dashboard exists")
    return None


def _alert_policy(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    queries, labels = _queries(inputs["conditions"]), (inputs.get("userLabels") or {}).items()
    for each in cloud.alert_policies(inputs["project"]):
        same = (
            each.get("displayName") == inputs["displayName"] and _queries(each.get("conditions")) == queries
        )
        ours = labels <= (each.get("userLabels") or {}).items()
        if same and ours and _unknown(str(each.get("name")), known):
            return Found(str(each["name"]), "alert policy exists")
    return None


def _queries(value: Any) -> frozenset[str]:
    """The PromQL in a dashboard or an alert policy: it names the endpoint, and the service does not rewrite it."""
    text = json.dumps(value, sort_keys=True)
    return frozenset(re.findall(r'"(?:prometheusQuery|query)": ("(?:[^"\\]|\\.)*")', text))


def _unknown(name: str, known: Collection[str]) -> bool:
    """Whether the state has no resource of this name, which may have the project's id or its number."""
    return name.rpartition("/")[2] not in {each.rpartition("/")[2] for each in known}


def _model(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    location = inputs["location"]
    name = f"projects/{inputs['project']}/locations/{location}/models/{inputs['modelId']}"
    uploads = cloud.operations(location, name, "UploadModelOperationMetadata")
    live = cloud.vertex(location, name)
    if live is not None:
        labels, wanted = live.get("labels") or {}, inputs.get("labels") or {}
        if any(labels.get(key) != wanted.get(key) for key in (PROJECT_LABEL, STACK_LABEL)):
            return None  # somebody else's: up says so, and destroy must not delete it
        full = str(live["name"]).partition("@")[0]
        return Found(full, "uploaded", {"name": full, "operation": None}, read_back=False)
    if uploads:
        full = uploads[0].partition("/operations/")[0]
        return Found(full, "upload under way", {"name": full, "operation": uploads[0]}, read_back=False)
    words = "not there; kept in the state in case its request still arrives"
    return Found(name, words, {"name": name, "operation": None}, read_back=False)


def _deployment(inputs: Inputs, cloud: Cloud, known: Collection[str]) -> Found | None:
    plan = plan_of(inputs)
    location, name = plan.endpoint.location, plan.endpoint_name
    # Operations first: one that ends between the two looks has left what the second one sees.
    under_way = cloud.operations(location, name, "DeployModelOperationMetadata")
    endpoint = cloud.vertex(location, name)
    if endpoint is None:
        return None
    full = f"{endpoint['name']}/deployedModels/{plan.id}"
    outputs = {"deployedModelId": plan.id, "operation": None}
    if find_deployed(endpoint, plan.id) is not None:
        # How far its roll was is in the endpoint's split: the next `up` asks it, and goes on from there.
        return Found(full, f"deployed as {plan.id}", {**outputs, "status": "moving traffic"}, read_back=False)
    if under_way:
        # Which model an operation deploys, only the endpoint tells, and it may not (see `Vertex.being_deployed`).
        # Where it does and tells of another one only, that is another stack's, and a destroy must not cancel it.
        all_states = cloud.vertex(location, name, allDeploymentStates="true") or {}
        told = {str(each.get("id")) for each in all_states.get("deployedModels") or ()}
        told -= {str(each.get("id")) for each in endpoint.get("deployedModels") or ()}
        if plan.id in told or (not told and len(under_way) == 1):
            outputs |= {"operation": under_way[0], "status": "deploying"}
            return Found(full, f"deployment {plan.id} under way", outputs, read_back=False)
    words = "not deployed; kept in the state in case its request still arrives"
    return Found(full, words, {**outputs, "status": "deploying"}, read_back=False)


_FINDERS: dict[str, Callable[[Inputs, Cloud, Collection[str]], Found | None]] = {
    "gcp:vertex/aiEndpoint:AiEndpoint": _endpoint,
    "gcp:serviceaccount/account:Account": _account,
    "gcp:storage/bucket:Bucket": _bucket,
    "gcp:projects/iAMMember:IAMMember": _project_grant,
    "gcp:storage/bucketObject:BucketObject": _object,
    "gcp:storage/bucketIAMMember:BucketIAMMember": _bucket_grant,
    "gcp:monitoring/dashboard:Dashboard": _dashboard,
    "gcp:monitoring/alertPolicy:AlertPolicy": _alert_policy,
    MODEL: _model,
    DEPLOYMENT: _deployment,
}
