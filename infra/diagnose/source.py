"""Fetches what a diagnosis is made from: the last deployment's operation and the containers' log of one endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from infra.client import Endpoint
from infra.client.google import Google
from infra.client.logs import console_url, log_filter, newest, parse_time

__all__ = ["Gathered", "gather"]

_ENTRIES: Final = 3000  # argparse's usage of vLLM alone is 200
_DEPLOY: Final = "DeployModelOperationMetadata"
_EARLIER: Final = timedelta(seconds=5)  # clocks differ


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Attributes:
        lines: The containers' log since the deployment began, oldest first.
        operation: The last deployment's operation; empty where there is none.
        began: When it began, as Google writes times; empty where there is none.
        state: ``failed``, ``done`` or ``running``; empty where there is none.
        error: Its error, as Google words it; empty where it did not fail, or goes on.
        query: The filter that shows the log in the console.
        console: Where.
    """

    lines: tuple[str, ...]
    operation: str
    began: str
    state: str
    error: str
    query: str
    console: str


def gather(endpoint: Endpoint, environ: Mapping[str, str]) -> Gathered:
    """Read the last deployment of an endpoint and its containers' log.

    Raises:
        NoAnswer: A service cannot be asked.
    """
    with Google(endpoint, environ) as google:
        operation = _last(google.operations())
        began = str(_generic(operation).get("createTime") or "")
        created = parse_time(began)
        query = log_filter(endpoint.id, since=created - _EARLIER if created is not None else None)
        entries = newest(google.entries, endpoint.project, query, _ENTRIES)
    said = operation.get("error")
    if said:
        # What serves on beside a deployment that failed wrote the rest.
        serving = {each.id for each in endpoint.deployed}
        entries = [each for each in entries if each.deployed_model_id not in serving]
    return Gathered(
        lines=tuple(line for entry in entries for line in entry.text.splitlines()),
        operation=str(operation.get("name") or ""),
        began=began,
        state=_state(operation),
        error=" ".join(str(said.get("message") or "").split()) if isinstance(said, dict) else "",
        query=query,
        console=console_url(endpoint.project, query),
    )


def _state(operation: Mapping[str, Any]) -> str:
    if not operation:
        return ""
    if not operation.get("done"):
        return "running"
    return "failed" if operation.get("error") else "done"


def _last(operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest deployment among an endpoint's operations."""
    found = [each for each in operations if _DEPLOY in str((each.get("metadata") or {}).get("@type"))]
    oldest = datetime.min.replace(tzinfo=UTC)
    return max(
        found, key=lambda each: parse_time(str(_generic(each).get("createTime") or "")) or oldest, default={}
    )


def _generic(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    generic = (operation.get("metadata") or {}).get("genericMetadata")
    return generic if isinstance(generic, dict) else {}
