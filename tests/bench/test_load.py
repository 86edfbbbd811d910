"""The schedule: what is under way, when it is sent, when it stops; no HTTP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import count, pairwise

import pytest

from infra.bench.load import NOT_SENT, Answer, Bounds, Loaded, Outcome, load


class Sender:
    """Takes as long as it is told, and counts how many are under way."""

    def __init__(self, seconds: float, error: str | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.now = self.most = 0
        self.sent: list[str] = []
        self.cancelled = 0

    async def __call__(self, prompt: str) -> Answer:
        self.sent.append(prompt)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1
        now = time.perf_counter()
        return Answer(now, now, 1, 1, self.error)


def prompts() -> map[str]:
    return map(str, count())


def ran(kind: str, value: float, sender: Sender, **bounds: float) -> Loaded:
    wanted = Bounds(**{"requests": 20, "seconds": 30, "timeout": 30, **bounds})  # type: ignore[arg-type]
    return asyncio.run(load(kind, value, prompts(), sender, wanted, seed=7))  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [1, 3, 8])
def test_a_closed_loop_has_exactly_so_many_under_way(wanted: int) -> None:
    sender = Sender(0.02)
    made = ran("concurrency", wanted, sender)
    assert sender.most == wanted
    assert len(made.outcomes) == len(set(sender.sent)) == 20
    assert made.stopped is None
    assert made.late == 0
    # 20 requests of 20 ms, so many at a time
    assert made.duration >= 0.02 * 20 / wanted * 0.99
    assert all(each.ended >= each.due + 0.019 for each in made.outcomes)


def test_an_open_loop_does_not_wait_for_answers() -> None:
    sender = Sender(0.6)
    made = ran("rate", 100, sender, requests=30)
    assert sender.most == 30  # all are sent, about 0.3 s in all, before the first has its answer
    dues = sorted(each.due for each in made.outcomes)
    assert dues[0] == 0
    assert 0.05 < dues[-1] < 0.6


def test_the_times_of_an_open_loop_are_those_of_its_seed() -> None:
    first, second = (sorted(each.due for each in ran("rate", 200, Sender(0)).outcomes) for _ in range(2))
    assert first == second


def test_the_gaps_of_an_open_loop_are_those_of_a_poisson_process() -> None:
    made = ran("rate", 1000, Sender(0), requests=600)
    dues = sorted(each.due for each in made.outcomes)
    gaps = [after - before for before, after in pairwise(dues)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 1000, rel=0.15)
    assert deviation / mean == pytest.approx(1, rel=0.15)  # of an exponential distribution they are equal


def test_waiting_counts_from_when_a_request_was_due() -> None:
    class Blocking(Sender):
        async def __call__(self, prompt: str) -> Answer:
            if len(self.sent) == 1:
                time.sleep(0.3)  # the load generator stands still, and what was due meanwhile goes out late
            return await super().__call__(prompt)

    made = ran("rate", 100, Blocking(0))
    assert made.late >= 0.1
    assert max(each.ended - each.due for each in made.outcomes) >= 0.1


class Opening(Sender):
    """Says that its time went into opening a connection."""

    async def __call__(self, prompt: str) -> Answer:
        answer = await super().__call__(prompt)
        return replace(answer, opening=self.seconds)


def opened(seconds: float, usual: float) -> Outcome:
    bounds = Bounds(requests=1, seconds=30, timeout=30)
    made = asyncio.run(load("concurrency", 1, prompts(), Opening(seconds), bounds, opening=usual))
    (outcome,) = made.outcomes
    return outcome


def test_opening_a_connection_is_no_waiting_for_the_model() -> None:
    outcome = opened(0.05, usual=0.2)
    assert 0.05 <= outcome.due <= outcome.ended
    assert outcome.opening == 0.05


def test_a_server_that_is_slow_to_take_connections_makes_its_clients_wait() -> None:
    """Else an overload hides in the queue for connections."""
    outcome = opened(0.3, usual=0.01)
    assert 0.01 <= outcome.due < 0.3 - 0.01
    assert outcome.ended - outcome.due >= 0.3 - 0.01 - 0.005
    assert opened(0.05, usual=0.0).due < 0.05


def test_an_open_loop_bounds_what_is_under_way() -> None:
    sender = Sender(0.5)
    made = ran("rate", 200, sender, in_flight=5)
    assert sender.most == 5
    assert [each.error for each in made.outcomes].count(NOT_SENT) == 20 - len(sender.sent) > 0


@pytest.mark.parametrize(("kind", "value"), [("concurrency", 2), ("rate", 20)])
def test_time_ends_a_level(kind: str, value: float) -> None:
    sender = Sender(0.05)
    began = time.perf_counter()
    made = ran(kind, value, sender, requests=10_000, seconds=0.4)
    assert time.perf_counter() - began < 1.5
    assert made.stopped == "after 0.4 s"
    assert 1 < len(made.outcomes) < 60
    assert all(each.error is None for each in made.outcomes)  # those under way are waited for
    assert all(each.due <= 0.4 for each in made.outcomes)


def test_a_request_that_takes_too_long_is_an_error() -> None:
    sender = Sender(5)
    made = ran("concurrency", 2, sender, requests=2, timeout=0.1)
    assert [each.error for each in made.outcomes] == ["no whole answer in 0.1 s"] * 2
    assert made.duration < 1
    assert sender.cancelled == 2


@pytest.mark.parametrize(("kind", "value"), [("concurrency", 4), ("rate", 500)])
def test_nothing_but_errors_end_a_level(kind: str, value: float) -> None:
    sender = Sender(0, error="HTTP 500")
    made = ran(kind, value, sender, requests=1000)
    assert made.hopeless
    assert made.stopped == "after 20 errors in a row"
    assert 20 <= len(sender.sent) <= 60


def test_a_few_errors_do_not() -> None:
    class Some(Sender):
        async def __call__(self, prompt: str) -> Answer:
            self.error = None if int(prompt) % 3 else "HTTP 503"
            return await super().__call__(prompt)

    made = ran("concurrency", 1, Some(0), requests=60)
    assert len(made.outcomes) == 60
    assert not made.hopeless


def test_the_prompts_can_end_first() -> None:
    bounds = Bounds(requests=20, seconds=30, timeout=30)
    told: list[Outcome] = []
    made = asyncio.run(load("concurrency", 2, iter("abc"), Sender(0), bounds, ended=told.append))
    assert len(made.outcomes) == 3
    assert told == made.outcomes
    assert made.stopped == "no more prompts"


@pytest.mark.parametrize(("kind", "value"), [("concurrency", 3), ("rate", 300)])
def test_cancelling_leaves_nothing_under_way(kind: str, value: float) -> None:
    sender = Sender(30)

    async def cancelled() -> None:
        bounds = Bounds(requests=50, seconds=30, timeout=30)
        task = asyncio.create_task(load(kind, value, prompts(), sender, bounds))  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(cancelled())
    assert sender.now == 0
    assert sender.cancelled == len(sender.sent) > 0
