"""The service account that the container runs as, and what it may do in the project.

Owns the account (unless an existing one is named) and its project-level grants. Grants on a bucket belong to the
bucket (`components.artifacts`). Existing accounts are never changed or deleted; only the grants made here are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import pulumi
import pulumi_gcp as gcp

TOKEN = "vertex-vllm:identity:ServingIdentity"

Grants = Literal["least", "guide"]

PROJECT_ROLES: Mapping[Grants, tuple[str, ...]] = MappingProxyType(
    {
        "least": ("roles/aiplatform.user",),
        "guide": ("roles/aiplatform.user", "roles/storage.admin"),
    }
)
"""Roles on the project. `guide` is the set that Google's vLLM guide hands out by hand; it reaches every bucket."""


@dataclass(frozen=True, kw_only=True)
class ServingIdentityArgs:
    """Who the container is.

    Attributes:
        project: Project id, of the account and of the grants.
        account_id: Id of the account to make (6-30 characters); ignored when `existing_email` is given.
        existing_email: Email of an account to use instead of making one.
        grants: Name of a set in `PROJECT_ROLES`.
        display_name: Shown in the console for an account made here.
        description: Of an account made here, which has no labels: the stack's two, by which a sweep finds it.
    """

    project: str
    account_id: str
    existing_email: str | None = None
    grants: Grants = "least"
    display_name: str = "vLLM on Vertex AI"
    description: str | None = None


class ServingIdentity(pulumi.ComponentResource):
    """A service account with its project grants; depend on this component to run after the grants.

    Attributes:
        email: The account's email.
        member: The account as IAM writes it, `serviceAccount:EMAIL`.
    """

    email: pulumi.Output[str]
    member: pulumi.Output[str]

    def __init__(
        self, name: str, args: ServingIdentityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        if args.existing_email is None:
            account = gcp.serviceaccount.Account(
                name,
                project=args.project,
                account_id=args.account_id,
                display_name=args.display_name,
                description=args.description,
                # A run that was killed in the middle of this create has made it; the id is the stack's alone.
                create_ignore_already_exists=True,
                opts=child,
            )
            self.email = account.email
        else:
            self.email = pulumi.Output.from_input(args.existing_email)
        self.member = pulumi.Output.concat("serviceAccount:", self.email)
        for role in PROJECT_ROLES[args.grants]:
            gcp.projects.IAMMember(
                f"{name}-{role_slug(role)}",
                project=args.project,
                role=role,
                member=self.member,
                opts=child,
            )
        self.register_outputs({"email": self.email, "member": self.member})


def role_slug(role: str) -> str:
    """`roles/storage.objectViewer` as a piece of a resource name: `storage-objectViewer`."""
    return role.removeprefix("roles/").replace(".", "-")
