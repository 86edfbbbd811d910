"""How long to wait, how often to ask again, and for what. Nothing is repeated after a conclusive no."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    Kind.SERVICE_ACCOUNT: (5, 15),  # it may have been made a moment ago
    Kind.STOCK_OUT: (15, 45),
    Kind.EXISTS: (0.5, 1, 2, 4, 8),  # taken, but not to be seen yet
    Kind.BUSY: (1, 2, 4, 8) + 240 * (15,),  # an hour
}
"""Pauses before something is changed again, after looking at what the last try left. Quota is not among them."""


class Interrupted(Exception):
    """The user interrupted the run; what was sent before may still have its effect."""


class Patience:
    """Decides whether to try again after an error, and pauses before it. One object counts the tries of one task."""

    def __init__(self, ctx: Context, pauses: Mapping[Kind, Sequence[float]], scale: float) -> None:
        self._ctx = ctx
        self._scale = scale
        self._pauses: dict[Kind, Iterator[float]] = {kind: iter(each) for kind, each in pauses.items()}

    def again(self, error: ApiError, *, before: float | None = None) -> bool:
        """Pause and answer True if the call is worth repeating; answer False, at once, if it is not.

        Args:
            error: What went wrong.
            before: Seconds that are left; a longer pause is not worth beginning.

        Raises:
            Interrupted: the user interrupted the run during the pause.
        """
        kind = classify(error)
        pause = next(self._pauses.get(kind, iter(())), None)
        if pause is None:
            return False
        pause *= self._scale
        if before is not None and pause >= before:
            return False
        text = error.message if len(error.message) <= 120 else error.message[:117] + "..."
        self._ctx.status(f"{kind.value}: trying again in {pause:.0f} s ({text})")
        sleep(self._ctx, pause)
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
