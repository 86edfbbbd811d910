"""The plugin process: `python -m infra.provider ENGINE_ADDRESS`, started by `pulumi-resource-vertexserving`."""

from __future__ import annotations

import sys

VERSION = "0.1.0"


def main() -> None:
    """Serves the provider until the engine ends."""
    try:
        from infra.plugin.server import serve
        from infra.provider.bucket_disposal import BucketDisposal
        from infra.provider.connect import Connector
        from infra.provider.deployment import Deployment
        from infra.provider.leftovers import LeftoverCheck
        from infra.provider.model import Model
    except ModuleNotFoundError as e:
        sys.exit(
            f"vertexserving: {sys.executable} has no module {e.name}. "
            "Run `make setup`, or activate an environment with the packages of requirements.txt."
        )
    connector = Connector()
    resources = [Model(connector), Deployment(connector), BucketDisposal(connector), LeftoverCheck(connector)]
    serve("vertexserving", VERSION, resources)


if __name__ == "__main__":
    main()
