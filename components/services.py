"""The Google APIs that a served model needs, enabled and never disabled again.

Owns `google.cloud` API activation for one project. It deliberately leaves every API enabled on destroy: another
stack, or a person, may rely on it, and an enabled API costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

TOKEN = "vertex-vllm:services:EnabledServices"

REQUIRED_SERVICES: tuple[str, ...] = (
    "aiplatform.googleapis.com",
    "cloudresourcemanager.googleapis.com",  # project-level grants are read and written through it
    "compute.googleapis.com",
    "iam.googleapis.com",
    "storage.googleapis.com",
)
"""APIs that the other components call, or that the platform calls for them."""

TELEMETRY_SERVICES: tuple[str, ...] = ("monitoring.googleapis.com",)
"""APIs that only the telemetry calls."""


@dataclass(frozen=True, kw_only=True)
class EnabledServicesArgs:
    """What to enable.

    Attributes:
        project: Project id.
        services: Full API names, e.g. `aiplatform.googleapis.com`; each is the key of its child.
    """

    project: str
    services: tuple[str, ...] = REQUIRED_SERVICES


class EnabledServices(pulumi.ComponentResource):
    """Enables each API once; depend on this component to run after all of them.

    Attributes:
        services: The API names, known once they are enabled, in the order given.
    """

    services: pulumi.Output[list[str]]

    def __init__(
        self, name: str, args: EnabledServicesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        enabled = {
            service: gcp.projects.Service(
                f"{name}-{service.split('.', 1)[0]}",
                project=args.project,
                service=service,
                disable_on_destroy=False,
                opts=child,
            )
            for service in args.services
        }
        self.services = pulumi.Output.all(*(resource.service for resource in enabled.values())).apply(list)
        self.register_outputs({"services": self.services})
