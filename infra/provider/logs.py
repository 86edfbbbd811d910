"""The last lines that a deployed model's container wrote, from Cloud Logging; best effort."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.diagnose import recognise
from infra.levels import own_level, severity
from infra.plugin import Context
from infra.provider.failures import ApiError, Kind, classify
from infra.provider.operations import Ended
from infra.provider.retry import PROPAGATION, Interrupted, sleep
from infra.provider.vertex import Vertex

_TRIES = 3  # entries appear some seconds after they were written
_ENTRIES = 300  # argparse's usage of vLLM alone is 100 to 200 lines
_LEVELS = {
    "ERROR": "error ",
    "CRITICAL": "error ",
    "ALERT": "error ",
    "EMERGENCY": "error ",
    "WARNING": "warning ",
}

# In front of a line: the severity that `_lines` adds, and the process that newer versions of vLLM name.
_FRONT = r"(?:error |warning )?(?:\(\w+ pid=\d+\) )?"
_USAGE = re.compile(_FRONT + r"usage: ")
_OPTION = re.compile(_FRONT + r"\s+\[--?[a-z]")
_INDENTED = re.compile(_FRONT + r"\s+\S")
_DECIDING = (
    re.compile(r"\berror: (?:unrecognized arguments|argument |the following arguments|ambiguous option)"),
    re.compile(r"\b[A-Z][A-Za-z]*(?:Error|Exception): "),
)


def log_filter(endpoint_id: str, deployed_model_id: str, since: str = "") -> str:
    """The filter for a deployed model's container, as the console's Logs Explorer takes it too.

    Args:
        endpoint_id: The endpoint.
        deployed_model_id: The deployed model; a repeated deployment has the id of the one that failed before.
        since: When the deployment in question began, as Google writes times.
    """
    return (
        'resource.type="aiplatform.googleapis.com/Endpoint" '
        f'AND resource.labels.endpoint_id="{endpoint_id}" '
        f'AND labels.deployed_model_id="{deployed_model_id}"'
        + (f' AND timestamp>="{since}"' if since else "")
    )


def last_lines(ctx: Context, vertex: Vertex, project: str, query: str) -> list[str]:
    """The newest log lines that a filter selects, oldest first; empty if there are none or they cannot be read."""
    body = {
        "resourceNames": [f"projects/{project}"],
        "filter": query,
        "orderBy": "timestamp desc",
        "pageSize": _ENTRIES,
    }
    for attempt in range(_TRIES):
        try:
            answer = vertex.request("POST", f"{vertex.way.logging_url}/entries:list", body=body)
            entries = answer.get("entries") or []
            if entries:
                found = (_lines(entry) for entry in reversed(entries) if isinstance(entry, Mapping))
                return [line for lines in found for line in lines]
            if attempt < _TRIES - 1:
                sleep(ctx, vertex.pace.scale * (attempt + 1))
        except (ApiError, Interrupted) as e:
            ctx.debug(f"reading the container's log: {e}")
            return []
    return []


def cause(
    ctx: Context, vertex: Vertex, endpoint: Mapping[str, Any], id: str, ended: Ended, error: ApiError
) -> ApiError:
    """The error of a failed deployment; one about its bucket if that is why and the grant may still be on its way.

    Args:
        ctx: The engine's call.
        vertex: The service.
        endpoint: The endpoint as Google shows it.
        id: The deployed model's id.
        ended: The deployment.
        error: Its error.
    """
    if classify(error) is not Kind.CONTAINER or vertex.grants.age > PROPAGATION:
        return error
    _, project, _, _, _, endpoint_id = str(endpoint["name"]).split("/")
    lines = last_lines(ctx, vertex, project, log_filter(endpoint_id, id, ended.created))
    if not any(each.id == "bucket-permission" for each in recognise(lines)):
        return error
    return ApiError(error.status, error.message, error.details, kind=Kind.BUCKET)


def excerpt(lines: Sequence[str], count: int = 20) -> list[str]:
    """The last lines, and of those before them the ones that say why the container stopped.

    A block of argparse's usage becomes one line: it is long, and tells nothing that its last line does not.
    """
    short = _without_usage(lines)
    last = max(0, len(short) - count)
    before = range(last)
    deciding = {number for number in before if recognise([short[number]])}
    for pattern in _DECIDING:
        deciding.update([number for number in before if pattern.search(short[number])][-1:])
    return [
        *(short[number] for number in sorted(deciding)[-3:]),
        *(["..."] if deciding else []),
        *short[last:],
    ]


def _without_usage(lines: Sequence[str]) -> list[str]:
    short: list[str] = []
    in_usage, left_out = False, 0
    for line in lines:
        # The beginning of the first block may be too old to be among the lines, so an option may begin one.
        if _OPTION.match(line) or (in_usage and _INDENTED.match(line)):
            in_usage, left_out = True, left_out + 1
            continue
        in_usage = bool(_USAGE.match(line))
        if left_out:
            short.append(_left_out(left_out))
            left_out = 0
        short.append(line)
    return [*short, _left_out(left_out)] if left_out else short


def _left_out(count: int) -> str:
    return f"... ({count} more line{'' if count == 1 else 's'} of usage)"


def _lines(entry: Mapping[str, Any]) -> list[str]:
    payload = entry.get("jsonPayload")
    text = entry.get("textPayload") or (payload.get("message") if isinstance(payload, Mapping) else "") or ""
    given = str(entry.get("severity", ""))
    return [_level(line, given) + line.rstrip() for line in str(text).splitlines() or [""]]


def _level(line: str, given: str) -> str:
    """What is put before a line: nothing where it says its level itself."""
    return "" if own_level(line) else _LEVELS.get(severity(line, given), "")
