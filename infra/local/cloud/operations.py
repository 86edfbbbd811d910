"""Long-running operations: stages that pass with time, an end that code decides, a record that survives a restart.

A service registers what its operations do, by kind, when it builds its routes; an operation's record holds the kind and
plain JSON arguments, so that a server started again after a crash carries on where the last one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.clock import Clock
from infra.local.cloud.errors import GoogleError, from_status, not_found
from infra.local.cloud.store import Page, Store

Json = dict[str, Any]
_log = logging.getLogger(__name__)
COLLECTION = "operations"
#: How long an operation in manual mode sleeps between looks at whether it was let go on, in seconds; it is woken too.
_MANUAL_POLL = 60.0


@dataclass
class Operation:
    """What a kind's functions get; `args` and `metadata` may be changed and are stored when the function returns."""

    name: str
    kind: str
    args: Json
    metadata: Json
    stage: str = ""


OnStage = Callable[[Operation, str], Awaitable[None]]
OnFinish = Callable[[Operation], Awaitable[Json]]
OnEnd = Callable[[Operation, GoogleError], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """The behaviour of one kind of operation.

    Attributes:
        on_finish: does the work after the last stage, answers the `response` message with its "@type". A `GoogleError`
            it raises becomes the operation's `error`. It is run again if the server dies before its end is stored,
            so it must be safe to repeat.
        on_stage: runs on entering each stage; the stage lasts at least as long as it. May raise `GoogleError`.
        on_failure: undoes what the operation had begun, after an error or a cancellation.
        cancellable: whether `:cancel` ends it (error code 1) or is only taken note of.
        failed_stage, done_stage: value that `deploymentStage` takes at the end, if any.
    """

    on_finish: OnFinish
    on_stage: OnStage | None = None
    on_failure: OnEnd | None = None
    cancellable: bool = True
    failed_stage: str = ""
    done_stage: str = ""


@dataclass
class Timing:
    """How operations pass: "timed" by the clock, "immediate", or "manual" (only when an admin lets them)."""

    mode: str = "timed"
    stage_seconds: float = 0.4
    iam_propagation_seconds: float = 0.0


#: An operation fault planned for the request being served; see `faults`.
planned_fault: ContextVar[Callable[[], Json | None] | None] = ContextVar("planned_fault", default=None)


class Operations:
    """All long-running operations of the local cloud."""

    def __init__(self, store: Store, clock: Clock, timing: Timing) -> None:
        self._store, self._clock, self._timing = store, clock, timing
        self._kinds: dict[str, Kind] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._done: dict[str, asyncio.Event] = {}
        self._random = random.SystemRandom()
        #: Told the id of a planned fault that ended an operation; set by `core`.
        self.fault_met: Callable[[str], None] = lambda _fault: None

    def register(self, kind: str, behaviour: Kind) -> None:
        """Says what operations of this kind do; call it while building routes."""
        self._kinds[kind] = behaviour

    def new_id(self) -> str:
        """A 19-digit number, as Google's."""
        return str(self._random.randrange(10**18, 9 * 10**18))

    def create(
        self,
        parent: str,
        metadata: Json,
        *,
        kind: str,
        args: Json | None = None,
        stages: Sequence[str | tuple[str, float]] = ("",),
        name: str | None = None,
        generic: bool = True,
    ) -> Json:
        """Starts an operation and answers its JSON (not done).

        Args:
            parent: the resource it lies under; its name becomes "{parent}/operations/{19 digits}".
            metadata: the metadata message with its "@type".
            kind: a registered kind.
            args: what the kind's functions need, as JSON.
            stages: names, or (name, seconds); a plain name lasts the configured stage time. A non-empty name is shown
                as `metadata.deploymentStage`.
            name: full name, where it isn't made from the parent.
            generic: keep `metadata.genericMetadata {createTime, updateTime}` (as Vertex AI has it).
        """
        behaviour = self._kinds[kind]
        now = self._clock.timestamp()
        fault = planned_fault.get()
        record: Json = {
            "name": name or f"{parent}/operations/{self.new_id()}",
            "kind": kind,
            "args": args or {},
            "metadata": dict(metadata),
            "stages": [
                [stage, None] if isinstance(stage, str) else [stage[0], float(stage[1])] for stage in stages
            ],
            "index": -1,
            "due": self._clock.now(),
            "generic": generic,
            "done": False,
            "fault": fault() if fault else None,
            "created": self._clock.now(),
        }
        if generic:
            record["metadata"]["genericMetadata"] = {"createTime": now, "updateTime": now}
        shown = view(record)
        lost = record["fault"] or {}
        dropped = bool(lost.get("dropped"))
        record |= {"forgotten": lost.get("kind") == "lost", "done": dropped}
        self._store.put(COLLECTION, record["name"], record)
        if not dropped:
            self._start(record["name"], behaviour)
        return shown

    def get(self, name: str) -> Json:
        """The operation's JSON.

        Raises:
            GoogleError: NOT_FOUND.
        """
        return view(self._visible(name))

    def list(self, parent: str, page_size: int = 0, page_token: str = "") -> Page:
        """One page of the operations directly under `parent` (a resource name)."""
        page = self._store.list(COLLECTION, f"{parent}/operations/", page_size, page_token)
        shown = [view(record) for record in page.items if not record.get("forgotten")]
        return Page(shown, page.next_page_token)

    def running(self, parent_prefix: str = "", kind: str = "") -> Sequence[Operation]:
        """Operations that have not ended, by prefix of their name and by kind."""
        return [
            _operation(record)
            for _, record in self._store.items(COLLECTION, parent_prefix)
            if not record["done"] and kind in ("", record["kind"])
        ]

    async def wait(self, name: str, timeout: float) -> Json:
        """Answers when it is done or `timeout` seconds have passed, whichever is first; done or not."""
        self._visible(name)
        event = self._done.get(name)
        if event is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), timeout)
        return self.get(name)

    async def cancel(self, name: str) -> None:
        """Asks it to stop: a cancellable one ends with error code 1; any other goes on, as the real ones do."""
        record = self._visible(name)
        if record["done"] or not self._kinds[record["kind"]].cancellable:
            return
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not self._record(name)["done"]:
            await self._fail(name, GoogleError("CANCELLED", "The operation was cancelled."))

    def delete(self, name: str) -> None:
        """Forgets the record; it isn't cancelled by that."""
        record = self._visible(name)
        if name in self._tasks:
            # Still at work: the record is hidden, and removed at the end.
            record["forgotten"] = True
            self._store.put(COLLECTION, name, record)
        else:
            self._store.delete(COLLECTION, name)

    def advance(self, name: str = "", stages: int | None = None) -> Sequence[str]:
        """Manual mode: lets one (or every) operation pass `stages` stages (None: to its end); answers their names."""
        touched = []
        for key, record in self._store.items(COLLECTION):
            if record["done"] or (name and key != name):
                continue
            allowed = max(int(record.get("allowed", -1)), int(record["index"]))
            record["allowed"] = 10**6 if stages is None else allowed + stages
            self._store.put(COLLECTION, key, record)
            touched.append(key)
        self.wake()
        return touched

    def wake(self) -> None:
        """Makes every sleeping operation look at the clock again (it was moved, or the timing changed)."""
        for event in self._wake.values():
            event.set()

    def release(self) -> None:
        """Lets go of operations that a planned fault keeps from ending."""
        for name, record in self._store.items(COLLECTION):
            if not record["done"] and (record.get("fault") or {}).get("kind") == "stuck":
                record["fault"] = None
                self._store.put(COLLECTION, name, record)
        self.wake()

    def resume(self) -> None:
        """Carries on what an earlier server process left unfinished; call once the loop runs."""
        for name, record in self._store.items(COLLECTION):
            if record["done"] or name in self._tasks:
                continue
            behaviour = self._kinds.get(record["kind"])
            if behaviour is not None:
                self._start(name, behaviour)

    async def stop(self) -> None:
        """Stops working on operations without ending them; `resume` of the next process carries on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def _record(self, name: str) -> Json:
        record = self._store.get(COLLECTION, name)
        if record is None:
            raise not_found(f"The operation {name} could not be found.")
        return record

    def _visible(self, name: str) -> Json:
        record = self._record(name)
        if record.get("forgotten"):
            self._meet(name, record, "lost")
            raise not_found(f"The operation {name} could not be found.")
        return record

    def _meet(self, name: str, record: Json, kind: str) -> bool:
        """Whether the operation has a planned fault of the kind, which then counts as met, once."""
        fault = record.get("fault") or {}
        if fault.get("kind") != kind:
            return False
        if not fault["met"]:
            fault["met"] = True
            self._store.put(COLLECTION, name, record)
            self.fault_met(fault["id"])
        return True

    def _start(self, name: str, behaviour: Kind) -> None:
        self._done[name] = asyncio.Event()
        self._wake[name] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._drive(name, behaviour), name=name)
        self._tasks[name] = task

        def finished(task: asyncio.Task[None]) -> None:
            if self._tasks.get(name) is task:
                del self._tasks[name]
            for events in (self._wake, self._done):
                event = events.pop(name, None)
                if event is not None:
                    event.set()

        task.add_done_callback(finished)

    async def _drive(self, name: str, behaviour: Kind) -> None:
        try:
            record = self._record(name)
            for index in itertools.count(int(record["index"])):
                if index >= len(record["stages"]):
                    break
                if index >= 0:
                    record = await self._enter(name, index, behaviour)
                await self._sleep(name, index)
                if index >= 0 and record["stages"][index][0]:
                    await self._fault(name, record["stages"][index][0])
            await self._fault(name, "")
            response = await self._run(name, behaviour.on_finish)
            self._end(name, {"response": response}, behaviour.done_stage)
        except GoogleError as error:
            await self._fail(name, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("operation %s failed inside the local cloud", name)
            await self._fail(name, GoogleError("INTERNAL", "Internal error occurred."))

    async def _enter(self, name: str, index: int, behaviour: Kind) -> Json:
        record = self._record(name)
        stage, seconds = record["stages"][index]
        if int(record["index"]) < index:
            length = self._timing.stage_seconds if seconds is None else seconds
            record["index"] = index
            # From the planned end of the stage before: a server that was down does not make operations longer.
            record["due"] = record["due"] + length
            self._touch(record, stage)
            self._store.put(COLLECTION, name, record)
        on_stage = behaviour.on_stage
        if on_stage is not None and stage:
            await self._run(name, lambda operation: on_stage(operation, stage))
        return self._record(name)

    async def _run(self, name: str, function: Callable[[Operation], Awaitable[Any]]) -> Any:
        operation = _operation(self._record(name))
        result = await function(operation)
        record = self._record(name)
        record["args"], record["metadata"] = operation.args, operation.metadata
        self._store.put(COLLECTION, name, record)
        return result

    async def _sleep(self, name: str, index: int) -> None:
        while True:
            record = self._record(name)
            event = self._wake[name]
            event.clear()
            if self._timing.mode == "manual":
                if int(record.get("allowed", -1)) > index:
                    return
                delay = _MANUAL_POLL
            elif self._timing.mode == "immediate":
                return
            else:
                delay = float(record["due"]) - self._clock.now() if index >= 0 else 0.0
                if delay <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), delay)

    async def _fault(self, name: str, stage: str) -> None:
        """What is planned for the stage ("" is the end): an error, or staying in it until `release`."""
        while True:
            event = self._wake[name]
            event.clear()
            record = self._record(name)
            fault = record.get("fault")
            if not fault or fault["stage"] != stage:
                return
            if self._meet(name, record, "error"):
                error = from_status(fault["status"])
                error.lines = fault["lines"]
                raise error
            if not self._meet(name, record, "stuck"):
                return
            await event.wait()

    def _touch(self, record: Json, stage: str) -> None:
        if stage:
            record["metadata"]["deploymentStage"] = stage
        if record["generic"]:
            record["metadata"]["genericMetadata"]["updateTime"] = self._clock.timestamp()

    def _end(self, name: str, outcome: Json, stage: str) -> None:
        record = self._record(name)
        record.update(outcome)
        record["done"] = True
        self._touch(record, stage)
        if record.get("forgotten") and not record.get("fault"):
            self._store.delete(COLLECTION, name)
        else:
            self._store.put(COLLECTION, name, record)

    async def _fail(self, name: str, error: GoogleError) -> None:
        if self._store.get(COLLECTION, name) is None:
            return
        behaviour = self._kinds[self._record(name)["kind"]]
        if behaviour.on_failure is not None:
            on_failure = behaviour.on_failure
            try:
                await self._run(name, lambda operation: on_failure(operation, error))
            except Exception:
                _log.exception("operation %s could not be undone", name)
        self._end(name, {"error": error.status()}, behaviour.failed_stage)


def _operation(record: Json) -> Operation:
    index = int(record["index"])
    stage = record["stages"][index][0] if 0 <= index < len(record["stages"]) else ""
    return Operation(record["name"], record["kind"], dict(record["args"]), dict(record["metadata"]), stage)


def view(record: Json) -> Json:
    """The operation as clients see it."""
    shown: Json = {"name": record["name"], "metadata": record["metadata"]}
    for key in ("done", "response", "error"):
        if record.get(key):
            shown[key] = record[key]
    return shown


def views(records: Iterable[Json]) -> list[Json]:
    """Several operations as clients see them."""
    return [view(record) for record in records]
