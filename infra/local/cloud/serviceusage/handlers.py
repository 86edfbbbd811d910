"""Listing, enabling and disabling APIs; enabling is a long-running operation, as it is at Google."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError, error_info, invalid
from infra.local.cloud.operations import Operation
from infra.local.cloud.projects import Project
from infra.local.cloud.rest import Call
from infra.local.cloud.serviceusage.store import DEFAULT, KNOWN
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
SERVICE = "serviceusage.googleapis.com"
ENABLE = "serviceusage.change"
_TYPE = "type.googleapis.com/google.api.serviceusage.v1."


class ServiceUsage:
    """Handlers of Service Usage v1."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def list(self, call: Call) -> Json:
        """GET services, filter state:ENABLED or state:DISABLED."""
        project = self._require(call, "serviceusage.services.list")
        wanted = call.query.get("filter", "").replace(" ", "")
        if wanted not in {"", "state:ENABLED", "state:DISABLED"}:
            raise invalid(f"Invalid filter '{call.query['filter']}': use state:ENABLED or state:DISABLED.")
        names = [
            name
            for name in sorted(KNOWN)
            if not wanted or self.cloud.services.enabled(project.number, name) == (wanted == "state:ENABLED")
        ]
        size = strict.page_size(call.query, default=50, maximum=200)
        after = decode_token(call.query.get("pageToken", ""))
        names = [name for name in names if name > after]
        page = names[:size]
        answer: Json = {"services": [self.view(project, name) for name in page]} if page else {}
        if len(names) > size:
            answer["nextPageToken"] = encode_token(page[-1])
        return answer

    def get(self, call: Call) -> Json:
        """GET one service."""
        project = self._require(call, "serviceusage.services.get")
        _check([call.path["service"]])
        return self.view(project, call.path["service"])

    def batch_get(self, call: Call) -> Json:
        """GET up to 30 services by full name."""
        project = self._require(call, "serviceusage.services.get")
        names = [name.rsplit("/", 1)[-1] for name in call.repeated("names")]
        if not names or len(names) > 30:
            raise invalid("The batch must have between 1 and 30 names.")
        _check(names)
        return {"services": [self.view(project, name) for name in names]}

    def enable(self, call: Call) -> Json:
        """POST :enable."""
        return self._change(call, [call.path["service"]], True, "EnableServiceResponse")

    def batch_enable(self, call: Call) -> Json:
        """POST :batchEnable, at most 20 services, all or none."""
        names = call.body.get("serviceIds") or []
        if not names or len(names) > 20:
            raise invalid("The batch must have between 1 and 20 service ids.")
        return self._change(call, names, True, "BatchEnableServicesResponse")

    def disable(self, call: Call) -> Json:
        """POST :disable; refused for the APIs everything here stands on."""
        name = call.path["service"]
        if name in {SERVICE, "cloudresourcemanager.googleapis.com"}:
            raise GoogleError(
                "FAILED_PRECONDITION",
                f"The service {name} cannot be disabled: other enabled services depend on it.",
                [error_info("COMMON_SU_SERVICE_HAS_DEPENDENT_SERVICES", SERVICE, {"service": name})],
            )
        return self._change(call, [name], False, "DisableServiceResponse")

    def operation(self, call: Call) -> Json:
        """GET an operation of this service."""
        name = f"operations/{call.path['operation']}"
        if name == "operations/noop.DONE_OPERATION":
            return {"name": name, "done": True, "response": {"@type": f"{_TYPE}EnableServiceResponse"}}
        return self.cloud.operations.get(name)

    def view(self, project: Project, name: str) -> Json:
        """One service as clients see it."""
        enabled = self.cloud.services.enabled(project.number, name)
        return {
            "name": f"projects/{project.number}/services/{name}",
            "config": {"name": name, "title": KNOWN[name]},
            "state": "ENABLED" if enabled else "DISABLED",
            "parent": f"projects/{project.number}",
        }

    def summary(self) -> Sequence[str]:
        """APIs that are enabled beyond those of a new project."""
        return [
            f"{project.id}: {name}"
            for project in self.cloud.projects.all()
            for name in self.cloud.services.all_enabled(project.number)
            if name not in DEFAULT
        ]

    async def finish(self, operation: Operation) -> Json:
        """Ends an operation: changes the states and answers the typed response."""
        arguments = operation.args
        project = self.cloud.projects.find(arguments["project"])
        assert project is not None
        names, enabled = arguments["services"], arguments["enabled"]
        with self.cloud.store.transaction():
            for name in names:
                self.cloud.services.set(project.number, name, enabled)
        views = [self.view(project, name) for name in names]
        kind = arguments["response"]
        body = {"services": views} if kind.startswith("Batch") else {"service": views[0]}
        return {"@type": f"{_TYPE}{kind}", **body}

    def _change(self, call: Call, names: Sequence[str], enabled: bool, response: str) -> Json:
        permission = "serviceusage.services.enable" if enabled else "serviceusage.services.disable"
        project = self._require(call, permission)
        _check(names)
        todo = [name for name in names if self.cloud.services.enabled(project.number, name) != enabled]
        if not todo:
            views = [self.view(project, name) for name in names]
            body = {"services": views} if response.startswith("Batch") else {"service": views[0]}
            return {
                "name": "operations/noop.DONE_OPERATION",
                "done": True,
                "response": {"@type": f"{_TYPE}{response}", **body},
            }
        return self.cloud.operations.create(
            "",
            {
                "@type": f"{_TYPE}OperationMetadata",
                "resourceNames": [f"projects/{project.number}/services/{name}" for name in names],
            },
            kind=ENABLE,
            args={"project": project.id, "services": [*names], "enabled": enabled, "response": response},
            name=f"operations/acat.p2-{project.number}-{uuid.uuid4()}",
            generic=False,
        )

    def _require(self, call: Call, permission: str) -> Project:
        return self.cloud.require(
            call.principal, permission, f"projects/{call.path['project']}", service=SERVICE
        )


def _check(names: Sequence[str]) -> None:
    """Refuses services that do not exist, in Google's words."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        subjects = ", ".join(unknown)
        reason = "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED"
        raise GoogleError(
            "PERMISSION_DENIED",
            f"Not found or permission denied for service(s): {subjects}.\nHelp Token: local",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                    "violations": [{"type": "googleapis.com", "subject": "220002"}],
                },
                error_info(reason, SERVICE, {"services": subjects}),
            ],
        )
