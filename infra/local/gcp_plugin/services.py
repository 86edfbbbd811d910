"""gcp:projects/service:Service: an API enabled in a project."""

from __future__ import annotations

from infra.local.gcp_plugin.base import GcpResource
from infra.local.gcp_plugin.operations import wait
from infra.local.gcp_plugin.properties import DELETION_POLICY, PROJECT, Property
from infra.local.gcp_plugin.rest import ApiError
from infra.plugin import Context, ResourceError, State
from infra.plugin.resource import Properties

API = "Service Usage"


class Service(GcpResource):
    """Enables an API; disables it again only when told to."""

    token = "gcp:projects/service:Service"
    properties = (
        Property(
            "service",
            required=True,
            replaces=True,
            pattern=r"[a-z0-9-]+(\.[a-z0-9-]+)+",
            hint="the host name of an API is meant, such as aiplatform.googleapis.com.",
        ),
        PROJECT,
        Property("disableOnDestroy", kind="boolean", default=False),
        Property("disableDependentServices", kind="boolean", default=False),
        Property("checkIfServiceHasUsageOnDestroy", kind="boolean", default=False),
        DELETION_POLICY,
    )

    def create(self, ctx: Context, inputs: Properties) -> State:
        project, service = inputs["project"], inputs["service"]
        if service not in self._enabled(ctx, project):
            path = f"projects/{project}/services/{service}:enable"
            wait(self.gcp.rest, ctx, API, self.api(ctx, API, "POST", path, body={}), f"enabling {service}")
        return State(f"{project}/{service}", self._outputs(inputs))

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        project, service = self._parse(id, state)
        try:
            self.api(ctx, "Resource Manager", "GET", f"projects/{project}")
            enabled = self._enabled(ctx, project)
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        if service not in enabled:
            return None
        outputs = self._outputs({**inputs, "project": project, "service": service})
        return f"{project}/{service}", outputs, {"project": project, "service": service}

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        return State(id, self._outputs(news))  # every property that can change only says how to delete

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        if not state.get("disableOnDestroy"):
            return
        project, service = self._parse(id, state)
        check = "CHECK" if state.get("checkIfServiceHasUsageOnDestroy") else "SKIP"
        body = {
            "disableDependentServices": bool(state.get("disableDependentServices")),
            "checkIfServiceHasUsage": check,
        }
        path = f"projects/{project}/services/{service}:disable"
        wait(self.gcp.rest, ctx, API, self.api(ctx, API, "POST", path, body=body), f"disabling {service}")

    def _enabled(self, ctx: Context, project: str) -> set[str]:
        params = {
            "fields": "services/name,nextPageToken",
            "filter": "state:ENABLED",
            "pageSize": "200",
        }
        names: set[str] = set()
        while True:
            page = self.api(ctx, API, "GET", f"projects/{project}/services", params=params)
            names |= {each["name"].rpartition("/")[2] for each in page.get("services", [])}
            if not page.get("nextPageToken"):
                return names
            params["pageToken"] = page["nextPageToken"]

    def _parse(self, id: str, state: Properties) -> tuple[str, str]:
        if state.get("project") and state.get("service"):
            return state["project"], state["service"]
        project, _, service = id.rpartition("/")
        project = project or self.gcp.settings.project or ""
        if not project or "/" in project:
            raise ResourceError(
                f"The id {id!r} is not PROJECT/SERVICE, such as my-project/compute.googleapis.com."
            )
        return project, service

    def _outputs(self, inputs: Properties) -> Properties:
        return self.all_outputs(inputs)
