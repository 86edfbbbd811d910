"""Paths of iam.googleapis.com/v1: service accounts."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud.core import Cloud
from infra.local.cloud.iam.accounts import ServiceAccounts
from infra.local.cloud.iam.handlers import AccountHandlers
from infra.local.cloud.iam.policies import POLICY_SCHEMA
from infra.local.cloud.rest import Method

_ACCOUNT = {
    "name": str,
    "projectId": str,
    "uniqueId": str,
    "email": str,
    "displayName": str,
    "etag": str,
    "description": str,
    "oauth2ClientId": str,
    "disabled": bool,
}


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    accounts = ServiceAccounts(cloud.store, cloud.policies, lambda: cloud.projects, cloud.services)
    cloud.policies.account_exists = accounts.known
    cloud.on_summary("service accounts", accounts.summary)
    service = AccountHandlers(cloud, accounts)
    base = "/v1/projects/{project}/serviceAccounts"
    name = base + "/{account}"
    return [
        Method(cloud, "POST", base, service.create, body={"accountId": str, "serviceAccount": _ACCOUNT}),
        Method(cloud, "GET", base, service.list, query=("pageSize", "pageToken")),
        Method(cloud, "GET", name, service.get),
        Method(cloud, "DELETE", name, service.delete),
        Method(cloud, "PUT", name, service.update, body=_ACCOUNT),
        Method(cloud, "PATCH", name, service.patch, body={"serviceAccount": _ACCOUNT, "updateMask": str}),
        Method(cloud, "POST", name + ":disable", service.disable, body={}),
        Method(cloud, "POST", name + ":enable", service.enable, body={}),
        Method(
            cloud,
            "POST",
            name + ":getIamPolicy",
            service.get_policy,
            query=("options.requestedPolicyVersion",),
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
            cloud, "POST", name + ":testIamPermissions", service.test_permissions, body={"permissions": [str]}
        ),
    ]
