"""How long to wait, how often to ask again, and for what. Nothing is repeated after a conclusive no.

docs/reliability.md has the same as a table.
"""

from __future__ import annotations

import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

from infra.plugin import Context
from infra.provider.failures import ApiError, Kind, classify

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How often to ask, and how long to go on; all in seconds.

    Attributes:
        poll_first, poll_last: Pause between two looks at an operation, growing from the first to the last.
        call: How long one call may take.
        undeploy, mutate, upload, remove: How long such an operation may take.
        in_use: How long to wait until Google notices that a model is deployed no more.
        scale: A factor on the pauses before repetitions; tests shorten them.
    """

    poll_first: float = 0.25
    poll_last: float = 5.0
    call: float = 60.0
    undeploy: float = 3600.0
    mutate: float = 3600.0
    upload: float = 1800.0
    remove: float = 1800.0
    in_use: float = 120.0
    scale: float = 1.0


_RATE = (2, 5, 10, 20, 30, 30)  # quotas of calls are counted by the minute
_SETUP = (2, 5, 10, 20, 30, 30, 30, 30)  # an API that was enabled a moment ago needs some minutes

_GRANT = (5, 10, 20, *13 * (30,))
"""Seven minutes: a grant works "typically [after] 2 minutes, potentially 7 minutes or longer" (Google's IAM
documentation, access-change-propagation)."""

PROPAGATION = 420.0
"""Seconds after a grant in which a refusal that it should have prevented is no conclusive no."""

JITTER = 0.25
"""How far a pause may differ from its plan, as a fraction: clients that failed together do not come back together."""

READ_BUDGET = 300.0
"""How long the pauses before repetitions of one call without effects may be together, in seconds."""

READ: Mapping[Kind, Sequence[float]] = {
    Kind.TRANSIENT: (0.5, 1, 2, 4, 8, 15, 20, 20, 20, 30, 30, 30),
    Kind.RATE: _RATE,
    Kind.DISABLED: _SETUP,
}
"""Pauses before a call without effects is repeated, by what went wrong: three minutes without Google."""

CHANGE: Mapping[Kind, Sequence[float]] = {
    Kind.TRANSIENT: (2, 5, 15),
    Kind.RATE: _RATE,
    Kind.DISABLED: _SETUP,
    Kind.SERVICE_ACCOUNT: _GRANT,  # only where `Grants` allows it
    Kind.BUCKET: _GRANT,
    Kind.STOCK_OUT: (15, 45),
    Kind.LOST: (0.5, 5, 15),  # what it was to make may be there, or still come
    Kind.EXISTS: (0.5, 1, 2, 4, 8),  # taken, but not to be seen yet
    Kind.BUSY: (1, 2, 4, 8) + 240 * (15,),  # an hour
}
"""Pauses before something is changed again, after looking at what the last try left. Quota is not among them."""


IDEMPOTENT: Mapping[Kind, Sequence[float]] = {
    kind: CHANGE[kind] for kind in (Kind.TRANSIENT, Kind.RATE, Kind.DISABLED)
}
"""Pauses before a change is sent again without a look, because sending it twice does nothing more."""


class Interrupted(Exception):
    """The user interrupted the run; what was sent before may still have its effect."""


class Grants:
    """When this stack may last have made an account or a grant: what needs it may be refused for some minutes more.

    The endpoint is made in the same run as the stack's account and its grants, and Google says when that was; another
    service account for an existing deployment is seen as a difference. After `PROPAGATION` a refusal is conclusive.
    """

    def __init__(self) -> None:
        self._at = -math.inf

    def made(self, when: float | str) -> None:
        """Notes that they may have been made then: seconds since 1970, or a time as Google writes it."""
        if isinstance(when, str):
            try:
                when = datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()
            except ValueError:
                return
        self._at = max(self._at, when)

    @property
    def age(self) -> float:
        """Seconds since then; infinite if nothing is known."""
        return max(0.0, time.time() - self._at)


_GRANTED = frozenset({Kind.SERVICE_ACCOUNT, Kind.BUCKET})


class Patience:
    """Decides whether to try again after an error, and pauses before it. One object counts the tries of one task.

    The pauses of each kind grow, vary by `JITTER`, and have their sum as a budget; Google's Retry-After makes one
    longer, if the budget allows it.

    Args:
        ctx: The engine's call.
        pauses: The pauses in seconds, by what went wrong; what is not in it is not repeated.
        scale: A factor on every pause; tests shorten them.
        budget: How long all pauses may be together, in seconds.
        grants: When the stack may have made grants; without it, a refusal for want of one is conclusive.
    """

    def __init__(
        self,
        ctx: Context,
        pauses: Mapping[Kind, Sequence[float]],
        scale: float,
        *,
        budget: float = math.inf,
        grants: Grants | None = None,
    ) -> None:
        self._ctx = ctx
        self._scale = scale
        self._grants = grants
        self._pauses: dict[Kind, Iterator[float]] = {kind: iter(each) for kind, each in pauses.items()}
        self._left = {kind: sum(each) for kind, each in pauses.items()}
        self._budget = budget

    def again(self, error: ApiError, *, before: float | None = None) -> bool:
        """Pause and answer True if the call is worth repeating; answer False, at once, if it is not.

        Args:
            error: What went wrong.
            before: Seconds that are left; a longer pause is not worth beginning.

        Raises:
            Interrupted: the user interrupted the run during the pause.
        """
        kind = classify(error)
        age = self._grants.age if self._grants else math.inf
        if kind in _GRANTED and age > PROPAGATION:
            return False
        pause = next(self._pauses.get(kind, iter(())), None)
        if pause is None:
            return False
        left = min(self._left[kind], self._budget)
        if left < min(pause, 1.0):
            return False
        pause = min(pause * random.uniform(1 - JITTER, 1 + JITTER), left)
        if error.retry_after is not None:
            if error.retry_after > left:
                return False
            pause = max(pause, error.retry_after)
        if before is not None and pause * self._scale >= before:
            return False
        self._left[kind] -= pause
        self._budget -= pause
        text = error.message if len(error.message) <= 120 else error.message[:117] + "..."
        why = (
            f"; it may have been granted {age:.0f} s ago, and a grant takes minutes"
            if kind in _GRANTED
            else ""
        )
        self._ctx.status(f"{kind.value}{why}: trying again in {pause * self._scale:.0f} s ({text})")
        sleep(self._ctx, pause * self._scale)
        return True


def sleep(ctx: Context, seconds: float) -> None:
    """Wait, unless the user interrupts.

    Raises:
        Interrupted: at once when the user interrupts.
    """
    if ctx.cancelled.wait(seconds):
        raise Interrupted


def interruptibly(ctx: Context, call: Callable[[], T]) -> T:
    """The result of a call without effects, given up within a tenth of a second when the user interrupts.

    The call goes on in a thread of its own until its own time limit; its result is dropped.

    Raises:
        Interrupted: the user interrupted.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as e:
            results.put((None, e))

    threading.Thread(target=run, daemon=True, name="google-call").start()
    while True:
        if ctx.cancelled.is_set():
            raise Interrupted
        try:
            result, error = results.get(timeout=0.1)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return cast(T, result)
