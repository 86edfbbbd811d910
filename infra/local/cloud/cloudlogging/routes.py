"""Paths of logging.googleapis.com/v2."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud import strict
from infra.local.cloud.cloudlogging.handlers import Entries
from infra.local.cloud.core import Cloud
from infra.local.cloud.rest import Method

_RESOURCE = {"type": str, "labels": {"*": str}}
_ENTRY = {
    "logName": str,
    "resource": _RESOURCE,
    "protoPayload": strict.ANY,
    "textPayload": str,
    "jsonPayload": {"*": strict.ANY},
    "timestamp": str,
    "receiveTimestamp": str,
    "severity": strict.ANY,
    "insertId": str,
    "httpRequest": strict.ANY,
    "labels": {"*": str},
    "operation": {"id": str, "producer": str, "first": bool, "last": bool},
    "trace": str,
    "spanId": str,
    "traceSampled": bool,
    "sourceLocation": {"file": str, "line": int, "function": str},
    "split": strict.ANY,
}


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    service = Entries(cloud)
    return [
        Method(
            cloud,
            "POST",
            "/v2/entries:list",
            service.list,
            body={
                "resourceNames": [str],
                "projectIds": [str],
                "filter": str,
                "orderBy": str,
                "pageSize": int,
                "pageToken": str,
            },
        ),
        Method(
            cloud,
            "POST",
            "/v2/entries:write",
            service.write,
            body={
                "logName": str,
                "resource": _RESOURCE,
                "labels": {"*": str},
                "entries": [_ENTRY],
                "partialSuccess": bool,
                "dryRun": bool,
            },
        ),
        Method(
            cloud,
            "GET",
            "/v2/projects/{project}/logs",
            service.logs,
            query=("pageSize", "pageToken", "resourceNames"),
        ),
        Method(cloud, "DELETE", "/v2/projects/{project}/logs/{log+}", service.delete),
    ]
