"""Paths of cloudresourcemanager.googleapis.com: v1 and v3."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud.core import Cloud
from infra.local.cloud.iam.policies import POLICY_SCHEMA
from infra.local.cloud.resourcemanager.handlers import ResourceManager
from infra.local.cloud.rest import Method


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    service = ResourceManager(cloud)
    cloud.on_summary("project grants", service.summary)
    found: list[BaseRoute] = []
    for version in ("v1", "v3"):
        base = f"/{version}/projects"
        name = base + "/{project}"
        view = service.get_v1 if version == "v1" else service.get_v3
        search = service.list_v1 if version == "v1" else service.search_v3
        found += [
            Method(cloud, "GET", name, view),
            Method(
                cloud,
                "GET",
                base if version == "v1" else base + ":search",
                search,
                query=("filter", "query", "pageSize", "pageToken"),
            ),
            Method(
                cloud,
                "POST",
                name + ":getIamPolicy",
                service.get_policy,
                body={"options": {"requestedPolicyVersion": int}},
            ),
            Method(
                cloud,
                "POST",
                name + ":setIamPolicy",
                service.set_policy,
                body={"policy": POLICY_SCHEMA, "updateMask": str},
            ),
            Method(
                cloud,
                "POST",
                name + ":testIamPermissions",
                service.test_permissions,
                body={"permissions": [str]},
            ),
        ]
    return found
