"""The model running on GPUs behind an endpoint: the one part that costs money by the hour.

Owns one deployment. Replica counts and autoscaling change in place; anything else rolls (the `vertexserving` provider
deploys new beside old, moves traffic, undeploys old).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pulumi

from infra.provider.resources import Deployment, RolloutArgs
from infra.recipes import Rollout

TOKEN = "vertex-vllm:deployment:ModelDeployment"


@dataclass(frozen=True, kw_only=True)
class AutoscalingMetric:
    """One metric that replicas follow: its full name and the value to hold, percent for utilisations, else a count."""

    metric_name: str
    target: int


@dataclass(frozen=True, kw_only=True)
class ModelDeploymentArgs:
    """What runs where.

    Attributes:
        project: Project id.
        region: Region that serves.
        endpoint: Resource name of the endpoint.
        model: Resource name of the model.
        display_name: Shown in the console, at most 128 characters.
        machine_type: e.g. `g2-standard-12`.
        accelerator_type: e.g. `NVIDIA_L4`.
        accelerator_count: GPUs on one machine.
        spot: True runs on preemptible capacity.
        min_replica_count: Replicas that always run.
        max_replica_count: Replicas at most.
        autoscaling: Metrics that decide in between.
        service_account: Email that the container runs as.
        expiry: How long after its deployment it is wanted (`8h`); None where a day says it, or nothing.
        traffic_percent: Share of the endpoint's traffic; None for what other stacks leave.
        rollout: What a replacement does.
        deploy_request_timeout: Seconds that a deploy request may take before it is reported as failed.
    """

    project: str
    region: str
    endpoint: pulumi.Input[str]
    model: pulumi.Input[str]
    display_name: str
    machine_type: str
    accelerator_type: str
    accelerator_count: int
    spot: bool
    min_replica_count: int
    max_replica_count: int
    autoscaling: tuple[AutoscalingMetric, ...] = ()
    service_account: pulumi.Input[str]
    traffic_percent: int | None = None
    rollout: Rollout = dataclasses.field(default_factory=Rollout)
    deploy_request_timeout: int
    expiry: str | None = None


class ModelDeployment(pulumi.ComponentResource):
    """One deployed model.

    Attributes:
        deployed_model_id: Id of the deployed model within its endpoint, 1-10 digits.
        dedicated_dns: The DNS name of a dedicated endpoint, empty for a shared one.
    """

    deployed_model_id: pulumi.Output[str]
    dedicated_dns: pulumi.Output[str]

    def __init__(
        self, name: str, args: ModelDeploymentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        deployment = Deployment(
            name,
            project=args.project,
            location=args.region,
            endpoint=args.endpoint,
            model=args.model,
            display_name=args.display_name,
            machine_spec={
                "machineType": args.machine_type,
                "acceleratorType": args.accelerator_type,
                "acceleratorCount": args.accelerator_count,
            },
            spot=args.spot,
            min_replica_count=args.min_replica_count,
            max_replica_count=args.max_replica_count,
            autoscaling_metric_specs=[
                {"metricName": metric.metric_name, "target": metric.target} for metric in args.autoscaling
            ],
            service_account=args.service_account,
            expiry=args.expiry,
            deploy_request_timeout_seconds=args.deploy_request_timeout,
            traffic_percent=args.traffic_percent,
            rollout=rollout_inputs(args.rollout),
            opts=child,
        )
        self.deployed_model_id = deployment.deployed_model_id
        self.dedicated_dns = deployment.dedicated_endpoint_dns
        self.register_outputs(
            {"deployed_model_id": self.deployed_model_id, "dedicated_dns": self.dedicated_dns}
        )


def rollout_inputs(rollout: Rollout) -> RolloutArgs | None:
    """What differs from the provider's defaults; None for nothing, as in states that know of no rollout."""
    steps = list(rollout.steps)
    given: RolloutArgs = {}
    if rollout.strategy != "auto":
        given["strategy"] = rollout.strategy
    if not rollout.smoke:
        given["smoke"] = False
    if steps:
        given["steps"] = list(steps)
        given["bakeSeconds"] = rollout.bake_seconds
        given["maxErrorPercent"] = rollout.max_error_percent
    return given or None
