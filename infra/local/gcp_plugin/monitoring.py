"""gcp:monitoring/dashboard:Dashboard and gcp:monitoring/alertPolicy:AlertPolicy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from infra.local.gcp_plugin.base import GcpResource
from infra.local.gcp_plugin.properties import DELETION_POLICY, PROJECT, Property, problems
from infra.local.gcp_plugin.rest import ApiError, Json
from infra.plugin import Context, ResourceError, State
from infra.plugin.resource import Properties
from infra.plugin.values import UNKNOWN, contains_unknown

API: Final = "Cloud Monitoring"


def same_dashboard(old: str, new: str) -> bool:
    """Whether two texts are the same dashboard; its name and its etag are the service's own."""
    try:
        return _content(old) == _content(new)
    except ValueError:
        return old == new


class Dashboard(GcpResource):
    """A dashboard, as the JSON of the API."""

    token = "gcp:monitoring/dashboard:Dashboard"
    properties = (
        Property("dashboardJson", required=True, same=same_dashboard),
        PROJECT,
        DELETION_POLICY,
    )

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        text = inputs["dashboardJson"]
        if text is UNKNOWN:
            return []
        try:
            _content(text)
        except ValueError as e:
            return [("dashboardJson", f"it is not the JSON object of a dashboard: {e}.")]
        return []

    def create(self, ctx: Context, inputs: Properties) -> State:
        path = f"v1/projects/{inputs['project']}/dashboards"
        made = self.api(ctx, API, "POST", path, body=_content(inputs["dashboardJson"]))
        with self.exists(made["name"], inputs):
            self.until_visible(ctx, API, f"v1/{made['name']}")
        return State(made["name"], self.all_outputs(inputs))

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        try:
            live = self.api(ctx, API, "GET", f"v1/{self._name(id)}")
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        values = {
            "dashboardJson": _text(live),
            "project": inputs.get("project") or live["name"].split("/")[1],
        }
        return live["name"], self.all_outputs({**inputs, **values}), values

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        etag = self.api(ctx, API, "GET", f"v1/{id}")["etag"]
        self.api(ctx, API, "PATCH", f"v1/{id}", body={**_content(news["dashboardJson"]), "etag": etag})
        return State(id, self.all_outputs(news))

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        _delete(self, ctx, f"v1/{id}")

    def _name(self, id: str) -> str:
        match id.split("/"):
            case ["projects", _, "dashboards", _]:
                return id
            case [name] if self.gcp.settings.project:
                return f"projects/{self.gcp.settings.project}/dashboards/{name}"
        raise ResourceError(f"The id {id!r} is not projects/PROJECT/dashboards/ID.")


_PROMQL: Final = (
    Property("query", required=True),
    Property("duration"),
    Property("evaluationInterval"),
    Property("labels", kind="object"),
    Property("ruleGroup"),
    Property("alertRule"),
    Property("disableMetricValidation", kind="boolean"),
)
_CONDITION: Final = (
    Property("displayName", required=True),
    Property("conditionPrometheusQueryLanguage", kind="object", required=True),
)
_FIELDS: Final = (
    "displayName",
    "combiner",
    "conditions",
    "alertStrategy",
    "documentation",
    "enabled",
    "notificationChannels",
    "severity",
    "userLabels",
)


def same_conditions(old: list[Json], new: list[Json]) -> bool:
    """Whether two lists of conditions mean the same; their names are the service's own."""
    return _unnamed(old) == _unnamed(new)


class AlertPolicy(GcpResource):
    """An alert policy of PromQL conditions."""

    token = "gcp:monitoring/alertPolicy:AlertPolicy"
    properties = (
        Property("displayName", required=True),
        Property("combiner", required=True, choices=("AND", "OR", "AND_WITH_MATCHING_RESOURCE")),
        Property("conditions", kind="array", required=True, same=same_conditions),
        Property("alertStrategy", kind="object"),
        Property("documentation", kind="object"),
        Property("enabled", kind="boolean", default=True),
        Property("notificationChannels", kind="array"),
        Property("severity", choices=("CRITICAL", "ERROR", "WARNING")),
        Property("userLabels", kind="object"),
        PROJECT,
        DELETION_POLICY,
    )
    computed: ClassVar[Mapping[str, str]] = {"creationRecords": "array", "name": "string"}

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for number, condition in enumerate(
            inputs["conditions"] if isinstance(inputs["conditions"], list) else []
        ):
            if contains_unknown(condition):
                continue
            where = f"conditions[{number}]."
            wrong = problems(self.token, _CONDITION, condition, where)
            promql = condition.get("conditionPrometheusQueryLanguage")
            found += wrong or problems(
                self.token, _PROMQL, promql, f"{where}conditionPrometheusQueryLanguage."
            )
        strategy = inputs.get("alertStrategy")
        if strategy and not contains_unknown(strategy):
            found += problems(self.token, (Property("autoClose"),), strategy, "alertStrategy.")
        return found

    def create(self, ctx: Context, inputs: Properties) -> State:
        path = f"v3/projects/{inputs['project']}/alertPolicies"
        made = self.api(ctx, API, "POST", path, body=self._body(inputs))
        with self.exists(made["name"], inputs):
            live = self.until_visible(ctx, API, f"v3/{made['name']}")
        return State(made["name"], self._outputs(inputs, live))

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        match id.split("/"):
            case ["projects", project, "alertPolicies", _]:
                pass
            case _:
                raise ResourceError(f"The id {id!r} is not projects/PROJECT/alertPolicies/ID.")
        try:
            live = self.api(ctx, API, "GET", f"v3/{id}")
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        values = {
            **{name: live.get(name) or None for name in _FIELDS},
            "conditions": _unnamed(live["conditions"]),
            "enabled": live.get("enabled", True),
            "userLabels": live.get("userLabels") or {},
            "project": inputs.get("project") or project,
        }
        return id, self._outputs({**inputs, **values}, live), values

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        body = self._body(news)
        mask = ",".join(_FIELDS)
        live = self.api(ctx, API, "PATCH", f"v3/{id}", params={"updateMask": mask}, body=body)
        return State(id, self._outputs(news, live))

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        _delete(self, ctx, f"v3/{id}")

    def _body(self, inputs: Properties) -> Json:
        body = {name: inputs[name] for name in _FIELDS if inputs.get(name) not in (None, [], {})}
        return body | {"enabled": inputs.get("enabled", True)}

    def _outputs(self, inputs: Properties, live: Json) -> Properties:
        record = live.get("creationRecord")
        return self.all_outputs(
            {
                **inputs,
                "conditions": live["conditions"],
                "name": live["name"],
                "creationRecords": [record] if record else [],
            }
        )


def _delete(resource: GcpResource, ctx: Context, path: str) -> None:
    try:
        resource.api(ctx, API, "DELETE", path)
    except ApiError as e:
        if e.status != 404:
            raise


def _content(text: str) -> Json:
    """A dashboard without what the service adds.

    Raises:
        ValueError: It is not JSON, or not an object.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return {key: each for key, each in value.items() if key not in ("name", "etag")}


def _text(live: Json) -> str:
    return json.dumps(
        {key: each for key, each in live.items() if key not in ("name", "etag")}, sort_keys=True
    )


def _unnamed(conditions: list[Json]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in each.items() if key != "name"} if isinstance(each, dict) else each
        for each in conditions
    ]
