"""One served model: the composite of every other component, and the order between them.

Owns the graph and its order: APIs before everything, grants, model and endpoint before the deployment; destroy runs it
backwards. Leaves every choice to its arguments: the plan comes from `infra.recipes`, the rest from `infra.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.adapters import StagedAdapters, StagedAdaptersArgs
from components.artifacts import ArtifactBucket, ArtifactBucketArgs, OnDestroy
from components.deployment import AutoscalingMetric, ModelDeployment, ModelDeploymentArgs
from components.endpoint import ServingEndpoint, ServingEndpointArgs, host_name
from components.identity import Grants, ServingIdentity, ServingIdentityArgs
from components.model import UploadedModel, UploadedModelArgs
from components.services import REQUIRED_SERVICES, TELEMETRY_SERVICES, EnabledServices, EnabledServicesArgs
from components.telemetry import ServingTelemetry, ServingTelemetryArgs
from infra import expiry
from infra.provider.names import TRAFFIC_LABEL, labels_as_text
from infra.provider.resources import LeftoverCheck
from infra.recipes import ServingPlan

TOKEN = "vertex-vllm:serving:ServedModel"


@dataclass(frozen=True, kw_only=True)
class ServedModelArgs:
    """Everything that one stack decides.

    Attributes:
        project: Project id.
        plan: What is served on what, from a checked stack file.
        display_name: Name of model, endpoint and deployment in the console, at most 128 characters.
        endpoint_id: Chosen id of the endpoint, 1-9 digits.
        account_id: Id of the service account to make; unused with `existing_service_account`.
        existing_service_account: Email of an account to use instead.
        existing_endpoint: Full name of an endpoint to serve behind instead of making one.
        existing_bucket: Name of a bucket to use instead of making one.
        weights_buckets: Buckets named in the stack file that the container reads.
        grants: Which set of roles the service account gets.
        on_destroy_bucket: What destroy does with a bucket made here.
        hf_token: Hugging Face read token, secret; None when it is not needed.
        labels: Labels of everything that has labels.
        stopped: Whether the deployment is left out, and everything else stays.
        telemetry: Whether a dashboard and alerts are made.
        notification_channels: Channels that the alerts go to, `projects/P/notificationChannels/ID`.
    """

    project: str
    plan: ServingPlan
    display_name: str
    endpoint_id: str
    account_id: str
    existing_service_account: str | None = None
    existing_endpoint: str | None = None
    existing_bucket: str | None = None
    weights_buckets: tuple[str, ...] = ()
    grants: Grants = "least"
    on_destroy_bucket: OnDestroy = "if_empty"
    hf_token: pulumi.Input[str] | None = None
    labels: Mapping[str, str]
    stopped: bool = False
    telemetry: bool = False
    notification_channels: tuple[str, ...] = ()


class ServedModel(pulumi.ComponentResource):
    """One model served behind one endpoint.

    Attributes:
        endpoint: Resource name of the endpoint.
        dedicated_endpoint_dns: DNS name of a dedicated endpoint, else None.
        model: Resource name of the model.
        deployed_model_id: Id of the deployed model within the endpoint, empty while the stack is stopped.
        bucket: Name of the bucket.
        staging_uri: `gs://` prefix for staged files.
        model_uri: `gs://` prefix for weights and adapters.
        service_account: Email that the container runs as.
        adapters: `gs://` prefixes of the adapters that are uploaded here, by their names.
        dashboard: Resource name of the dashboard, None without telemetry.
    """

    endpoint: pulumi.Output[str]
    dedicated_endpoint_dns: pulumi.Output[str | None]
    model: pulumi.Output[str]
    deployed_model_id: pulumi.Output[str]
    bucket: pulumi.Output[str]
    staging_uri: pulumi.Output[str]
    model_uri: pulumi.Output[str]
    service_account: pulumi.Output[str]
    adapters: pulumi.Output[Mapping[str, str]]
    dashboard: pulumi.Output[str | None]

    def __init__(self, name: str, args: ServedModelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        plan = args.plan
        # Before everything else, so that a destroy ends with it; `endpoint_check` goes before the endpoint does.
        leftovers = LeftoverCheck(f"{name}-leftovers", project=args.project, location=plan.region, opts=child)
        apis = (*REQUIRED_SERVICES, *(TELEMETRY_SERVICES if args.telemetry else ()))
        services = EnabledServices(
            f"{name}-services",
            EnabledServicesArgs(project=args.project, services=apis),
            pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[leftovers])),
        )
        # A child waits for its parent's registration, and that for what the parent depends on: everything below a
        # component comes after everything below the components it is made to depend on here.
        enabled = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[services]))
        identity = ServingIdentity(
            f"{name}-identity",
            ServingIdentityArgs(
                project=args.project,
                account_id=args.account_id,
                existing_email=args.existing_service_account,
                grants=args.grants,
                description=labels_as_text(args.labels),
            ),
            enabled,
        )
        artifacts = ArtifactBucket(
            f"{name}-artifacts",
            ArtifactBucketArgs(
                project=args.project,
                region=plan.region,
                member=identity.member,
                existing_bucket=args.existing_bucket,
                weights_buckets=args.weights_buckets,
                grants=args.grants,
                on_destroy=args.on_destroy_bucket,
                labels=args.labels,
            ),
            enabled,
        )
        ready: list[pulumi.Resource] = [identity, artifacts]
        self.adapters = pulumi.Output.from_input({})
        if plan.adapters:
            staged = StagedAdapters(
                f"{name}-adapters",
                StagedAdaptersArgs(bucket=artifacts.bucket, adapters=plan.adapters),
                enabled,
            )
            self.adapters = staged.uris
            ready.append(staged)
        model = UploadedModel(
            f"{name}-model",
            UploadedModelArgs(
                project=args.project,
                region=plan.region,
                display_name=args.display_name,
                container=plan.container,
                hf_token=args.hf_token,
                labels={**args.labels, **_traffic_label(plan)},
                keep_versions=plan.stack.rollout.old_model == "keep",
            ),
            enabled,
        )
        endpoint = ServingEndpoint(
            f"{name}-endpoint",
            ServingEndpointArgs(
                project=args.project,
                region=plan.region,
                endpoint_id=args.endpoint_id,
                display_name=args.display_name,
                dedicated=plan.endpoint.dedicated,
                labels=args.labels,
                existing=args.existing_endpoint,
                look_up=args.stopped,
            ),
            enabled,
        )
        endpoint_check = LeftoverCheck(
            f"{name}-endpoint-leftovers",
            project=args.project,
            location=plan.region,
            endpoint=endpoint.endpoint,
            opts=enabled,
        )
        self.endpoint = endpoint.endpoint
        self.dedicated_endpoint_dns = endpoint.dedicated_dns
        self.deployed_model_id = pulumi.Output.from_input("")
        lifetime = args.labels.get(expiry.LABEL, "")
        if not args.stopped:
            deployment = ModelDeployment(
                name,
                ModelDeploymentArgs(
                    project=args.project,
                    region=plan.region,
                    endpoint=endpoint.endpoint,
                    model=model.model,
                    display_name=args.display_name,
                    machine_type=plan.hardware.machine_type,
                    accelerator_type=plan.hardware.accelerator_type,
                    accelerator_count=plan.hardware.accelerator_count,
                    spot=plan.hardware.spot,
                    min_replica_count=plan.replicas.min_replica_count,
                    max_replica_count=plan.replicas.max_replica_count,
                    autoscaling=tuple(
                        AutoscalingMetric(metric_name=metric.metric_name, target=metric.target)
                        for metric in plan.replicas.autoscaling
                    ),
                    service_account=identity.email,
                    traffic_percent=plan.endpoint.traffic,
                    rollout=plan.stack.rollout,
                    deploy_request_timeout=plan.deploy_request_timeout,
                    expiry=lifetime if expiry.Expiry.of(lifetime).length else None,
                ),
                # Endpoint and model come in as values; the grants are no value, and a container that starts before them
                # fails to read its weights after minutes of paid GPU time. Adapters are none either: an upload that
                # fails shall fail before a GPU is paid for, and other adapters change nothing of the deployment.
                pulumi.ResourceOptions.merge(
                    child, pulumi.ResourceOptions(depends_on=[*ready, endpoint_check])
                ),
            )
            self.deployed_model_id = deployment.deployed_model_id
            if args.existing_endpoint is not None:
                self.dedicated_endpoint_dns = deployment.dedicated_dns.apply(host_name)
        self.dashboard = pulumi.Output.from_input(None)
        if args.telemetry:
            self.dashboard = ServingTelemetry(
                f"{name}-telemetry",
                ServingTelemetryArgs(
                    project=args.project,
                    endpoint_id=args.endpoint_id,
                    display_name=args.display_name,
                    dedicated=plan.endpoint.dedicated,
                    vllm_metrics=not plan.vllm.disable_log_stats,
                    usd_per_hour=plan.usd_per_hour,
                    notification_channels=args.notification_channels,
                    labels=args.labels,
                ),
                enabled,
            ).dashboard
        self.model = model.model
        self.bucket = artifacts.bucket
        self.staging_uri = artifacts.staging_uri
        self.model_uri = artifacts.model_uri
        self.service_account = identity.email
        self.register_outputs(
            {
                "endpoint": self.endpoint,
                "dedicated_endpoint_dns": self.dedicated_endpoint_dns,
                "model": self.model,
                "deployed_model_id": self.deployed_model_id,
                "bucket": self.bucket,
                "staging_uri": self.staging_uri,
                "model_uri": self.model_uri,
                "service_account": self.service_account,
                "adapters": self.adapters,
                "dashboard": self.dashboard,
            }
        )


def _traffic_label(plan: ServingPlan) -> Mapping[str, str]:
    """By which other stacks on the endpoint know the share that this one declares."""
    return {} if plan.endpoint.traffic is None else {TRAFFIC_LABEL: str(plan.endpoint.traffic)}
