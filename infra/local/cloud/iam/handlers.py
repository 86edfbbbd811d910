"""Handlers of iam.googleapis.com/v1 for service accounts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import (
    GoogleError,
    error_info,
    failed_precondition,
    invalid,
    not_found,
    service_disabled,
)
from infra.local.cloud.iam.accounts import ServiceAccounts
from infra.local.cloud.projects import Project
from infra.local.cloud.resourcemanager.handlers import check_permission_name
from infra.local.cloud.rest import Call
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
SERVICE = "iam.googleapis.com"
#: Google's limits: display name 100 bytes, description 256 bytes, 100 accounts a project by default.
MAX_DISPLAY_NAME, MAX_DESCRIPTION, MAX_ACCOUNTS = 100, 256, 100


class AccountHandlers:
    """Handlers of service accounts."""

    def __init__(self, cloud: Cloud, accounts: ServiceAccounts) -> None:
        self.cloud, self.accounts = cloud, accounts

    def create(self, call: Call) -> Json:
        """POST serviceAccounts."""
        project = self._project(call)
        self._require(call, project, "iam.serviceAccounts.create", f"projects/{project.id}")
        account_id = call.body.get("accountId", "")
        if not 6 <= len(account_id) <= 30:
            message = f'The account ID "{account_id}" does not have a length between 6 and 30.'
            raise invalid(message, [("account_id", message)])
        if not re.fullmatch(r"[a-z](?:[-a-z0-9]*[a-z0-9])", account_id):
            message = f'The account ID "{account_id}" does not match the pattern "[a-z]([-a-z0-9]*[a-z0-9])".'
            raise invalid(message, [("account_id", message)])
        given = call.body.get("serviceAccount") or {}
        _check_texts(given)
        email = f"{account_id}@{project.id}.iam.gserviceaccount.com"
        if self.accounts.find(email) is not None:
            raise GoogleError(
                "ALREADY_EXISTS",
                f"Service account {account_id} already exists within project projects/{project.id}.",
                [
                    {
                        "@type": "type.googleapis.com/google.rpc.ResourceInfo",
                        "resourceName": f"projects/{project.id}/serviceAccounts/{email}",
                    }
                ],
            )
        if sum(item["projectId"] == project.id for item in self.accounts.all()) >= MAX_ACCOUNTS:
            raise GoogleError(
                "RESOURCE_EXHAUSTED",
                f"Maximum number of service accounts on project reached ({MAX_ACCOUNTS}).",
            )
        return self.accounts.create(
            project, account_id, given.get("displayName", ""), given.get("description", "")
        )

    def list(self, call: Call) -> Json:
        """GET serviceAccounts."""
        project = self._project(call)
        self._require(call, project, "iam.serviceAccounts.list", f"projects/{project.id}")
        after = decode_token(call.query.get("pageToken", ""))
        found = [
            item for item in self.accounts.all() if item["projectId"] == project.id and item["email"] > after
        ]
        size = strict.page_size(call.query, default=20, maximum=100)
        answer: Json = {"accounts": found[:size]} if found else {}
        if len(found) > size:
            answer["nextPageToken"] = encode_token(found[size - 1]["email"])
        return answer

    def get(self, call: Call) -> Json:
        """GET one account."""
        return self._account(call, "iam.serviceAccounts.get")

    def delete(self, call: Call) -> Json:
        """DELETE one account."""
        self.accounts.delete(self._account(call, "iam.serviceAccounts.delete"))
        return {}

    def update(self, call: Call) -> Json:
        """PUT: only the display name can change, as the real method."""
        return self._change(call, call.body, ["displayName"])

    def patch(self, call: Call) -> Json:
        """PATCH displayName and description."""
        mask = [
            _camel(field.strip()) for field in (call.body.get("updateMask") or "").split(",") if field.strip()
        ]
        if not mask:
            raise invalid("The update mask is required.", [("update_mask", "The update mask is required.")])
        wrong = sorted(set(mask) - {"displayName", "description"})
        if wrong:
            raise invalid(f"Only display_name and description can be updated, not {', '.join(wrong)}.")
        return self._change(call, call.body.get("serviceAccount") or {}, mask)

    def disable(self, call: Call) -> Json:
        """POST :disable."""
        return self._switch(call, True)

    def enable(self, call: Call) -> Json:
        """POST :enable."""
        return self._switch(call, False)

    def get_policy(self, call: Call) -> Json:
        """POST :getIamPolicy."""
        account = self._account(call, "iam.serviceAccounts.getIamPolicy")
        return self.cloud.policies.get(f"serviceAccounts/{account['email']}")

    def set_policy(self, call: Call) -> Json:
        """POST :setIamPolicy."""
        account = self._account(call, "iam.serviceAccounts.setIamPolicy")
        policy = call.body.get("policy")
        if policy is None:
            raise invalid("Policy must be set.", [("policy", "Policy must be set.")])
        return self.cloud.policies.set(f"serviceAccounts/{account['email']}", policy)

    def test_permissions(self, call: Call) -> Json:
        """POST :testIamPermissions."""
        account = self._find(call)
        permissions = call.body.get("permissions") or []
        for permission in permissions:
            check_permission_name(permission)
        keys = [f"projects/{account['projectId']}", f"serviceAccounts/{account['email']}"]
        held = [name for name in permissions if self.cloud.policies.allows(call.principal, name, keys)]
        return {"permissions": held} if held else {}

    def _switch(self, call: Call, disabled: bool) -> Json:
        account = self._account(
            call, "iam.serviceAccounts.disable" if disabled else "iam.serviceAccounts.enable"
        )
        account.pop("disabled", None)
        if disabled:
            account["disabled"] = True
        self.accounts.put(account)
        return {}

    def _change(self, call: Call, given: Json, fields: Sequence[str]) -> Json:
        account = self._account(call, "iam.serviceAccounts.update")
        _check_texts(given)
        if given.get("etag") and given["etag"] != account["etag"]:
            raise failed_precondition("The etag of the service account did not match.")
        for field in fields:
            account.pop(field, None)
            if given.get(field):
                account[field] = given[field]
        self.accounts.put(account)
        return account

    def _project(self, call: Call) -> Project:
        project = self.cloud.project(call.path["project"], SERVICE)
        if not self.cloud.services.enabled(project.number, SERVICE):
            raise service_disabled(SERVICE, project.number)
        return project

    def _find(self, call: Call) -> Json:
        reference = call.path["account"]
        account = self.accounts.find(reference)
        project = None if call.path["project"] == "-" else self._project(call)
        if account is None or (project is not None and account["projectId"] != project.id):
            raise not_found(f"Unknown service account: {reference}")
        return account

    def _account(self, call: Call, permission: str) -> Json:
        """The account of the path, if the caller may; without the right, its absence isn't told."""
        try:
            account = self._find(call)
        except GoogleError:
            project = self.cloud.projects.find(call.path["project"])
            if project is None or not self.cloud.policies.allows(
                call.principal, permission, [f"projects/{project.id}"]
            ):
                raise _denied(permission, call.path["account"]) from None
            raise
        keys = [f"projects/{account['projectId']}", f"serviceAccounts/{account['email']}"]
        if not self.cloud.policies.allows(call.principal, permission, keys):
            raise _denied(permission, account["name"])
        return account

    def _require(self, call: Call, project: Project, permission: str, resource: str) -> None:
        if not self.cloud.policies.allows(call.principal, permission, [f"projects/{project.id}"]):
            raise _denied(permission, resource)


def _denied(permission: str, resource: str) -> GoogleError:
    """This service's wording names the permission but not the resource; that stands in the detail."""
    return GoogleError(
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource (or it may not exist).",
        [error_info("IAM_PERMISSION_DENIED", SERVICE, {"permission": permission, "resource": resource})],
    )


def _check_texts(given: Json) -> None:
    for field, limit in (("displayName", MAX_DISPLAY_NAME), ("description", MAX_DESCRIPTION)):
        size = len(str(given.get(field, "")).encode())
        if size > limit:
            raise invalid(
                f"The {field} has {size} bytes; at most {limit} are allowed.", [(field, "too long")]
            )


def _camel(field: str) -> str:
    return {"display_name": "displayName"}.get(field, field)
