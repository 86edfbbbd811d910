"""Planned faults: which request gets which failure, and whether each planned one was met.

A fault matches a method and a path; its nth match gets an HTTP error (also as a proxy's page, or with Retry-After), a
reset connection (before or after the request was carried out), a slow or broken answer, or makes the operation that
the request starts fail, never end, or be forgotten. Or it is held, before or after it is carried out, until an
administrator lets it go: so that a client can be killed at a known point. A fault of a container matches
`/ENDPOINT/deployedModels/ID/ROUTE` instead, and that container's nth answer is the planned one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.clock import Clock
from infra.local.cloud.errors import CODES, invalid
from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "faults"
#: What can be done to a request, and to the operation that it starts.
ON_REQUEST = ("status", "proxy", "reset", "hold", "body", "delaySeconds", "answerDelaySeconds", "container")
ON_OPERATION = ("operationError", "operationStuck", "operationLost")
_CHOICES = {
    "reset": ("before", "after"),
    "hold": ("before", "after"),
    "body": ("truncated", "garbled"),
    "operationLost": ("running", "dropped"),
}
SCHEMA: Json = {
    "id": str,
    "method": str,
    "path": str,
    "nth": int,
    "times": int,
    "seconds": strict.ANY,
    "after": str,
    "action": {
        "status": {
            "code": str,
            "message": str,
            "details": [strict.ANY],
            "retryAfterSeconds": int,
            "retryAfterAs": str,
        },
        "proxy": int,
        "reset": str,
        "body": str,
        "hold": str,
        "delaySeconds": strict.ANY,
        "answerDelaySeconds": strict.ANY,
        "operationError": {"code": str, "message": str, "stage": str, "lines": [str]},
        "operationStuck": {"stage": str},
        "operationLost": str,
        "container": {"status": int, "body": str},
    },
}


@dataclass
class Fault:
    """One planned fault that this request drew.

    Attributes:
        key: its place in the plan.
        id: its name.
        action: what happens, with the keys of `ON_REQUEST` and `ON_OPERATION`. `status` is answered instead of
            serving the request; `proxy` too, as the HTML page of a proxy with this HTTP status; `reset` "before"
            drops the connection instead of serving, "after" serves, then drops it; `body` serves, then answers the
            first half of the body ("truncated") or something that is no JSON ("garbled"); `hold` waits "before" or
            "after" serving for `Faults.release`; `delaySeconds` waits before serving, `answerDelaySeconds` after
            it. The operation that the request starts fails in a stage ("" at its end) with `operationError`
            (`lines` are what its container logged); stays in a stage until the plan is cleared with
            `operationStuck`; is answered with NOT_FOUND with `operationLost`, while its work goes on ("running") or
            is never done ("dropped"). `container` {"status", "body"} is what a container answers instead.
    """

    key: str
    id: str
    action: Json

    @property
    def on_operation(self) -> bool:
        """Whether it strikes the operation that the request starts; it counts as met once it has."""
        return any(name in self.action for name in ON_OPERATION)


class Faults:
    """The plan and its accounting, both durable."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        #: Called when the plan is cleared: lets go of operations that never ended; set by `core`.
        self.cleared: Callable[[], None] = lambda: None
        self._held: dict[str, asyncio.Future[bool]] = {}  # of this process: a connection does not outlive it

    def held(self) -> list[str]:
        """Ids of the faults that hold a request now."""
        return [id for id, future in self._held.items() if not future.done()]

    async def hold(self, id: str) -> bool:
        """Waits until the request that this fault holds is let go; whether it is to be dropped."""
        self._held[id] = asyncio.get_running_loop().create_future()
        return await self._held[id]

    def release(self, id: str, drop: bool) -> None:
        """Lets a held request go.

        Args:
            id: The fault's.
            drop: Its connection is dropped; otherwise it is carried out and answered as if nothing had been.

        Raises:
            GoogleError: INVALID_ARGUMENT when the fault holds nothing.
        """
        future = self._held.get(id)
        if future is None or future.done():
            raise invalid(f"The fault {id!r} holds no request.")
        future.set_result(drop)

    def plan(self, given: Json) -> Json:
        """Adds one fault and answers it.

        Raises:
            GoogleError: INVALID_ARGUMENT when it is not well formed.
        """
        strict.check_body(given, SCHEMA)
        action = given.get("action") or {}
        if not given.get("path") or not set(action) & {*ON_REQUEST, *ON_OPERATION}:
            raise invalid(
                "A fault needs a path (regular expression) and an action: "
                f"{', '.join((*ON_REQUEST, *ON_OPERATION[:-1]))} or {ON_OPERATION[-1]}."
            )
        for key in ("path", "after"):
            try:
                re.compile(given.get(key) or "")
            except re.error as error:
                raise invalid(f"The {key} {given[key]!r} is not a regular expression: {error}.") from error
        _check_action(action)
        number = self._store.next_number("faults")
        fault = {
            "id": given.get("id") or f"fault-{number}",
            "method": (given.get("method") or "").upper(),
            "path": given["path"],
            "nth": int(given.get("nth") or 1),
            "times": int(given.get("times") or 1),
            "seconds": float(given.get("seconds") or 0),
            "after": given.get("after") or "",
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
        """Those that struck fewer times than planned; of those that strike for some seconds, those that never did."""
        return [fault for fault in self.all() if fault["met"] < (1 if fault["seconds"] else fault["times"])]

    def clear(self) -> None:
        """Forgets the plan, and lets go of operations that it kept from ending."""
        self._store.delete_prefix(COLLECTION, "")
        self.cleared()

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
            if fault["after"]:
                # Armed by a request such as a grant; the plan is looked at before that request is served.
                if re.search(fault["after"], path):
                    fault["after"] = ""
                    self._store.put(COLLECTION, key, fault)
                continue
            if fault["method"] not in ("", method) or not re.search(fault["path"], path):
                continue
            fault["seen"] += 1
            if self._due(fault) and drawn is None:
                drawn = Fault(key, fault["id"], fault["action"])
                if not drawn.on_operation:
                    fault["met"] += 1
            self._store.put(COLLECTION, key, fault)
        return drawn

    def met(self, key: str) -> None:
        """Counts an operation fault, once it has struck an operation; `key` is the drawn fault's."""
        document = self._store.get(COLLECTION, key)
        if document is not None:
            document["met"] += 1
            self._store.put(COLLECTION, key, document)

    def _due(self, fault: Json) -> bool:
        if not fault["seconds"]:
            return bool(fault["nth"] <= fault["seen"] < fault["nth"] + fault["times"])
        if fault["seen"] < fault["nth"]:
            return False
        begun = fault.setdefault("begun", self._clock.now())
        return bool(self._clock.now() < begun + fault["seconds"])


def _check_action(action: Json) -> None:
    for key in ("status", "operationError"):
        code = (action.get(key) or {"code": "INTERNAL"}).get("code")
        if code not in CODES:
            raise invalid(f"{key}.code is {code!r}; one of {', '.join(sorted(CODES))}.")
    for key, choices in _CHOICES.items():
        if action.get(key, choices[0]) not in choices:
            raise invalid(f"{key} is {action[key]!r}; one of {', '.join(choices)}.")
    style = (action.get("status") or {}).get("retryAfterAs", "seconds")
    if style not in {"seconds", "date"}:
        raise invalid(f"status.retryAfterAs is {style!r}; one of seconds, date.")
    if not 400 <= action.get("proxy", 502) <= 599:
        raise invalid(f"proxy is {action['proxy']}; an HTTP status from 400 to 599.")
