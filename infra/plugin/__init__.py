"""How a native Pulumi provider is served: values on the wire, gRPC, dispatch to resources, life and death of
the process.

A provider is a list of `Resource` objects handed to `infra.plugin.server.serve`. This package knows nothing
of what the resources do: no Google, no HTTP. It talks to the engine through Pulumi's own gRPC stubs
(`protos`) and needs no other part of the Pulumi SDK, because a plugin process is started by every preview and
the whole SDK takes three times as long to import as the stubs.
"""

from __future__ import annotations

from infra.plugin.resource import (
    Check,
    Context,
    Diff,
    Function,
    PartialFailure,
    Resource,
    ResourceError,
    State,
)
from infra.plugin.values import UNKNOWN, Asset, contains_unknown

__all__ = [
    "UNKNOWN",
    "Asset",
    "Check",
    "Context",
    "Diff",
    "Function",
    "PartialFailure",
    "Resource",
    "ResourceError",
    "State",
    "contains_unknown",
]
