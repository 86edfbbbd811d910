"""The classes that a program uses for the provider's resources. Imports pulumi and nothing else of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pulumi
from pulumi import Input, Output

_FROM_PROVIDER = None  # the SDK wants to hear of every output; its value comes from the provider


class ContainerSpecArgs(TypedDict, total=False):
    """A container; `imageUri` is required.

    `env` never holds the Hugging Face token, `deploymentTimeoutSeconds` is at most 7200.
    """

    imageUri: Input[str]
    command: Input[Sequence[Input[str]]]
    args: Input[Sequence[Input[str]]]
    env: Input[Mapping[str, Input[str]]]
    ports: Input[Sequence[Input[int]]]
    predictRoute: Input[str]
    healthRoute: Input[str]
    sharedMemorySizeMb: Input[int]
    deploymentTimeoutSeconds: Input[int]


class MachineSpecArgs(TypedDict, total=False):
    """A machine; `machineType` is required, the other two go together."""

    machineType: Input[str]
    acceleratorType: Input[str]
    acceleratorCount: Input[int]


class AutoscalingMetricSpecArgs(TypedDict):
    """A metric that replicas follow, and the value to hold: percent, for all but counts."""

    metricName: Input[str]
    target: Input[int]


class RolloutArgs(TypedDict, total=False):
    """How a replacement takes the traffic over; none of it is content of what is deployed.

    `strategy` is `auto` (default), `surge` or `recreate`. `smoke` (default true): one prediction before the hand-over.
    `steps`: percents below 100 of the stack's own traffic, each for `bakeSeconds`, with at most `maxErrorPercent`
    (default 5) of the answers HTTP 5xx.
    """

    strategy: Input[str]
    smoke: Input[bool]
    steps: Input[Sequence[Input[int]]]
    bakeSeconds: Input[int]
    maxErrorPercent: Input[int]


class _Resource(pulumi.CustomResource):
    """A resource whose outputs are read as attributes in snake_case; the SDK keeps them under their wire names.

    Not by the SDK's name translation: that one also rewrites the keys of maps, such as a container's environment.
    """

    def __getattr__(self, name: str) -> Any:
        """The output of that name. Called only for what is not an attribute already."""
        wire = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        try:
            return self.__dict__[wire]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no output {name}") from None


class Model(_Resource):
    """A model in Vertex AI's registry: a container with its arguments.

    Display name and labels change in place; any other change uploads a new model beside the old one, or another version
    of it (`keep_versions`). Import with `projects/PROJECT/locations/LOCATION/models/MODEL`.

    Attributes:
        name: Full resource name, with the project's number; with versions kept, `@VERSION` too.
        model_id: The last part of the name.
        version_id: The version, a decimal number as text.
        create_time: When it was uploaded, RFC 3339.
        labels: The labels given and the two by which a stack's parts are found.
        hf_token_digest: Tells whether the token changed; secret.
        operation: The upload that is still under way, after an interruption.
    """

    name: Output[str]
    project: Output[str]
    location: Output[str]
    display_name: Output[str]
    model_id: Output[str]
    container_spec: Output[dict[str, Any]]
    artifact_uri: Output[str | None]
    labels: Output[dict[str, str]]
    version_id: Output[str]
    create_time: Output[str]
    hf_token_digest: Output[str | None]
    keep_versions: Output[bool | None]
    operation: Output[str | None]

    def __init__(
        self,
        resource_name: str,
        *,
        project: Input[str],
        location: Input[str],
        display_name: Input[str],
        container_spec: Input[ContainerSpecArgs],
        model_id: Input[str] | None = None,
        hf_token: Input[str] | None = None,
        artifact_uri: Input[str] | None = None,
        labels: Input[Mapping[str, Input[str]]] | None = None,
        keep_versions: Input[bool] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Registers a model.

        Args:
            resource_name: The resource's name in the program.
            project: Project id.
            location: Region.
            display_name: Shown in the console, at most 128 characters.
            container_spec: The container.
            model_id: Chosen id; derived from the content unless given, which is better: a fixed id cannot be
                replaced without a gap.
            hf_token: Hugging Face token. Becomes the container's HF_TOKEN at upload; no output repeats it.
            artifact_uri: `gs://` prefix that Vertex AI copies for the container (AIP_STORAGE_URI).
            labels: Labels.
            keep_versions: A change uploads another version of one model, in place; the earlier ones stay.
            opts: Pulumi's options.
        """
        properties = {
            "project": project,
            "location": location,
            "displayName": display_name,
            "modelId": model_id,
            "containerSpec": container_spec,
            "hfToken": None if hf_token is None else Output.secret(hf_token),
            "artifactUri": artifact_uri,
            "labels": labels,
            "keepVersions": keep_versions,
            "name": _FROM_PROVIDER,
            "versionId": _FROM_PROVIDER,
            "createTime": _FROM_PROVIDER,
            "hfTokenDigest": _FROM_PROVIDER,
            "operation": _FROM_PROVIDER,
        }
        secrets = pulumi.ResourceOptions(additional_secret_outputs=["hfTokenDigest"])
        super().__init__(
            "vertexserving:index:Model",
            resource_name,
            properties,
            pulumi.ResourceOptions.merge(opts, secrets),
        )


class Deployment(_Resource):
    """A model that serves on an endpoint, on machines of its own.

    Replicas, autoscaling and the share of the traffic change in place. Any other change deploys the new one beside the
    old one, asks it, hands the traffic over and undeploys the old one (`rollout`). Import with
    `projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT/deployedModels/ID`.

    Attributes:
        deployed_model_id: Id within the endpoint, 1 to 10 digits.
        dedicated_endpoint_dns: The endpoint's own host; empty if it is shared.
        create_time: When it was deployed, RFC 3339.
        traffic: Its percentage of the endpoint's traffic when last looked at.
        status: What Google says about it, for example about replicas that could not be had; mostly None.
        operation: The deployment that is still under way, after an interruption.
    """

    project: Output[str]
    location: Output[str]
    endpoint: Output[str]
    model: Output[str]
    display_name: Output[str]
    machine_spec: Output[dict[str, Any]]
    spot: Output[bool | None]
    min_replica_count: Output[int]
    max_replica_count: Output[int]
    autoscaling_metric_specs: Output[list[dict[str, Any]] | None]
    service_account: Output[str | None]
    expiry: Output[str | None]
    deploy_request_timeout_seconds: Output[int]
    traffic_percent: Output[int | None]
    rollout: Output[dict[str, Any] | None]
    deployed_model_id: Output[str]
    dedicated_endpoint_dns: Output[str]
    create_time: Output[str]
    traffic: Output[int]
    status: Output[str | None]
    operation: Output[str | None]

    def __init__(
        self,
        resource_name: str,
        *,
        project: Input[str],
        location: Input[str],
        endpoint: Input[str],
        model: Input[str],
        display_name: Input[str],
        machine_spec: Input[MachineSpecArgs],
        spot: Input[bool] | None = None,
        min_replica_count: Input[int] | None = None,
        max_replica_count: Input[int] | None = None,
        autoscaling_metric_specs: Input[Sequence[Input[AutoscalingMetricSpecArgs]]] | None = None,
        service_account: Input[str] | None = None,
        expiry: Input[str] | None = None,
        deploy_request_timeout_seconds: Input[int] | None = None,
        traffic_percent: Input[int] | None = None,
        rollout: Input[RolloutArgs] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Registers a deployment.

        Args:
            resource_name: The resource's name in the program.
            project: Project id.
            location: Region of the endpoint.
            endpoint: The endpoint's full name or id.
            model: The model's full name.
            display_name: Shown in the console, at most 128 characters.
            machine_spec: The machine of one replica.
            spot: Run on preemptible capacity.
            min_replica_count: Replicas that always run, at least 1 (default 1).
            max_replica_count: Replicas at most (default: the minimum).
            autoscaling_metric_specs: What decides in between.
            service_account: E-mail address of the account that the container runs as.
            expiry: How long after its deployment it is wanted, such as `8h` or `3d`; previews warn of its end.
            deploy_request_timeout_seconds: How long one run waits for an operation (default 1800). The operation goes
                on after it; the next run goes on waiting.
            traffic_percent: The share of the endpoint's traffic, where other stacks serve behind it too (default: what
                they leave). The model's label `vertex-vllm-traffic` tells the others.
            rollout: How a replacement takes the traffic over.
            opts: Pulumi's options.
        """
        properties = {
            "project": project,
            "location": location,
            "endpoint": endpoint,
            "model": model,
            "displayName": display_name,
            "machineSpec": machine_spec,
            "spot": spot,
            "minReplicaCount": min_replica_count,
            "maxReplicaCount": max_replica_count,
            "autoscalingMetricSpecs": autoscaling_metric_specs,
            "serviceAccount": service_account,
            "expiry": expiry,
            "deployRequestTimeoutSeconds": deploy_request_timeout_seconds,
            "trafficPercent": traffic_percent,
            "rollout": rollout,
            "deployedModelId": _FROM_PROVIDER,
            "dedicatedEndpointDns": _FROM_PROVIDER,
            "createTime": _FROM_PROVIDER,
            "traffic": _FROM_PROVIDER,
            "status": _FROM_PROVIDER,
            "operation": _FROM_PROVIDER,
        }
        super().__init__("vertexserving:index:Deployment", resource_name, properties, opts)


class BucketDisposal(_Resource):
    """Decides on destroy whether the stack's buckets go: `if_empty` deletes an empty one and keeps, with a warning, one
    that holds anything; `keep` keeps it; `delete` leaves it to the bucket's own resource.

    A stack's buckets are those with its labels `vertex-vllm-project` and `vertex-vllm-stack`. Each must depend on this
    resource, and with `if_empty` and `keep` have `retain_on_delete`.
    """

    project: Output[str]
    policy: Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        project: Input[str],
        policy: Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Registers a disposal.

        Args:
            resource_name: The resource's name in the program.
            project: Project id.
            policy: `if_empty` (default), `keep` or `delete`.
            opts: Pulumi's options.
        """
        properties = {"project": project, "policy": policy}
        super().__init__("vertexserving:index:BucketDisposal", resource_name, properties, opts)


class LeftoverCheck(_Resource):
    """Says, when it is destroyed, what is left in the cloud with the stack's labels, and what that has cost.

    In the state only; it changes nothing. Make it before everything else, so that it goes last. With `endpoint` it
    looks at that endpoint's deployments only: made after the endpoint and before its deployments, it goes between them.
    """

    project: Output[str]
    location: Output[str]
    endpoint: Output[str | None]

    def __init__(
        self,
        resource_name: str,
        *,
        project: Input[str],
        location: Input[str],
        endpoint: Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Registers a check.

        Args:
            resource_name: The resource's name in the program.
            project: Project id.
            location: Region that is looked at.
            endpoint: Full name of the one endpoint whose deployments are looked at.
            opts: Pulumi's options.
        """
        properties = {"project": project, "location": location, "endpoint": endpoint}
        super().__init__("vertexserving:index:LeftoverCheck", resource_name, properties, opts)
