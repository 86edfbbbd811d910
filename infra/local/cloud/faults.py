"""Planned faults: which request gets which failure, and whether each planned one was met.

A fault matches a method and a path; its nth match gets an HTTP error, a reset connection (before or after the request
was carried out), a delay, or makes the operation that the request starts fail. A fault of a container matches
`/ENDPOINT/deployedModels/ID/ROUTE` instead, and that container's nth answer is the planned one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.errors import CODES, invalid
from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "faults"
SCHEMA: Json = {
    "id": str,
    "method": str,
    "path": str,
    "nth": int,
    "times": int,
    "action": {
        "status": {"code": str, "message": str, "details": [strict.ANY]},
        "reset": str,
        "delaySeconds": strict.ANY,
        "operationError": {"code": str, "message": str, "stage": str},
        "container": {"status": int, "body": str},
    },
}


@dataclass
class Fault:
    """One planned fault that this request drew.

    Attributes:
        key: its place in the plan.
        id: its name.
        status: {"code": canonical name, "message", "details"} to answer instead of serving the request.
        reset: "before" drops the connection instead of serving; "after" serves, then drops it (the answer is lost).
        delay_seconds: waits so long first.
        operation_error: the operation started by the request fails with it, in stage `stage` ("" at its end).
        container: {"status", "body"} that a container answers in the place of its own answer.
    """

    key: str
    id: str
    status: Json | None
    reset: str
    delay_seconds: float
    operation_error: Json | None
    container: Json | None = None


class Faults:
    """The plan and its accounting, both durable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def plan(self, given: Json) -> Json:
        """Adds one fault and answers it.

        Raises:
            GoogleError: INVALID_ARGUMENT when it is not well formed.
        """
        strict.check_body(given, SCHEMA)
        action = given.get("action") or {}
        if (
            not given.get("path")
            or len(set(action) & {"status", "reset", "operationError", "delaySeconds", "container"}) == 0
        ):
            raise invalid(
                "A fault needs a path (regular expression) and an action: status, reset, delaySeconds, "
                "operationError or container."
            )
        try:
            re.compile(given["path"])
        except re.error as error:
            raise invalid(f"The path {given['path']!r} is not a regular expression: {error}.") from error
        for key in ("status", "operationError"):
            code = (action.get(key) or {"code": "INTERNAL"}).get("code")
            if code not in CODES:
                raise invalid(f"{key}.code is {code!r}; one of {', '.join(sorted(CODES))}.")
        if action.get("reset", "before") not in {"before", "after"}:
            raise invalid(f"reset is {action['reset']!r}; one of before, after.")
        number = self._store.next_number("faults")
        fault = {
            "id": given.get("id") or f"fault-{number}",
            "method": (given.get("method") or "").upper(),
            "path": given["path"],
            "nth": int(given.get("nth") or 1),
            "times": int(given.get("times") or 1),
            "action": action,
            "seen": 0,
            "met": 0,
        }
        self._store.put(COLLECTION, f"{number:08d}", fault)
        return fault

    def all(self) -> list[Json]:
        """Every planned fault with `seen` (matching requests) and `met` (how often it struck)."""
        return [fault for _, fault in self._store.items(COLLECTION)]

    def unmet(self) -> list[Json]:
        """Those that struck fewer times than planned."""
        return [fault for fault in self.all() if fault["met"] < fault["times"]]

    def clear(self) -> None:
        """Forgets the plan."""
        self._store.delete_prefix(COLLECTION, "")

    def draw(self, method: str, path: str, *, container: bool = False) -> Fault | None:
        """The fault that strikes this request, counting it as a match of every fault it matches.

        Args:
            method: The HTTP method.
            path: The path.
            container: Whether it is a container's request; such faults are apart from those of the API.
        """
        drawn: Fault | None = None
        for key, fault in self._store.items(COLLECTION):
            if ("container" in fault["action"]) is not container:
                continue
            if fault["method"] not in ("", method) or not re.search(fault["path"], path):
                continue
            fault["seen"] += 1
            due = fault["nth"] <= fault["seen"] < fault["nth"] + fault["times"]
            if due and drawn is None:
                action = fault["action"]
                drawn = Fault(
                    key,
                    fault["id"],
                    action.get("status"),
                    action.get("reset", ""),
                    float(action.get("delaySeconds") or 0),
                    action.get("operationError"),
                    action.get("container"),
                )
                if drawn.operation_error is None:
                    fault["met"] += 1
            self._store.put(COLLECTION, key, fault)
        return drawn

    def met(self, key: str) -> None:
        """Counts an operation fault, once it has ended an operation; `key` is the drawn fault's."""
        document = self._store.get(COLLECTION, key)
        if document is not None:
            document["met"] += 1
            self._store.put(COLLECTION, key, document)
