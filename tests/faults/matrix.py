"""The matrix of faults: every call of a life, once with each fault that can befall it.

The calls are not listed anywhere: a life without faults records them. A case is one life with one fault (or two): it
ends as wanted, or the run in which the fault strikes ends with a clean error, and its repetition without the fault ends
as wanted. At no moment does more than one deployed model bill, and after the life nothing is left.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from unittest import mock

from infra.local.cloud.testing import LocalCloud
from infra.local.gcp_plugin import base, grants, operations, rest
from infra.provider import retry
from infra.provider.failures import Kind
from infra.provider.retry import Pace
from tests.faults.engine import Refused, Run, Stack
from tests.faults.lives import PACE, Life
from tests.provider.samples import TOKEN

Json = dict[str, Any]

# Faults


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        action: as the local cloud's plan takes it.
        on: "request": befalls every call; "operation": those that start an operation; else a part of the call's name.
        times: how often it strikes in a row.
        conclusive: whether the answer is a no that asking again does not change.
        pace: the provider's pace, where the fault needs another.
        timeout: seconds that each call of the engine is given.
        everywhere: befalls each of several calls of one kind in a life, not the first one only.
    """

    action: Json
    on: str = "request"
    times: int = 1
    conclusive: bool = False
    pace: Pace = PACE
    timeout: float = 0
    everywhere: bool = False


def _status(code: str, message: str, **more: Any) -> Json:
    return {"status": {"code": code, "message": message, **more}}


def _error(code: str, message: str, stage: str = "", lines: Sequence[str] = ()) -> Json:
    return {"operationError": {"code": code, "message": message, "stage": stage, "lines": list(lines)}}


BUSY = "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service 'x.googleapis.com'."
ACT_AS = "You do not have permission to act as service account: a@b.c. (or it may not exist)."
CONTAINER = "Model server exited unexpectedly."
LINE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB."
STOCK_OUT = "Machine type temporarily unavailable, please deploy with a different machine type or retry."
QUOTA = "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion"
_SLOW = Pace(PACE.poll_first, PACE.poll_last, call=0.3, in_use=PACE.in_use, scale=PACE.scale)
_STAGES = (
    "STARTING_DEPLOYMENT",
    "PREPARING_MODEL",
    "CREATING_SERVING_CLUSTER",
    "ADDING_NODES_TO_CLUSTER",
    "GETTING_CONTAINER_IMAGE",
    "STARTING_MODEL_SERVER",
    "FINISHING_UP",
)
_DEPLOY = ":deployModel"

FAULTS: Mapping[str, Fault] = {
    "429": Fault(_status("RESOURCE_EXHAUSTED", BUSY), everywhere=True),
    "429, Retry-After 7": Fault(_status("RESOURCE_EXHAUSTED", BUSY, retryAfterSeconds=7), everywhere=True),
    "429, Retry-After as a date": Fault(
        _status("RESOURCE_EXHAUSTED", BUSY, retryAfterSeconds=7, retryAfterAs="date")
    ),
    "429, Retry-After an hour": Fault(_status("RESOURCE_EXHAUSTED", BUSY, retryAfterSeconds=3600)),
    "500": Fault(_status("INTERNAL", "Internal error encountered."), everywhere=True),
    "500 for good": Fault(_status("INTERNAL", "Internal error encountered."), times=60),
    "503": Fault(_status("UNAVAILABLE", "The service is currently unavailable."), everywhere=True),
    "503, Retry-After 7": Fault(
        _status("UNAVAILABLE", "The service is currently unavailable.", retryAfterSeconds=7)
    ),
    "502 of a proxy": Fault({"proxy": 502}),
    "504 of a proxy": Fault({"proxy": 504}),
    "reset before": Fault({"reset": "before"}, everywhere=True),
    "reset after": Fault({"reset": "after"}, everywhere=True),
    "slow before": Fault({"delaySeconds": 0.5}, pace=_SLOW, everywhere=True),
    "slow after": Fault({"answerDelaySeconds": 0.5}, pace=_SLOW),
    "truncated": Fault({"body": "truncated"}),
    "garbled": Fault({"body": "garbled"}),
    "expired token": Fault({"status": {"code": "UNAUTHENTICATED"}}, conclusive=True, everywhere=True),
    "400": Fault(_status("INVALID_ARGUMENT", "List of found errors: 1.Field: x"), conclusive=True),
    "403": Fault(_status("PERMISSION_DENIED", "Permission 'x.y.z' denied on resource 'r'."), conclusive=True),
    "operation: internal error": Fault(_error("INTERNAL", "Internal error occurred."), "operation"),
    "operation: internal error for good": Fault(
        _error("INTERNAL", "Internal error occurred."), "operation", times=60
    ),
    "operation: invalid": Fault(
        _error("INVALID_ARGUMENT", "Field x is wrong."), "operation", conclusive=True
    ),
    "operation: cancelled": Fault(_error("CANCELLED", "The operation was cancelled."), "operation"),
    "operation: lost, goes on": Fault({"operationLost": "running"}, "operation"),
    "operation: lost, never done": Fault({"operationLost": "dropped"}, "operation"),
    "operation: never ends": Fault({"operationStuck": {}}, "operation", timeout=0.8),
    **{
        f"deployment: internal error in {stage}": Fault(
            _error("INTERNAL", "Internal error occurred.", stage), _DEPLOY
        )
        for stage in _STAGES
    },
    **{
        f"deployment: stays in {stage}": Fault({"operationStuck": {"stage": stage}}, _DEPLOY, timeout=0.8)
        for stage in ("ADDING_NODES_TO_CLUSTER", "STARTING_MODEL_SERVER")
    },
    "deployment: quota": Fault(
        _error("RESOURCE_EXHAUSTED", QUOTA, "STARTING_DEPLOYMENT"), _DEPLOY, conclusive=True
    ),
    "deployment: stock-out": Fault(_error("UNAVAILABLE", STOCK_OUT, "ADDING_NODES_TO_CLUSTER"), _DEPLOY),
    "deployment: stock-out for good": Fault(
        _error("UNAVAILABLE", STOCK_OUT, "ADDING_NODES_TO_CLUSTER"), _DEPLOY, times=60
    ),
    "deployment: container": Fault(
        _error("FAILED_PRECONDITION", CONTAINER, "STARTING_MODEL_SERVER", [LINE]), _DEPLOY, conclusive=True
    ),
    "deployment: account not granted yet": Fault(_status("PERMISSION_DENIED", ACT_AS), _DEPLOY, times=3),
}

# Calls


@dataclass(frozen=True)
class Call:
    """A call of a life, as found by living it.

    Attributes:
        step: the step in which it is made.
        method: its HTTP method.
        path: its path, with `*` for ids.
        nth: which of those in the step.
        operation: whether it starts an operation.
        first: whether it is the first of its method and path in the life.
    """

    step: str
    method: str
    path: str
    nth: int
    operation: bool
    first: bool

    def __str__(self) -> str:
        return f"{self.step}: {self.method} {self.path} (no. {self.nth})"

    @property
    def pattern(self) -> str:
        """The regular expression of its path."""
        return "^" + re.escape(self.path).replace(r"\*", "[^/:]+") + "$"

    def befalls(self, fault: Fault) -> bool:
        """Whether the fault is to befall it."""
        if not (self.first or fault.everywhere or fault.on != "request"):
            return False
        return {"request": True, "operation": self.operation}.get(fault.on, fault.on in self.path)


_ID = re.compile(r"(?<=/)(?:\d[^/:]*|[a-z][^/:]*-[^/:]*|[^/:]+@[^/:]+)(?=[/:]|$)")
#: Polls of one operation are alike, and how many there are depends on time; which deployed model answers, on chance.
_AT_MOST = {"/operations/": 2, ":rawPredict": 1}


def calls_of(cloud: LocalCloud, life: Life) -> list[Call]:
    """Every call of a life without faults, in order."""
    found: list[Call] = []
    kinds: set[tuple[str, str]] = set()

    def keep(step: str, requests: Sequence[Json]) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for each in requests:
            path = _ID.sub("*", each["path"])
            counts[each["method"], path] += 1
            nth = counts[each["method"], path]
            if nth <= next((most for part, most in _AT_MOST.items() if part in path), nth):
                first = (each["method"], path) not in kinds
                kinds.add((each["method"], path))
                found.append(Call(step, each["method"], path, nth, bool(each.get("operation")), first))

    live(cloud, life, after=keep)
    return found


#: How many pairs of faults are drawn for each life.
PAIRS = 40


def pairs(calls: list[Call], number: int) -> list[tuple[tuple[Call, str], tuple[Call, str]]]:
    """Two faults, drawn at random but always the same ones: in a row on one call, or in two calls of a life."""
    random = Random(20)
    drawn = []
    for _ in range(number):
        first = random.choice(calls)
        second = replace(first, nth=first.nth + 1) if random.random() < 0.5 else random.choice(calls)
        names = [
            random.choice([name for name, each in FAULTS.items() if call.befalls(each)])
            for call in (first, second)
        ]
        drawn.append(((first, names[0]), (second, names[1])))
    return drawn


# Lives


@dataclass
class Outcome:
    """How a life went.

    Attributes:
        errors: what the user read, in order.
        pauses: the pauses before repetitions in seconds, as they would have been without the tests' scale.
        tries: the most times that one struck call was sent in one run.
        sent: how often the struck call was sent in the run in which it was struck.
        met: how often the faults struck.
    """

    errors: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    sent: int = 0
    met: int = 0


def live(
    cloud: LocalCloud,
    life: Life,
    planned: Sequence[tuple[Call, Fault]] = (),
    after: Any = None,
) -> Outcome:
    """Like `_live`; up to three times where calls have 0.3 s, since a machine that stalls makes others time out too."""
    tries = 3 if any(fault.pace is not PACE for _, fault in planned) else 1
    while True:
        tries -= 1
        try:
            return _live(cloud, life, planned, after)
        except AssertionError:
            if not tries:
                raise


def _live(
    cloud: LocalCloud,
    life: Life,
    planned: Sequence[tuple[Call, Fault]],
    after: Any,
) -> Outcome:
    """Lives a life, with faults; every assertion that fails names the step.

    Args:
        cloud: The cloud, which is emptied.
        life: The life.
        planned: Which call gets which fault.
        after: Is given each step and its requests: in a run, nobody else asks for anything.
    """
    cloud.admin.reset()
    life.prepare(cloud)
    outcome = Outcome()
    stack = life.stack(cloud, min((fault.pace for _, fault in planned), default=PACE, key=lambda p: p.call))
    with hurried(outcome, slow=any(fault.pace is not PACE for _, fault in planned)):
        steps = list(life.steps)
        if planned:
            last = max((call.step for call, _ in planned), key=steps.index)
            steps = life.until(last) if len({call.step for call, _ in planned}) == 1 else steps
        for step in steps:
            here = [each for each in planned if each[0].step == step]
            if planned and not here and step != steps[-1]:  # a step like any other: what follows checks it
                error = _run(stack, life.steps[step])
                assert not error, f"{step}: an error without a fault: {error}"
                continue
            requests = _step(cloud, life, step, stack, here, outcome)
            if after is not None:
                after(step, requests)
    assert not stack.resources
    # Two reads, for example of an operation and then of the resource, each with a budget of its own.
    wait = sum(outcome.pauses)
    assert wait <= (1 + len(planned)) * retry.READ_BUDGET, f"{wait:.0f} s of pauses are beyond the budget"
    return outcome


def _step(
    cloud: LocalCloud,
    life: Life,
    step: str,
    stack: Stack,
    planned: Sequence[tuple[Call, Fault]],
    outcome: Outcome,
) -> list[Json]:
    """Lives one step until it is as wanted; answers the requests of its runs."""
    cloud.admin.call("DELETE", "requests")
    for call, fault in planned:
        cloud.admin.fault(call.pattern, method=call.method, nth=call.nth, times=fault.times, **fault.action)
        stack.timeout = stack.timeout or fault.timeout
    moments = len(cloud.admin.billed())
    for attempt in range(1 + len(planned)):
        error = _run(stack, life.steps[step])
        if attempt == 0 and planned:
            _account(cloud, planned, outcome)
        _at_most(cloud, life.most.get(step, 1), moments, step)
        if not error:
            break
        outcome.errors.append(error)
        _clean(error)
        assert planned, f"{step}: an error without a fault: {error}"
        assert attempt < len(planned), f"{step}: the repetition without the fault failed too: {error}"
        if attempt == len(planned) - 1:
            _forget(cloud, stack)
    deadline = time.monotonic() + 10
    # A request is logged once it is served: one that was slow may have its effect after its repetition.
    strikes = sum(
        each["met"] for each in cloud.admin.call("GET", "faults")["faults"] if _slow(each["action"])
    )
    while sum(bool(each.get("fault")) for each in cloud.admin.requests()) < strikes:
        assert time.monotonic() < deadline, f"{step}: the slow request was never served"
        time.sleep(0.02)
    requests = cloud.admin.requests()
    _forget(cloud, stack)
    while True:  # what a slow answer or a lost operation still does comes late
        try:
            life.check(cloud, step)
            return requests
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _slow(action: Json) -> bool:
    return bool(set(action) & {"delaySeconds", "answerDelaySeconds"})


def _run(stack: Stack, act: Any) -> str:
    with stack.run() as run:
        try:
            act(run)
        except Refused as e:
            return str(e)
    return ""


def _account(cloud: LocalCloud, planned: Sequence[tuple[Call, Fault]], outcome: Outcome) -> None:
    """Each fault was met, a conclusive no once, and the struck call was not sent too often."""
    plan = cloud.admin.call("GET", "faults")["faults"]
    met = [fault["met"] for fault in plan]
    outcome.met += sum(met)
    if len(planned) > 1:
        return
    (call, fault), count = planned[0], met[0]
    assert count >= 1, "the fault was not met"
    assert count == fault.times or fault.times > 3, f"the fault was met {count} times, not {fault.times}"
    requests = cloud.admin.requests()
    struck = [number for number, each in enumerate(requests) if each.get("fault")]
    outcome.sent = max(outcome.sent, len(struck))
    if fault.conclusive and call.method != "GET":
        after = requests[struck[0] + 1 :]
        again = [each for each in after if (each["method"], each["path"]) == _key(requests[struck[0]])]
        assert not again, "a conclusive no was asked for again"
    if fault.conclusive and call.method == "GET" and len(requests) > struck[0] + 1:
        assert _key(requests[struck[0] + 1]) != _key(requests[struck[0]]), "asked again after a conclusive no"


def _key(request: Json) -> tuple[str, str]:
    return request["method"], request["path"]


def _at_most(cloud: LocalCloud, most: int, moments: int, step: str) -> None:
    for moment in cloud.admin.billed()[moments:]:
        assert len(moment) == len(set(moment)) <= most, f"{step}: {moment} bill at once"


def _forget(cloud: LocalCloud, stack: Stack) -> None:
    cloud.admin.call("DELETE", "faults")
    stack.timeout = 0


_STAGE = re.compile(
    r"^Could not (?:upload|read|delete|deploy|undeploy|change|dispose of) |Last stage: |Stage: "
    r"|^Could not finish the (?:smoke test|step of \d+ %|hand-over) of "
    r"|did not pass the (?:smoke test|step of \d+ %|hand-over): "
    r"|goes on at Google|is still there, and may bill|Google did not answer the request to "
)
_REMEDY = re.compile(
    r"[Rr]un `|[Rr]un the command again|Ask for more of|Grant |choose another|Correct what|Wait a minute"
    r"|looks for a change of the stack file|The change to the stack file: |undeploy what the message names, then"
    r"|is not accepted: set|Let the caller have|`pulumi up`"
)
_GCP = re.compile(
    r"^(?:(?:GET|POST|PUT|PATCH|DELETE) http\S+(?: answered \d+|: the connection broke off)"
    r"|(?:creating|enabling|deleting|disabling) \S.*(?: failed: |: not done after ))"
)


def _clean(error: str) -> None:
    """The error names the cause, the stage and the remedy, and neither a bug nor a secret."""
    for wrong in ("Traceback", "This is a bug", TOKEN, "object at 0x", "<html>"):
        assert wrong not in error, f"{wrong!r} in the error: {error}"
    assert _REMEDY.search(error), f"no remedy: {error}"
    if _GCP.search(error):
        return
    assert _STAGE.search(error), f"no stage: {error}"
    causes = (
        *(kind.value for kind in Kind),
        "did not answer",
        "goes on at Google",
        "the wait of",
        "did not pass",
    )
    assert any(cause in error for cause in causes), f"no cause: {error}"
    if "the container did not start" in error:
        assert f"  | error {LINE}" in error, f"no line of the container: {error}"


@contextmanager
def hurried(outcome: Outcome, slow: bool = False) -> Iterator[None]:
    """Pauses are a thousandth of the real ones, and kept in the outcome."""

    def pause(ctx: Any, seconds: float) -> None:
        outcome.pauses.append(round(seconds / PACE.scale, 2))
        # After a time-out a real pause, scaled to it: what was slow comes before the next look, as it mostly would.
        time.sleep(0.25 if slow else seconds)

    short = {
        rest: {
            "BUSY_SECONDS": 2.0 if slow else 1.0,
            "FIRST_DELAY_SECONDS": 0.25 if slow else 0.0005,
            "REQUEST_SECONDS": 0.3 if slow else 10.0,
        },
        base: {"VISIBLE_POLL_SECONDS": 0.002},
        grants: {"FIRST_DELAY_SECONDS": 0.001, "LONGEST_DELAY_SECONDS": 0.01},
        operations: {"FIRST_POLL_SECONDS": 0.002},
    }
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(retry, "sleep", pause))
        for module, values in short.items():
            for name, value in values.items():
                patches.enter_context(mock.patch.object(module, name, value))
        yield


__all__ = ["FAULTS", "PAIRS", "Call", "Fault", "Outcome", "Run", "calls_of", "live", "pairs"]
