"""The Vertex AI endpoint: the address that clients call, shared or dedicated.

Owns the endpoint alone. Its traffic split belongs to the deployments behind it (the `vertexserving` provider moves
traffic while it rolls), so a difference there is never a change here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

TOKEN = "vertex-vllm:endpoint:ServingEndpoint"


@dataclass(frozen=True, kw_only=True)
class ServingEndpointArgs:
    """Which endpoint.

    Attributes:
        project: Project id.
        region: Region, e.g. `us-central1`.
        endpoint_id: Chosen id, 1-9 digits, no leading zero; or that of an imported endpoint, which may be longer.
        display_name: Shown in the console, at most 128 characters.
        dedicated: True gives the endpoint a DNS name of its own (streaming, 10 MB, up to 1 h a request).
        labels: Labels of the endpoint.
        existing: Full name of an endpoint to serve behind instead of making one; destroy leaves it.
        look_up: Whether an existing one's DNS name is looked up here: where nothing is deployed that tells it.
    """

    project: str
    region: str
    endpoint_id: str
    display_name: str
    dedicated: bool
    labels: Mapping[str, str]
    existing: str | None = None
    look_up: bool = False


class ServingEndpoint(pulumi.ComponentResource):
    """One endpoint.

    Attributes:
        endpoint: Resource name, `projects/P/locations/R/endpoints/ID`.
        dedicated_dns: The DNS name of a dedicated endpoint, None for a shared one, and for an existing one
            unless it was to be looked up.
    """

    endpoint: pulumi.Output[str]
    dedicated_dns: pulumi.Output[str | None]

    def __init__(
        self, name: str, args: ServingEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        if args.existing is not None:
            self.endpoint = pulumi.Output.from_input(args.existing)
            # Whether it is dedicated is read with the deployment. A stopped stack has none, and keeps its address.
            self.dedicated_dns = pulumi.Output.from_input(None)
            if args.look_up:
                found = gcp.vertex.AiEndpoint.get(f"{name}-existing", args.existing, opts=child)
                self.dedicated_dns = found.dedicated_endpoint_dns.apply(host_name)
            self.register_outputs({"endpoint": self.endpoint, "dedicated_dns": self.dedicated_dns})
            return
        endpoint = gcp.vertex.AiEndpoint(
            name,
            name=args.endpoint_id,
            project=args.project,
            location=args.region,
            region=args.region,
            display_name=args.display_name,
            dedicated_endpoint_enabled=args.dedicated,
            labels=dict(args.labels),
            # region: never read back, so an imported endpoint has none in the state, and it cannot be changed.
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(ignore_changes=["trafficSplit", "region"])
            ),
        )
        self.endpoint = endpoint.id
        if args.dedicated:
            self.dedicated_dns = endpoint.dedicated_endpoint_dns.apply(host_name)
        else:
            # Known in a preview already; for a shared endpoint the API answers an empty string.
            self.dedicated_dns = pulumi.Output.from_input(None)
        self.register_outputs({"endpoint": self.endpoint, "dedicated_dns": self.dedicated_dns})


def host_name(dns: str | None) -> str | None:
    """The bare host of `dedicatedEndpointDns`, which is documented with `https://` before it and answered without."""
    return (dns or "").removeprefix("https://").rstrip("/") or None
