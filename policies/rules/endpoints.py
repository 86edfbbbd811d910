"""How clients reach what is served.

`dedicated-endpoint`. Satisfied by: in production (option `production`: `prod`, `production`), an endpoint with a host
of its own, or a private one (Private Service Connect, or a peered network); any endpoint elsewhere. Violated by: a
shared endpoint there (60 s and 1.5 MB a request, no streaming, one quota for all).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.capacity import ENDPOINT
from rules.rule import ENVIRONMENTS, PRODUCTION, UNKNOWN, Resource, Rule


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != ENDPOINT or not resource.in_production(config):
        return
    ways = (
        resource.get("dedicatedEndpointEnabled", default=False),
        resource.get("privateServiceConnectConfig", "enablePrivateServiceConnect", default=False),
        resource.get("network", default="") != "",
    )
    if UNKNOWN not in ways and True not in ways:
        yield (
            f"stack {resource.stack} needs a dedicated or a private endpoint; "
            "pulumi config set vertex-vllm:dedicatedEndpoint true"
        )


DEDICATED_ENDPOINT = Rule(
    name="dedicated-endpoint",
    description="Endpoints in production are dedicated or private.",
    check=check,
    config={"production": PRODUCTION, "environments": ENVIRONMENTS},
)
