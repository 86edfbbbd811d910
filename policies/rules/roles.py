"""The container's service account holds narrow roles on the project.

`no-broad-project-roles` (mandatory). Satisfied by: roles of one service that cannot administer. Violated by: basic
roles (`roles/owner`, `roles/editor`, `roles/viewer`) and every role that administers, other than those in `except`, by
default the one that Google's guide hands out.

`least-project-roles` (advisory). Satisfied by: the roles in `allowed`. Violated by: any other, such as the
`roles/storage.admin` of `vertex-vllm:grants: guide`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import Resource, Rule

PROJECT_GRANTS = frozenset(f"gcp:projects/iAM{kind}:IAM{kind}" for kind in ("Member", "Binding"))
BASIC = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
ESCALATING = frozenset({"roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser"})


def is_broad(role: str) -> bool:
    """Whether a role is basic, administers a service, or lets its holder become somebody else."""
    return role in BASIC or role in ESCALATING or role.lower().endswith("admin")


def _service_account_role(resource: Resource) -> str | None:
    """The role that a project grant gives to a service account, None when it gives none."""
    role = resource.get("role")
    if resource.type not in PROJECT_GRANTS or not isinstance(role, str):
        return None
    members = [resource.get("member"), *resource.items("members")]
    # A member that is not known yet is the account made in the same run.
    people = [m for m in members if isinstance(m, str) and not m.startswith("serviceAccount:")]
    return None if people and len(people) == len([m for m in members if m is not None]) else role


def check_broad(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    role = _service_account_role(resource)
    if role is not None and is_broad(role) and role not in config["except"]:
        yield (
            f"{role} on the whole project is too broad for a service account; "
            "grant a narrower role, or on one resource"
        )


def check_least(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    role = _service_account_role(resource)
    if role is not None and role not in config["allowed"]:
        yield (
            f"{role} on the project is more than serving needs ({', '.join(config['allowed'])}); "
            "pulumi config set vertex-vllm:grants least"
        )


_ROLES = {"type": "array", "items": {"type": "string"}}

NO_BROAD_PROJECT_ROLES = Rule(
    name="no-broad-project-roles",
    description="Service accounts hold no basic or administering role on the project.",
    check=check_broad,
    config={"except": {**_ROLES, "default": ["roles/storage.admin"]}},
)
LEAST_PROJECT_ROLES = Rule(
    name="least-project-roles",
    description="Service accounts hold only the roles on the project that serving needs.",
    check=check_least,
    level="advisory",
    config={"allowed": {**_ROLES, "default": ["roles/aiplatform.user"]}},
)
