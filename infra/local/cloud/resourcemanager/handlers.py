"""Projects and their allow policies."""

from __future__ import annotations

import re
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError, denied, invalid
from infra.local.cloud.identity import OWNER
from infra.local.cloud.projects import Project
from infra.local.cloud.rest import Call
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
SERVICE = "cloudresourcemanager.googleapis.com"
_MASKABLE = ("bindings", "etag", "auditConfigs", "version")


class ResourceManager:
    """Handlers of Resource Manager v1 and v3."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def get_v1(self, call: Call) -> Json:
        """GET a project, v1's form."""
        return _v1(self._require(call, "resourcemanager.projects.get"))

    def get_v3(self, call: Call) -> Json:
        """GET a project, v3's form."""
        return _v3(self._require(call, "resourcemanager.projects.get"))

    def list_v1(self, call: Call) -> Json:
        """GET the projects the caller may see."""
        return self._page(call, _v1)

    def search_v3(self, call: Call) -> Json:
        """GET projects:search."""
        return self._page(call, _v3)

    def get_policy(self, call: Call) -> Json:
        """POST :getIamPolicy; conditional bindings only at policy version 3."""
        project = self._require(call, "resourcemanager.projects.getIamPolicy")
        version = int((call.body.get("options") or {}).get("requestedPolicyVersion") or 1)
        if version not in {1, 3}:
            raise invalid(f"Requested policy version ({version}) must be 0, 1 or 3.")
        return self.cloud.policies.get(f"projects/{project.id}")

    def set_policy(self, call: Call) -> Json:
        """POST :setIamPolicy; only the fields that updateMask names are changed."""
        project = self._require(call, "resourcemanager.projects.setIamPolicy")
        policy = call.body.get("policy")
        if policy is None:
            raise invalid("Policy must be set.", [("policy", "Policy must be set.")])
        mask = [field.strip() for field in (call.body.get("updateMask") or "bindings,etag").split(",")]
        wrong = [field for field in mask if _camel(field) not in _MASKABLE]
        if wrong:
            raise invalid(f"Invalid update mask: {', '.join(wrong)}; fields are {', '.join(_MASKABLE)}.")
        key = f"projects/{project.id}"
        current = self.cloud.policies.get(key)
        merged: Json = {name: current[name] for name in ("bindings", "auditConfigs") if name in current}
        for field in (_camel(field) for field in mask):
            if field in {"bindings", "auditConfigs"}:
                merged[field] = policy.get(field) or []
        if policy.get("etag"):
            merged["etag"] = policy["etag"]
        return self.cloud.policies.set(key, merged)

    def test_permissions(self, call: Call) -> Json:
        """POST :testIamPermissions."""
        project = self._find(call)
        permissions = call.body.get("permissions") or []
        for permission in permissions:
            check_permission_name(permission)
        held = [
            permission
            for permission in permissions
            if project is not None
            and self.cloud.policies.allows(call.principal, permission, [f"projects/{project.id}"])
        ]
        return {"permissions": held} if held else {}

    def summary(self) -> list[str]:
        """Grants of project policies beyond those of a new project."""
        return [
            f"{project.id}: {binding['role']} to {member}"
            for project in self.cloud.projects.all()
            for binding in self.cloud.policies.get(f"projects/{project.id}").get("bindings", [])
            for member in binding["members"]
            if (binding["role"], member) != ("roles/owner", OWNER.member)
        ]

    def _page(self, call: Call, view: Any) -> Json:
        wanted = call.query.get("filter") or call.query.get("query") or ""
        conditions = dict(re.findall(r"(\w+)(?:\.\w+)?[:=]\"?([^\s\"]+)\"?", wanted))
        after = decode_token(call.query.get("pageToken", ""))
        found = [
            project
            for project in self.cloud.projects.all()
            if project.id > after
            and self.cloud.policies.allows(
                call.principal, "resourcemanager.projects.get", [f"projects/{project.id}"]
            )
            and conditions.get("id", conditions.get("projectId", project.id)) == project.id
        ]
        size = strict.page_size(call.query, default=500, maximum=1000)
        answer: Json = {"projects": [view(project) for project in found[:size]]} if found else {}
        if len(found) > size:
            answer["nextPageToken"] = encode_token(found[size - 1].id)
        return answer

    def _find(self, call: Call) -> Project | None:
        return self.cloud.projects.find(call.path["project"])

    def _require(self, call: Call, permission: str) -> Project:
        project = self._find(call)
        if project is not None and self.cloud.policies.allows(
            call.principal, permission, [f"projects/{project.id}"]
        ):
            return project
        if call.request.url.path.startswith("/v1/"):
            raise GoogleError("PERMISSION_DENIED", "The caller does not have permission")
        raise denied(permission, f"projects/{call.path['project']}", SERVICE)


def check_permission_name(permission: str) -> None:
    """Refuses wildcards and anything that isn't service.resource.verb."""
    if not re.fullmatch(r"[a-z][\w-]*(\.[\w-]+){2,}", permission):
        raise invalid(f"Permission {permission} is not valid for this resource.")


def _camel(field: str) -> str:
    return {"audit_configs": "auditConfigs"}.get(field, field)


def _v1(project: Project) -> Json:
    return {
        "projectNumber": project.number,
        "projectId": project.id,
        "lifecycleState": "ACTIVE",
        "name": project.id,
        "createTime": project.create_time,
    }


def _v3(project: Project) -> Json:
    return {
        "name": f"projects/{project.number}",
        "projectId": project.id,
        "state": "ACTIVE",
        "displayName": project.id,
        "createTime": project.create_time,
        "updateTime": project.create_time,
    }
