"""How much may run, and where.

`replica-ceiling`. Satisfied by: `maxReplicaCount` up to option `maxReplicas` (10). Violated by: more.

`allowed-regions` and `allowed-accelerators`. Satisfied by: anything while the option (`regions`, `accelerators`) is
empty, which it is by default; else by what it lists. Violated by: anything else.

`dedicated-endpoint`. Satisfied by: a dedicated endpoint in the stacks of option `stacks` (none by default); any
endpoint elsewhere. Violated by: a shared endpoint there (60 s and 1.5 MB a request, no streaming).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import UNKNOWN, Resource, Rule

DEPLOYMENT = "vertexserving:index:Deployment"
ENDPOINT = "gcp:vertex/aiEndpoint:AiEndpoint"
LOCATED = frozenset({DEPLOYMENT, ENDPOINT, "vertexserving:index:Model", "gcp:storage/bucket:Bucket"})


def check_replicas(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != DEPLOYMENT:
        return
    most = max(
        (
            count
            for count in (resource.get("maxReplicaCount"), resource.get("minReplicaCount"))
            if isinstance(count, int | float)
        ),
        default=0,
    )
    if most > config["maxReplicas"]:
        yield (
            f"up to {most:.0f} replicas, and at most {config['maxReplicas']:.0f} are allowed; "
            "lower replicas.max_replica_count in the stack file"
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


def check_dedicated(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != ENDPOINT or resource.stack not in config["stacks"]:
        return
    dedicated = resource.get("dedicatedEndpointEnabled", default=False)
    if dedicated is not UNKNOWN and dedicated is not True:
        yield f"stack {resource.stack} needs a dedicated endpoint; set endpoint.dedicated: true in the stack file"


_NAMES = {"type": "array", "items": {"type": "string"}, "default": []}

REPLICA_CEILING = Rule(
    name="replica-ceiling",
    description="A deployment scales to a limited number of replicas.",
    check=check_replicas,
    config={"maxReplicas": {"type": "integer", "minimum": 1, "default": 10}},
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
DEDICATED_ENDPOINT = Rule(
    name="dedicated-endpoint",
    description="Endpoints of the named stacks are dedicated.",
    check=check_dedicated,
    config={"stacks": _NAMES},
)
