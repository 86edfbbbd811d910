"""Reading and writing log entries."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from infra.local.cloud import strict
from infra.local.cloud.cloudlogging.filters import SEVERITIES, compile_filter, severity_number
from infra.local.cloud.cloudlogging.store import COLLECTION
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError, invalid, not_found
from infra.local.cloud.projects import Project
from infra.local.cloud.rest import Call
from infra.local.cloud.store import decode_token, encode_token
from infra.rfc3339 import parse_time

Json = dict[str, Any]
SERVICE = "logging.googleapis.com"
_ORDERS = ("timestamp asc", "timestamp desc")


class Entries:
    """Handlers of Cloud Logging v2."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def list(self, call: Call) -> Json:
        """POST entries:list."""
        body = call.body
        names = list(body.get("resourceNames") or [])
        names += [f"projects/{project}" for project in body.get("projectIds") or []]
        if not names:
            raise invalid("resource_names must have at least one value.")
        order = body.get("orderBy") or "timestamp asc"
        if order not in _ORDERS:
            raise invalid(f"Invalid order_by: {order}. Use one of {', '.join(_ORDERS)}.")
        size = strict.page_size({"pageSize": str(body.get("pageSize") or "")}, default=50, maximum=1000)
        projects = {self._project(call, name, "logging.logEntries.list").id for name in names}
        matches = compile_filter(body.get("filter") or "")
        found = [
            (key.partition("/")[2], entry)
            for project in sorted(projects)
            for key, entry in self.cloud.logs.entries(project)
            if matches(entry)
        ]
        found.sort(key=lambda item: item[0], reverse=order.endswith("desc"))
        after = decode_token(body.get("pageToken") or "")
        if after:
            found = [
                item for item in found if (item[0] < after if order.endswith("desc") else item[0] > after)
            ]
        page = found[:size]
        answer: Json = {"entries": [entry for _, entry in page]} if page else {}
        if len(found) > size:
            answer["nextPageToken"] = encode_token(page[-1][0])
        return answer

    def write(self, call: Call) -> Json:
        """POST entries:write."""
        body = call.body
        by_project: dict[str, list[Json]] = {}
        for index, given in enumerate(body.get("entries") or []):
            entry = {key: value for key, value in given.items() if key != "receiveTimestamp"}
            log_name = str(entry.setdefault("logName", body.get("logName") or ""))
            found = re.fullmatch(r"projects/([^/]+)/logs/(.+)", log_name)
            if found is None:
                raise invalid(
                    f"Log name {log_name!r} of entry {index} is not of the form projects/PROJECT/logs/LOG_ID"
                )
            project = self._project(call, f"projects/{found[1]}", "logging.logEntries.create")
            entry["logName"] = f"projects/{project.id}/logs/{_encode(found[2])}"
            resource = entry.setdefault("resource", body.get("resource"))
            if not resource or not resource.get("type"):
                raise invalid(f"A monitored resource must be specified for log entry {index}.")
            resource["labels"] = {"project_id": project.id, **(resource.get("labels") or {})}
            entry["labels"] = {**(body.get("labels") or {}), **(entry.get("labels") or {})}
            if not entry["labels"]:
                del entry["labels"]
            if sum(key in entry for key in ("textPayload", "jsonPayload", "protoPayload")) > 1:
                raise invalid(f"Log entry {index} has more than one payload.")
            entry["severity"] = _severity(entry.get("severity", "DEFAULT"))
            if "timestamp" in entry:
                entry["timestamp"] = _timestamp(entry["timestamp"])
            by_project.setdefault(project.id, []).append(entry)
        if not body.get("dryRun"):
            for project_id, entries in by_project.items():
                self.cloud.logs.write(project_id, entries)
        return {}

    def logs(self, call: Call) -> Json:
        """GET the names of logs that have entries."""
        project = self._project(call, f"projects/{call.path['project']}", "logging.logs.list")
        names = sorted({entry["logName"] for _, entry in self.cloud.logs.entries(project.id)})
        return {"logNames": names} if names else {}

    def delete(self, call: Call) -> Json:
        """DELETE a log with all its entries."""
        project = self._project(call, f"projects/{call.path['project']}", "logging.logs.delete")
        name = f"projects/{project.id}/logs/{_encode(call.path['log'])}"
        keys = [key for key, entry in self.cloud.logs.entries(project.id) if entry["logName"] == name]
        if not keys:
            raise not_found(f"Log {name} does not exist")
        with self.cloud.store.transaction():
            for key in keys:
                self.cloud.store.delete(COLLECTION, key)
        return {}

    def _project(self, call: Call, name: str, permission: str) -> Project:
        found = re.fullmatch(r"projects/([^/]+)(/locations/[^/]+/buckets/[^/]+/views/[^/]+)?", name)
        if found is None:
            raise invalid(f"Invalid resource name: {name}. The local cloud takes projects/PROJECT only.")
        try:
            return self.cloud.require(call.principal, permission, f"projects/{found[1]}", service=SERVICE)
        except GoogleError as error:
            if error.details and error.details[0].get("reason") == "IAM_PERMISSION_DENIED":
                # This service's own wording for a missing right.
                raise GoogleError(
                    "PERMISSION_DENIED",
                    f"Permission '{permission}' denied for {name}."
                    if "list" not in permission
                    else "Permission denied for all log views",
                    error.details,
                ) from error
            raise


def _encode(log_id: str) -> str:
    return log_id if "%" in log_id else quote(log_id, safe="")


def _severity(value: Any) -> str:
    number = severity_number(str(value))
    if number is None:
        raise invalid(f"Invalid severity {value!r}; one of {', '.join(SEVERITIES)}.")
    return next(name for name, level in SEVERITIES.items() if level == number)


def _timestamp(text: str) -> str:
    moment = parse_time(text)
    if moment is None:
        raise invalid(f"Invalid value at 'entries[].timestamp' (Timestamp), \"{text}\"")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
