"""Alert policies of Cloud Monitoring v3: kept after the service's checks; nothing evaluates them, so none ever opens.

Source: google/monitoring/v3/alert.proto in googleapis. Of conditions there is the one with PromQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import invalid, not_found
from infra.local.cloud.projects import Project
from infra.local.cloud.rest import Call

Json = dict[str, Any]
SERVICE = "monitoring.googleapis.com"
COLLECTION = "alert_policies"

_PROMQL = {
    "query": str,
    "duration": str,
    "evaluationInterval": str,
    "labels": {"*": str},
    "ruleGroup": str,
    "alertRule": str,
    "disableMetricValidation": bool,
}
POLICY = {
    "name": str,
    "displayName": str,
    "documentation": {
        "content": str,
        "mimeType": str,
        "subject": str,
        "links": [{"displayName": str, "url": str}],
    },
    "userLabels": {"*": str},
    "conditions": [{"name": str, "displayName": str, "conditionPrometheusQueryLanguage": _PROMQL}],
    "combiner": str,
    "enabled": bool,
    "validity": strict.ANY,
    "notificationChannels": [str],
    "creationRecord": {"mutateTime": str, "mutatedBy": str},
    "mutationRecord": {"mutateTime": str, "mutatedBy": str},
    "alertStrategy": {
        "autoClose": str,
        "notificationRateLimit": {"period": str},
        "notificationPrompts": [str],
        "notificationChannelStrategy": strict.ANY,
    },
    "severity": str,
}
_READ_ONLY = ("name", "creationRecord", "mutationRecord", "validity")
_COMBINERS = ("AND", "OR", "AND_WITH_MATCHING_RESOURCE")
_SEVERITIES = ("CRITICAL", "ERROR", "WARNING")
#: From googleapis: "a policy can have from one to six conditions", names of up to 512 characters, 64 labels,
#: documentation of up to 8,192 characters; incidents close after 30 minutes to 7 days without data.
_MAX_CONDITIONS, _MAX_NAME, _MAX_LABELS, _MAX_DOCUMENTATION = 6, 512, 64, 8192
_AUTO_CLOSE = (1800.0, 604800.0)


class AlertPolicies:
    """Handlers of alert policies."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def create(self, call: Call) -> Json:
        """POST a policy; its id is made here."""
        project = self._require(call, "create")
        content = {key: value for key, value in call.body.items() if key not in _READ_ONLY}
        _check(content)
        # 19 or 20 digits, as the real ones.
        name = f"projects/{project.id}/alertPolicies/{10**18 + self._number() * 7919}"
        record = self._record(call)
        document = {"enabled": True, **content, "name": name, "creationRecord": record}
        return self._keep(document, record)

    def list(self, call: Call) -> Json:
        """GET the policies of a project."""
        project = self._require(call, "list")
        size = strict.page_size(call.query, default=1000, maximum=1000)
        prefix = f"projects/{project.id}/alertPolicies/"
        page = self.cloud.store.list(COLLECTION, prefix, size, call.query.get("pageToken", ""))
        answer: Json = {"alertPolicies": page.items} if page.items else {}
        total = {"totalSize": self.cloud.store.count(COLLECTION, prefix)}
        return answer | total | ({"nextPageToken": page.next_page_token} if page.next_page_token else {})

    def get(self, call: Call) -> Json:
        """GET one policy."""
        return self._find(call, "get")

    def patch(self, call: Call) -> Json:
        """PATCH one policy: the fields of `updateMask`, or without a mask all of them."""
        found = self._find(call, "update")
        names = [strict.camel(name) for name in filter(None, call.query.get("updateMask", "").split(","))]
        unknown = [name for name in names if name.partition(".")[0] not in POLICY]
        if unknown or any("." in name for name in names):
            raise invalid(
                f"The updateMask {call.query['updateMask']} names what a policy does not have here."
            )
        masked = names or [name for name in POLICY if name not in _READ_ONLY]
        content = {key: value for key, value in found.items() if key not in masked or key in _READ_ONLY}
        content |= {key: call.body[key] for key in masked if key in call.body and key not in _READ_ONLY}
        content.setdefault("enabled", True)
        _check(content)
        return self._keep(content, self._record(call))

    def delete(self, call: Call) -> Json:
        """DELETE one policy."""
        self.cloud.store.delete(COLLECTION, self._find(call, "delete")["name"])
        return {}

    def summary(self) -> Sequence[str]:
        """Display names of all policies."""
        return [document["displayName"] for _, document in self.cloud.store.items(COLLECTION)]

    def _require(self, call: Call, verb: str) -> Project:
        resource = f"projects/{call.path['project']}"
        return self.cloud.require(
            call.principal, f"monitoring.alertPolicies.{verb}", resource, service=SERVICE
        )

    def _find(self, call: Call, verb: str) -> Json:
        project = self._require(call, verb)
        name = f"projects/{project.id}/alertPolicies/{call.path['id']}"
        found = self.cloud.store.get(COLLECTION, name)
        if found is None:
            raise not_found(f"Could not find AlertPolicy {name}.")
        return found

    def _keep(self, document: Json, record: Json) -> Json:
        document["mutationRecord"] = record
        document["conditions"] = [
            {
                **each,
                "name": each.get("name") or f"{document['name']}/conditions/{10**18 + self._number() * 7919}",
            }
            for each in document["conditions"]
        ]
        self.cloud.store.put(COLLECTION, document["name"], document)
        return document

    def _number(self) -> int:
        return self.cloud.store.next_number(COLLECTION)

    def _record(self, call: Call) -> Json:
        return {
            "mutateTime": self.cloud.clock.timestamp(self.cloud.clock.now()),
            "mutatedBy": call.principal.email,
        }


def _check(policy: Json) -> None:
    name = policy.get("displayName") or ""
    if not 1 <= len(name) <= _MAX_NAME:
        raise _bad("display_name", name, f"it has 1 to {_MAX_NAME} characters.")
    if policy.get("combiner") not in _COMBINERS:
        raise _bad("combiner", policy.get("combiner") or "", f"it is one of {', '.join(_COMBINERS)}.")
    if policy.get("severity") not in (None, "SEVERITY_UNSPECIFIED", *_SEVERITIES):
        raise _bad("severity", policy["severity"], f"it is one of {', '.join(_SEVERITIES)}.")
    conditions = policy.get("conditions") or []
    if not 1 <= len(conditions) <= _MAX_CONDITIONS:
        raise _bad("conditions", str(len(conditions)), f"a policy has 1 to {_MAX_CONDITIONS} conditions.")
    for index, condition in enumerate(conditions):
        _check_condition(f"conditions[{index}]", condition)
    for channel in policy.get("notificationChannels") or []:
        if not re.fullmatch(r"projects/[^/]+/notificationChannels/[^/]+", channel):
            raise _bad("notification_channels", channel, "it is projects/PROJECT/notificationChannels/ID.")
    if len(policy.get("userLabels") or {}) > _MAX_LABELS:
        raise _bad("user_labels", str(len(policy["userLabels"])), f"there are at most {_MAX_LABELS}.")
    if len((policy.get("documentation") or {}).get("content") or "") > _MAX_DOCUMENTATION:
        raise _bad("documentation.content", "…", f"it has at most {_MAX_DOCUMENTATION} characters.")
    close = (policy.get("alertStrategy") or {}).get("autoClose")
    if (
        close is not None
        and not _AUTO_CLOSE[0] <= _seconds("alert_strategy.auto_close", close) <= _AUTO_CLOSE[1]
    ):
        raise _bad("alert_strategy.auto_close", close, "it is from 1800s to 604800s.")


def _check_condition(where: str, condition: Json) -> None:
    if not condition.get("displayName"):
        raise _bad(f"{where}.display_name", "", "it is required.")
    promql = condition.get("conditionPrometheusQueryLanguage")
    if not promql:
        raise invalid(f"The local cloud's {where} is a condition_prometheus_query_language.")
    where += ".condition_prometheus_query_language"
    if not (promql.get("query") or "").strip():
        raise _bad(f"{where}.query", "", "it is required.")
    _seconds(f"{where}.duration", promql.get("duration") or "0s")
    interval = promql.get("evaluationInterval") or "30s"
    seconds = _seconds(f"{where}.evaluation_interval", interval)
    if seconds <= 0 or seconds % 30:
        raise _bad(f"{where}.evaluation_interval", interval, "it is a multiple of 30 seconds.")


def _seconds(field: str, text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d{1,9})?)s", text)
    if match is None:
        raise _bad(field, text, "it is a duration such as 300s.")
    return float(match[1])


def _bad(field: str, value: str, problem: str) -> Exception:
    return invalid(f'Field alert_policy.{field} had an invalid value of "{value}": {problem}')
