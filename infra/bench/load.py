"""Sends requests on a schedule and notes when each began and ended. Knows nothing of HTTP.

Closed loop: so many requests are under way at any time, the next is sent when one ends. Open loop: requests are sent at
random times (a Poisson process) whether or not earlier ones have ended, as independent users do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["Answer", "Bounds", "Kind", "Loaded", "Outcome", "Sender", "load"]

Kind = Literal["concurrency", "rate"]

_HOPELESS: Final = 20  # answers in a row, all errors: the rest would tell nothing more
NOT_SENT: Final = "not sent: too many under way"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one level may cost at most.

    Attributes:
        requests: Requests sent.
        seconds: Seconds after which no request is sent any more.
        timeout: Seconds that a request may take; a level ends within ``seconds + timeout``.
        in_flight: Requests under way at once; an open loop counts those above as errors and does not send them.
    """

    requests: int
    seconds: float
    timeout: float
    in_flight: int = 512


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender says of one request: seconds on :func:`time.perf_counter`, tokens as the server counted them.

    Attributes:
        first: When the first token came; None for none.
        last: When the last token came.
        prompt_tokens: None where the server does not say.
        output_tokens: None where the server does not say.
        error: What went wrong, in a few words that are equal for equal failures; None for a whole answer.
        opening: Seconds that a new connection took, which is no waiting for the model; 0 where one was open.
    """

    first: float | None = None
    last: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    opening: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: seconds since the level began.

    Attributes:
        due: When it was sent; in an open loop, when it should have been, so that a slow load generator hides nothing.
            Later by what a new connection takes to a server that is not busy: clients keep theirs. A server that is
            slow to take connections makes its clients wait, and that counts.
        first: When the first token came.
        last: When the last token came.
        ended: When nothing more was expected.
        prompt_tokens: As of :class:`Answer`.
        output_tokens: As of :class:`Answer`.
        error: As of :class:`Answer`.
        opening: As of :class:`Answer`.
    """

    due: float
    first: float | None
    last: float | None
    ended: float
    prompt_tokens: int | None
    output_tokens: int | None
    error: str | None
    opening: float = 0.0


@dataclass(slots=True)
class Loaded:
    """What came of one level.

    Attributes:
        outcomes: In the order in which they ended.
        duration: Seconds from the first request to the end of the last.
        late: Seconds by which the latest request was sent after its time; 0 in a closed loop.
        stopped: Why fewer requests were sent than were asked for; None where all were.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    duration: float = 0.0
    late: float = 0.0
    stopped: str | None = None

    @property
    def hopeless(self) -> bool:
        """Whether the last answers, 20 or all of them, were errors only."""
        return bool(self.outcomes) and all(each.error for each in self.outcomes[-_HOPELESS:])


Sender = Callable[[str], Awaitable[Answer]]


async def load(
    kind: Kind,
    value: float,
    prompts: Iterator[str],
    send: Sender,
    bounds: Bounds,
    *,
    seed: int = 0,
    opening: float = 0.0,
    ended: Callable[[Outcome], None] = lambda _: None,
) -> Loaded:
    """Put one level of load on a sender.

    Args:
        kind: ``concurrency`` for a closed loop, ``rate`` for an open one.
        value: Requests under way at once, or requests a second.
        prompts: What to send; the level also ends with them.
        send: Sends one. It must not raise, except for cancellation.
        bounds: What it may cost.
        seed: Of the random times of an open loop.
        opening: Seconds that a connection takes to open while nothing else goes on; no more of it is left out of the
            times.
        ended: Told of each request that ended.
    """
    level = _Level(prompts, send, bounds, opening, ended)
    try:
        if kind == "concurrency":
            await level.workers(min(int(value), bounds.in_flight))
        else:
            await level.arrivals(value, random.Random(seed))
    finally:
        await level.close()
    level.made.duration = max((each.ended for each in level.made.outcomes), default=0.0)
    return level.made


class _Level:
    def __init__(
        self,
        prompts: Iterator[str],
        send: Sender,
        bounds: Bounds,
        opening: float,
        ended: Callable[[Outcome], None],
    ) -> None:
        self._prompts, self._send, self._bounds, self._ended = prompts, send, bounds, ended
        self._opening = opening
        self._began = time.perf_counter()
        self._sent = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.made = Loaded()

    async def workers(self, count: int) -> None:
        self._tasks = {asyncio.create_task(self._worker()) for _ in range(count)}
        await asyncio.gather(*self._tasks)

    async def _worker(self) -> None:
        while (prompt := self._next()) is not None:
            await self._one(prompt, self._now())

    async def arrivals(self, rate: float, chance: random.Random) -> None:
        due = 0.0
        while (prompt := self._next(due)) is not None:
            await asyncio.sleep(max(0.0, due - self._now()))
            self.made.late = max(self.made.late, self._now() - due)
            if len(self._tasks) < self._bounds.in_flight:
                task = asyncio.create_task(self._one(prompt, due))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._note(Outcome(due, None, None, self._now(), None, None, NOT_SENT))
            due += chance.expovariate(rate)
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _next(self, due: float | None = None) -> str | None:
        """The next prompt, or None where a bound has been reached."""
        if self._sent >= self._bounds.requests:
            return None
        if max(self._now(), due or 0.0) >= self._bounds.seconds:
            self.made.stopped = self.made.stopped or f"after {self._bounds.seconds:g} s"
            return None
        if len(self.made.outcomes) >= _HOPELESS and self.made.hopeless:
            self.made.stopped = f"after {_HOPELESS} errors in a row"
            return None
        prompt = next(self._prompts, None)
        if prompt is None:
            self.made.stopped = self.made.stopped or "no more prompts"
            return None
        self._sent += 1
        return prompt

    async def _one(self, prompt: str, due: float) -> None:
        answer = Answer(error=f"no whole answer in {self._bounds.timeout:g} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.timeout):
                answer = await self._send(prompt)
        first, last = (
            None if moment is None else moment - self._began for moment in (answer.first, answer.last)
        )
        tokens = (answer.prompt_tokens, answer.output_tokens)
        counted = due + min(answer.opening, self._opening)
        self._note(Outcome(counted, first, last, self._now(), *tokens, answer.error, answer.opening))

    def _note(self, outcome: Outcome) -> None:
        self.made.outcomes.append(outcome)
        self._ended(outcome)
