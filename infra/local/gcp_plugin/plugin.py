"""What the stand-in consists of, and its start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NoReturn

from infra.local.gcp_plugin.accounts import Account
from infra.local.gcp_plugin.base import Gcp
from infra.local.gcp_plugin.buckets import Bucket, GetBucket, GetBucketObjectContent
from infra.local.gcp_plugin.endpoints import AiEndpoint
from infra.local.gcp_plugin.grants import BucketIAMMember, IAMMember
from infra.local.gcp_plugin.monitoring import AlertPolicy, Dashboard
from infra.local.gcp_plugin.objects import BucketObject
from infra.local.gcp_plugin.services import Service
from infra.local.gcp_plugin.settings import read_settings
from infra.plugin.server import serve
from infra.plugin.servicer import Servicer

NAME: Final = "gcp"
VERSION: Final = "10.2.0"
"""The version of pulumi-gcp that this stands in for; the engine looks for a plugin of exactly the SDK's
version.
"""

ABOUT: Final = (
    "This is the local stand-in of the gcp plugin; the official plugin has them all. Use the official one "
    "with a real project, or add the type in infra/local/gcp_plugin."
)
RESOURCES: Final = (
    Account,
    AiEndpoint,
    AlertPolicy,
    Bucket,
    BucketIAMMember,
    BucketObject,
    Dashboard,
    IAMMember,
    Service,
)
FUNCTIONS: Final = (GetBucket, GetBucketObjectContent)


def servicer(environ: Mapping[str, str]) -> Servicer:
    """The provider as a gRPC servicer, for tests."""
    gcp = Gcp()
    return Servicer(
        NAME,
        VERSION,
        [resource(gcp) for resource in RESOURCES],
        [function(gcp) for function in FUNCTIONS],
        configure=lambda config: gcp.configure(read_settings(config, environ)),
        about=ABOUT,
    )


def main() -> NoReturn:
    """Serve the provider to the engine that started this process."""
    gcp = Gcp()
    serve(
        NAME,
        VERSION,
        [resource(gcp) for resource in RESOURCES],
        [function(gcp) for function in FUNCTIONS],
        configure=lambda config: gcp.configure(read_settings(config, os.environ)),
        about=ABOUT,
    )
