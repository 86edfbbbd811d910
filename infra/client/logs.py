"""What an endpoint's containers wrote, in Cloud Logging: the filter, the console's link, reading and following.

Owns the query and the order of entries. How Google is called is given by the caller as a function, so that nothing here
knows of credentials.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from infra.levels import BAR, OWN, begins
from infra.levels import severity as own_severity
from infra.provider.failures import redact
from infra.rfc3339 import parse_time

__all__ = ["SEVERITIES", "Entry", "console_url", "follow", "log_filter", "newest", "parse_since", "printable"]

Json = dict[str, Any]
Ask = Callable[[Json], Mapping[str, Any]]
"""Sends the body of one ``entries:list`` and gives its answer."""

SEVERITIES: Final = (
    "DEFAULT",
    "DEBUG",
    "INFO",
    "NOTICE",
    "WARNING",
    "ERROR",
    "CRITICAL",
    "ALERT",
    "EMERGENCY",
)
"""Of Cloud Logging, the mildest first (google/logging/type/log_severity.proto)."""

ACCESS_LOG: Final = "aiplatform.googleapis.com/prediction_access"
_PAGE: Final = 1000  # the most that entries:list gives at once
_LATE_S: Final = 30.0
"""Entries appear out of order: what is followed is asked for again from this long before the newest one."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")


@dataclass(frozen=True)
class Entry:
    """One entry of a log.

    Attributes:
        time: When it was written, as Google has it (RFC 3339, UTC).
        severity: One of `SEVERITIES`: what the line says of itself, else Cloud Logging's (see `log_filter`).
        text: The lines, without tokens, colours and whatever else a terminal would obey.
        deployed_model_id: Whose container wrote it; empty where the entry does not say.
        replica_id: Which replica; empty where the entry does not say.
        insert_id: Tells apart what was written at one moment.
        received: When Cloud Logging got it; empty where the entry does not say.
    """

    time: str
    severity: str
    text: str
    deployed_model_id: str = ""
    replica_id: str = ""
    insert_id: str = ""
    received: str = ""

    @property
    def moment(self) -> datetime:
        """`time` as a time in UTC; the oldest possible where it cannot be read."""
        return parse_time(self.time) or datetime.min.replace(tzinfo=UTC)

    def as_dict(self) -> Json:
        """The entry for JSON."""
        return {
            "time": self.time,
            "severity": self.severity,
            "text": self.text,
            "deployed_model_id": self.deployed_model_id,
            "replica_id": self.replica_id,
        }


def log_filter(
    endpoint_id: str,
    *,
    deployed_model_id: str = "",
    severity: str = "",
    text: str = "",
    since: datetime | None = None,
    access: bool = False,
) -> str:
    """The filter of what an endpoint's containers wrote, as Cloud Logging and the console's Logs Explorer take it.

    The level that vLLM and uvicorn write in front of a line counts before Cloud Logging's, see `infra.levels`.

    Args:
        endpoint_id: The last part of the endpoint's name.
        deployed_model_id: One deployment's only; empty for all of the endpoint's.
        severity: This one and worse; empty for all.
        text: What a line must contain, whatever the case; empty for anything.
        since: Nothing older.
        access: Also one entry a request, where the deployment has access logging.
    """
    parts = [
        'resource.type="aiplatform.googleapis.com/Endpoint"',
        f"resource.labels.endpoint_id={_quoted(endpoint_id)}",
    ]
    if deployed_model_id:
        parts.append(f"labels.deployed_model_id={_quoted(deployed_model_id)}")
    if not access:
        parts.append(f'NOT log_id("{ACCESS_LOG}")')
    if severity:
        parts.append(_at_least(severity))
    if text:
        parts.append(f"(textPayload:{_quoted(text)} OR jsonPayload.message:{_quoted(text)})")
    if since is not None:
        parts.append(f'timestamp>="{since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}"')
    return " AND ".join(parts)


def _at_least(severity: str) -> str:
    """What selects lines of a level and worse."""
    rank = SEVERITIES.index(severity)
    worse = [level for level in OWN if SEVERITIES.index(level) >= rank]
    milder = [level for level in OWN if level not in worse]
    if not milder:
        return f"severity>={severity}"
    bars = f"|{BAR}" if rank > SEVERITIES.index("INFO") else ""
    selected = f"severity>={severity} AND NOT {_says(begins(milder) + bars)}"
    return f"(({selected}) OR {_says(begins(worse))})" if worse else f"({selected})"


def _says(pattern: str) -> str:
    return f'(textPayload=~"{pattern}" OR jsonPayload.message=~"{pattern}")'


def console_url(project: str, query: str) -> str:
    """Where the console's Logs Explorer shows what a filter selects."""
    return (
        f"https://console.cloud.google.com/logs/query;query={quote(query, safe='')}?project={quote(project)}"
    )


def newest(ask: Ask, project: str, query: str, limit: int) -> list[Entry]:
    """The newest entries that a filter selects, at most so many, oldest first."""
    found: list[Entry] = []
    token = ""
    while len(found) < limit:
        body: Json = {
            "resourceNames": [f"projects/{project}"],
            "filter": query,
            "orderBy": "timestamp desc",
            "pageSize": min(limit - len(found), _PAGE),
        }
        answer = ask({**body, "pageToken": token} if token else body)
        found += _entries(answer)
        # A page may be empty although there are more: Google gives up a search in time and goes on with the next.
        token = str(answer.get("nextPageToken") or "")
        if not token:
            break
    return found[::-1]


def follow(
    ask: Ask,
    project: str,
    query: Callable[[datetime], str],
    *,
    shown: list[Entry],
    since: datetime,
    every_s: float = 3.0,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Entry]:
    """New entries as they come, without end.

    Args:
        ask: Sends the body of one ``entries:list``.
        project: Whose logs.
        query: The filter of what is followed, from a time on.
        shown: Entries that were shown already.
        since: From when on, where nothing was shown.
        every_s: Seconds between two questions; Google allows 60 a minute.
        sleep: Waits.
    """
    late = timedelta(seconds=_LATE_S)
    reached = max((entry.moment for entry in shown), default=since)
    seen = {_key(entry): entry.moment for entry in shown}
    # What Cloud Logging had when the first were read and did not show was beyond their limit.
    had = max((moment for entry in shown if (moment := parse_time(entry.received))), default=None)
    while True:
        body: Json = {
            "resourceNames": [f"projects/{project}"],
            "filter": query(max(since, reached - late)),
            "orderBy": "timestamp asc",
            "pageSize": _PAGE,
        }
        token = ""
        while True:
            answer = ask({**body, "pageToken": token} if token else body)
            for entry in _entries(answer):
                got = parse_time(entry.received)
                if _key(entry) in seen or (had and got and got <= had):
                    continue
                seen[_key(entry)] = entry.moment
                reached = max(reached, entry.moment)
                yield entry
            token = str(answer.get("nextPageToken") or "")
            if not token:
                break
        seen = {key: moment for key, moment in seen.items() if moment >= reached - 2 * late}
        sleep(every_s)


def parse_since(text: str, now: datetime) -> datetime:
    """``90s``, ``30m``, ``2h``, ``1d``, ``1w`` ago, or a time (``2026-11-26T18:00:00Z``; without a zone UTC).

    Raises:
        ValueError: It is neither; the text says what it should look like.
    """
    duration = _DURATION.fullmatch(text.strip())
    if duration:
        try:
            return now - timedelta(seconds=float(duration[1]) * _UNITS[duration[2]])
        except OverflowError:
            pass
    moment = parse_time(text.strip())
    if moment is None or duration:
        raise ValueError(f"{text!r} is neither a duration (30m, 2h, 1d) nor a time (2026-11-26T18:00:00Z)")
    return moment


def printable(text: str) -> str:
    """A text without the colours that vLLM writes and without anything else that a terminal would obey."""
    plain = _ESCAPES.sub("", text.replace("\r\n", "\n")).replace("\t", "    ")
    return "".join(char if char.isprintable() or char == "\n" else "·" for char in plain)


def _entries(answer: Mapping[str, Any]) -> list[Entry]:
    return [_entry(each) for each in answer.get("entries") or [] if isinstance(each, Mapping)]


def _entry(found: Mapping[str, Any]) -> Entry:
    payload = found.get("jsonPayload")
    text = found.get("textPayload") or (payload.get("message") if isinstance(payload, Mapping) else "") or ""
    labels = found.get("labels") or {}
    return Entry(
        time=str(found.get("timestamp") or ""),
        severity=own_severity(str(text), str(found.get("severity") or "DEFAULT")),
        text=redact(printable(str(text).rstrip())),
        deployed_model_id=str(labels.get("deployed_model_id") or ""),
        replica_id=str(labels.get("replica_id") or ""),
        insert_id=str(found.get("insertId") or ""),
        received=str(found.get("receiveTimestamp") or ""),
    )


def _key(entry: Entry) -> tuple[str, str]:
    return entry.time, entry.insert_id


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
