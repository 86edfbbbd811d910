"""How much may run, where, and whether it can.

`replica-ceiling`. Satisfied by: replicas up to option `maxReplicas` (10), or what `maxReplicasByEnvironment` (2 in
`dev`) says of the stack's environment. Violated by: more.

`reachable-scale`. Satisfied by: room between the fewest and the most replicas, and targets that a metric can exceed;
one fixed number of replicas without metrics. Violated by: more replicas at least than at most; metrics where both are
the same, which scale nothing; a percentage to hold of 100 or more, which nothing exceeds, so no replica is ever added;
one metric twice.

`allowed-regions` and `allowed-accelerators`. Satisfied by: anything while the option (`regions`, `accelerators`) is
empty, which it is by default; else by what it lists. Violated by: anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import ENVIRONMENTS, UNKNOWN, Resource, Rule

DEPLOYMENT = "vertexserving:index:Deployment"
ENDPOINT = "gcp:vertex/aiEndpoint:AiEndpoint"
LOCATED = frozenset({DEPLOYMENT, ENDPOINT, "vertexserving:index:Model", "gcp:storage/bucket:Bucket"})

COUNTS = frozenset(
    {
        "aiplatform.googleapis.com/prediction/online/request_count",
        "prometheus.googleapis.com/vertex_vllm_num_requests_waiting",
        "pubsub.googleapis.com/subscription/num_undelivered_messages",
    }
)
"""Metrics whose target is a count; those of all others are percentages."""


def most_replicas(resource: Resource) -> Any:
    """The most replicas of a deployment (1 where none are given), UNKNOWN where one of the two counts is."""
    counts = [resource.get(key) for key in ("minReplicaCount", "maxReplicaCount")]
    if UNKNOWN in counts:
        return UNKNOWN
    return max((count for count in counts if isinstance(count, int | float)), default=1)


def check_replicas(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != DEPLOYMENT:
        return
    # One of the two may be known already, and too many.
    counts = [resource.get(key) for key in ("minReplicaCount", "maxReplicaCount")]
    most = max((count for count in counts if isinstance(count, int | float)), default=0)
    limit = resource.limit(config, "maxReplicas")
    if most > limit:
        yield (
            f"up to {most:.0f} replicas, and at most {limit:.0f} are allowed in {resource.environment(config)}; "
            "lower replicas.max_replica_count in the stack file"
        )


def check_reachable(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != DEPLOYMENT:
        return
    low, high = resource.get("minReplicaCount", default=1), resource.get("maxReplicaCount")
    if high is None:
        high = low  # as Vertex AI takes it
    both = isinstance(low, int | float) and isinstance(high, int | float)
    if both and low > high:
        yield (
            f"at least {low:.0f} replicas are asked for, and at most {high:.0f}; "
            f"replicas.max_replica_count: {low:.0f} in the stack file"
        )
    specs = resource.get("autoscalingMetricSpecs", default=())
    count = 0 if specs is UNKNOWN else len(specs)
    if both and low == high and count:
        yield (
            f"nothing scales while at least and at most are both {low:.0f}; "
            "raise replicas.max_replica_count in the stack file, or remove replicas.autoscaling"
        )
    seen: set[str] = set()
    for position in range(count):
        name = resource.get("autoscalingMetricSpecs", position, "metricName")
        target = resource.get("autoscalingMetricSpecs", position, "target")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield f"{name} is there twice; remove one of the two from replicas.autoscaling in the stack file"
        seen.add(name)
        if name not in COUNTS and isinstance(target, int | float) and target >= 100:
            yield (
                f"{name} is a percentage and never exceeds its target {target:.0f}, so no replica is ever added; "
                "set the target in replicas.autoscaling to 60 or so"
            )


def check_regions(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    region = resource.get("location")
    allowed = config["regions"]
    if resource.type in LOCATED and allowed and isinstance(region, str) and region.lower() not in allowed:
        yield (
            f"{region.lower()} is not an allowed region ({', '.join(allowed)}); "
            f"pulumi config set gcp:region {allowed[0]}"
        )


def check_accelerators(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    accelerator = resource.get("machineSpec", "acceleratorType")
    allowed = config["accelerators"]
    if (
        resource.type == DEPLOYMENT
        and allowed
        and isinstance(accelerator, str)
        and accelerator not in allowed
    ):
        yield (
            f"{accelerator} is not an allowed accelerator ({', '.join(allowed)}); "
            "change hardware.accelerator_type in the stack file"
        )


_NAMES = {"type": "array", "items": {"type": "string"}, "default": []}

REPLICA_CEILING = Rule(
    name="replica-ceiling",
    description="A deployment scales to a limited number of replicas.",
    check=check_replicas,
    config={
        "maxReplicas": {"type": "integer", "minimum": 1, "default": 10},
        "maxReplicasByEnvironment": {
            "type": "object",
            "additionalProperties": {"type": "integer", "minimum": 1},
            "default": {"dev": 2},
        },
        "environments": ENVIRONMENTS,
    },
)
REACHABLE_SCALE = Rule(
    name="reachable-scale",
    description="Whatever a deployment says of scaling can come about.",
    check=check_reachable,
)
ALLOWED_REGIONS = Rule(
    name="allowed-regions",
    description="Models, endpoints and buckets are in allowed regions.",
    check=check_regions,
    config={"regions": _NAMES},
)
ALLOWED_ACCELERATORS = Rule(
    name="allowed-accelerators",
    description="Deployments use allowed accelerators.",
    check=check_accelerators,
    config={"accelerators": _NAMES},
)
