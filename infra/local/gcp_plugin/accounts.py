"""gcp:serviceaccount/account:Account: a service account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from infra.local.gcp_plugin.base import GcpResource, known
from infra.local.gcp_plugin.properties import DELETION_POLICY, PROJECT, Property
from infra.local.gcp_plugin.rest import ApiError, Json
from infra.plugin import Context, ResourceError, State
from infra.plugin.resource import Properties

API = "IAM"
_FIELDS = ("displayName", "description")


class Account(GcpResource):
    """A service account, created under a chosen id."""

    token = "gcp:serviceaccount/account:Account"
    properties = (
        Property(
            "accountId",
            required=True,
            replaces=True,
            pattern=r"[a-z]([-a-z0-9]{4,28}[a-z0-9])",
            hint="6 to 30 lower-case letters, digits and hyphens, first a letter, last no hyphen.",
        ),
        PROJECT,
        Property("displayName"),
        Property("description"),
        Property("disabled", kind="boolean", default=False),
        Property("createIgnoreAlreadyExists", kind="boolean", default=False),
        DELETION_POLICY,
    )
    computed: ClassVar[Mapping[str, str]] = {
        "email": "string",
        "member": "string",
        "name": "string",
        "uniqueId": "string",
    }

    def preview(self, ctx: Context, inputs: Properties) -> Properties:
        if not known([inputs.get("accountId"), inputs.get("project")]):
            return inputs
        return {**inputs, **_derived(inputs["accountId"], inputs["project"])}

    def create(self, ctx: Context, inputs: Properties) -> State:
        project, account_id = inputs["project"], inputs["accountId"]
        name = _derived(account_id, project)["name"]
        fields = {key: inputs[key] for key in _FIELDS if inputs.get(key)}
        try:
            self.api(
                ctx,
                API,
                "POST",
                f"projects/{project}/serviceAccounts",
                body={"accountId": account_id, "serviceAccount": fields},
            )
        except ApiError as e:
            if e.status != 409:
                raise
            existing = self.until_visible(ctx, API, name)
            ours = all((existing.get(key) or "") == (inputs.get(key) or "") for key in _FIELDS)
            if not (ours or e.repeated or inputs.get("createIgnoreAlreadyExists")):
                raise e.because(
                    f"Choose another account_id, take it over with `pulumi import {self.token} {ctx.name} "
                    f"{name}`, or set create_ignore_already_exists."
                ) from e
        with self.exists(name, inputs):
            account = self.until_visible(ctx, API, name)
            if inputs.get("disabled"):
                self.api(ctx, API, "POST", f"{name}:disable", body={})
                account["disabled"] = True
        return State(name, self._outputs(inputs, account))

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        try:
            account = self.api(ctx, API, "GET", self._name(id))
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        values = {
            "accountId": account["email"].partition("@")[0],
            "project": account["projectId"],
            "displayName": account.get("displayName") or None,
            "description": account.get("description") or None,
            "disabled": account.get("disabled", False),
        }
        return account["name"], self._outputs({**inputs, **values}, account), values

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        account = self.until_visible(ctx, API, id)
        mask = [key for key in _FIELDS if (account.get(key) or "") != (news.get(key) or "")]
        if mask:
            fields = {key: news.get(key) or "" for key in mask}
            account = self.api(
                ctx, API, "PATCH", id, body={"serviceAccount": fields, "updateMask": ",".join(mask)}
            )
        if bool(account.get("disabled")) != bool(news.get("disabled")):
            verb = "disable" if news.get("disabled") else "enable"
            self.api(ctx, API, "POST", f"{id}:{verb}", body={})
            account["disabled"] = bool(news.get("disabled"))
        return State(id, self._outputs(news, account))

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        try:
            self.api(ctx, API, "DELETE", id)
        except ApiError as e:
            if e.status != 404:
                raise

    def _name(self, id: str) -> str:
        if id.startswith("projects/"):
            return id
        if "@" in id:
            return f"projects/-/serviceAccounts/{id}"
        raise ResourceError(f"The id {id!r} is neither projects/PROJECT/serviceAccounts/EMAIL nor EMAIL.")

    def _outputs(self, inputs: Properties, account: Json) -> Properties:
        derived = _derived(account["email"].partition("@")[0], account["projectId"])
        disabled = bool(account.get("disabled"))
        return self.all_outputs({**inputs, **derived, "disabled": disabled, "uniqueId": account["uniqueId"]})


def _derived(account_id: str, project: str) -> dict[str, str]:
    email = f"{account_id}@{project}.iam.gserviceaccount.com"
    return {
        "email": email,
        "member": f"serviceAccount:{email}",
        "name": f"projects/{project}/serviceAccounts/{email}",
    }
