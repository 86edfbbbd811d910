"""The container's service account holds narrow roles on the project.

`no-broad-project-roles` (mandatory). Satisfied by: roles of one service that cannot administer. Violated by: basic
roles (`roles/owner`, `roles/editor`, `roles/viewer`), every role that administers or lets its holder become another
account, and any role on a whole folder or organisation. Outside production (option `production`: `prod`,
`production`) the roles in `except` pass, by default `roles/storage.admin`, the one that Google's guide hands out.

`least-project-roles` (advisory). Satisfied by: the roles in `allowed`. Violated by: any other, such as the
`roles/storage.admin` of `vertex-vllm:grants: guide`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import ENVIRONMENTS, PRODUCTION, UNKNOWN, Resource, Rule

_KINDS = ("Member", "Binding", "Policy")
PROJECT_GRANTS = frozenset(f"gcp:projects/iAM{kind}:IAM{kind}" for kind in _KINDS)
WIDER_GRANTS = {
    **{f"gcp:folder/iAM{kind}:IAM{kind}": "folder" for kind in _KINDS},
    **{f"gcp:organizations/iAM{kind}:IAM{kind}": "organisation" for kind in _KINDS},
}
BASIC = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
ESCALATING = frozenset(
    {
        "roles/iam.serviceAccountTokenCreator",
        "roles/iam.serviceAccountUser",
        "roles/iam.workloadIdentityUser",
    }
)


def is_broad(role: str) -> bool:
    """Whether a role is basic, administers a service, or lets its holder become somebody else."""
    return role in BASIC or role in ESCALATING or role.lower().endswith("admin")


def grants(resource: Resource) -> Iterator[tuple[str, list[Any]]]:
    """Each role that a grant gives, with those members of it that are known."""
    role = resource.get("role")
    if isinstance(role, str):
        members = [resource.get("member"), *resource.items("members")]
        yield role, [member for member in members if member not in (None, UNKNOWN)]
    policy = resource.get("policyData")
    try:
        bindings = json.loads(policy)["bindings"] if isinstance(policy, str) else ()
    except (ValueError, KeyError, TypeError):
        bindings = ()  # the cloud refuses it
    for binding in bindings:
        yield str(binding.get("role", "")), list(binding.get("members", ()))


def _service_account_roles(resource: Resource) -> Iterator[str]:
    """The roles that a grant gives to a service account.

    A grant without a known member counts: that is the account made in the same run.
    """
    for role, members in grants(resource):
        people = [member for member in members if not str(member).startswith("serviceAccount:")]
        if not members or len(people) < len(members):
            yield role


def check_broad(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type in WIDER_GRANTS:
        for role in _service_account_roles(resource):
            yield (
                f"{role} on a whole {WIDER_GRANTS[resource.type]} is too broad for a service account; "
                "grant it on one resource"
            )
    if resource.type not in PROJECT_GRANTS:
        return
    excepted = () if resource.in_production(config) else config["except"]
    for role in _service_account_roles(resource):
        if is_broad(role) and role not in excepted:
            least = " (pulumi config set vertex-vllm:grants least)" if role in config["except"] else ""
            yield (
                f"{role} on the whole project is too broad for a service account; "
                f"grant a narrower role, or on one resource{least}"
            )


def check_least(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type not in PROJECT_GRANTS:
        return
    for role in _service_account_roles(resource):
        if role not in config["allowed"]:
            yield (
                f"{role} on the project is more than serving needs ({', '.join(config['allowed'])}); "
                "pulumi config set vertex-vllm:grants least"
            )


_ROLES = {"type": "array", "items": {"type": "string"}}

NO_BROAD_PROJECT_ROLES = Rule(
    name="no-broad-project-roles",
    description="Service accounts hold no basic or administering role on the project.",
    check=check_broad,
    config={
        "except": {**_ROLES, "default": ["roles/storage.admin"]},
        "production": PRODUCTION,
        "environments": ENVIRONMENTS,
    },
)
LEAST_PROJECT_ROLES = Rule(
    name="least-project-roles",
    description="Service accounts hold only the roles on the project that serving needs.",
    check=check_least,
    level="advisory",
    config={"allowed": {**_ROLES, "default": ["roles/aiplatform.user"]}},
)
