"""The last lines that a deployed model's container wrote, from Cloud Logging; best effort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.plugin import Context
from infra.provider.failures import ApiError
from infra.provider.retry import Interrupted, sleep
from infra.provider.vertex import Vertex

_TRIES = 3  # entries appear some seconds after they were written
_LEVELS = {
    "ERROR": "error ",
    "CRITICAL": "error ",
    "ALERT": "error ",
    "EMERGENCY": "error ",
    "WARNING": "warning ",
}


def log_filter(endpoint_id: str, deployed_model_id: str) -> str:
    """The filter for a deployed model's container, as the console's Logs Explorer takes it too."""
    return (
        'resource.type="aiplatform.googleapis.com/Endpoint" '
        f'AND resource.labels.endpoint_id="{endpoint_id}" '
        f'AND labels.deployed_model_id="{deployed_model_id}"'
    )


def last_lines(
    ctx: Context, vertex: Vertex, project: str, endpoint_id: str, deployed_model_id: str, count: int = 20
) -> list[str]:
    """The newest log lines, oldest first; empty when there are none or they cannot be read."""
    body = {
        "resourceNames": [f"projects/{project}"],
        "filter": log_filter(endpoint_id, deployed_model_id),
        "orderBy": "timestamp desc",
        "pageSize": count,
    }
    for attempt in range(_TRIES):
        try:
            answer = vertex.request("POST", f"{vertex.way.logging_url}/entries:list", body=body)
            entries = answer.get("entries") or []
            if entries:
                return [_line(entry) for entry in reversed(entries) if isinstance(entry, Mapping)]
            if attempt < _TRIES - 1:
                sleep(ctx, vertex.pace.scale * (attempt + 1))
        except (ApiError, Interrupted) as e:
            ctx.debug(f"reading the container's log: {e}")
            return []
    return []


def _line(entry: Mapping[str, Any]) -> str:
    payload = entry.get("jsonPayload")
    text = entry.get("textPayload") or (payload.get("message") if isinstance(payload, Mapping) else "") or ""
    return _LEVELS.get(str(entry.get("severity", "")), "") + str(text).rstrip()
