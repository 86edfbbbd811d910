"""A whole benchmark: one request to warm up, then one level of load after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from infra.bench.load import Bounds, Kind, Outcome, load
from infra.bench.prompts import made
from infra.bench.results import Level, Workload
from infra.bench.stream import ChatStream

__all__ = ["Plan", "Silent", "WarmUpFailed", "Watcher", "measure"]


class WarmUpFailed(Exception):
    """The first request had no whole answer, so no load was sent; ``str(e)`` is its error."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent.

    Attributes:
        kind: Open or closed loop.
        values: The levels.
        bounds: Of each level.
        workload: What each request asks for.
        prompts: Own prompts; None for made ones.
        model: ``model`` of each request: empty, or a LoRA adapter.
        seed: Of the made words and of the random times.
    """

    kind: Kind
    values: tuple[float, ...]
    bounds: Bounds
    workload: Workload
    prompts: Iterator[str] | None = None
    model: str = ""
    seed: int = 0

    @property
    def most_requests(self) -> int:
        """Requests at most, the one to warm up included."""
        return 1 + len(self.values) * self.bounds.requests

    @property
    def most_seconds(self) -> float:
        """Seconds at most."""
        return self.bounds.timeout + len(self.values) * (self.bounds.seconds + self.bounds.timeout)

    def fields(self) -> dict[str, Any]:
        """Fields of each request but its messages. Temperature 0, so that runs ask for the same words."""
        fields: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.workload.output_tokens,
            "temperature": 0,
        }
        return fields | ({"ignore_eos": True} if self.workload.ignore_eos else {})


class Watcher(Protocol):
    """Who is told how far it is."""

    def begins(self, value: float) -> None:
        """A level begins."""

    def answered(self, outcome: Outcome) -> None:
        """A request of it ended."""


class Silent:
    """Nobody."""

    def begins(self, value: float) -> None:
        """Nothing."""

    def answered(self, outcome: Outcome) -> None:
        """Nothing."""


async def measure(
    plan: Plan,
    base_url: str,
    token: Callable[[], str | None],
    levels: list[Level],
    watcher: Watcher | None = None,
) -> None:
    """Run the levels of a plan against one address.

    Args:
        plan: What is sent.
        base_url: As the ``openai`` client takes it.
        token: Gives the access token of the moment.
        levels: Takes each level as it ends; one that is cancelled leaves those before it.
        watcher: Is told how far it is.

    Raises:
        WarmUpFailed: The first request had no whole answer.
    """
    watcher = watcher or Silent()
    run = f"{datetime.now(UTC):%m%d-%H%M%S}"
    async with ChatStream(base_url, token, plan.fields(), timeout=plan.bounds.timeout) as send:
        words = plan.workload.input_tokens or 0
        prompts = plan.prompts or made(words, seed=plan.seed, run=run)
        found: list[Outcome] = []
        once = Bounds(requests=1, seconds=plan.bounds.timeout, timeout=plan.bounds.timeout)
        await load("concurrency", 1, prompts, send, once, ended=found.append)
        if found[0].error is not None:
            raise WarmUpFailed(found[0].error)
        counted = found[0].prompt_tokens
        if plan.prompts is None and counted:
            # Tokens of a word differ by tokenizer, and the chat template adds some: one correction by what was counted.
            prompts = made(round(words * words / counted), seed=plan.seed, run=f"{run}-b")
        for number, value in enumerate(plan.values):
            watcher.begins(value)
            loaded = await load(
                plan.kind,
                value,
                prompts,
                send,
                plan.bounds,
                seed=plan.seed + number,
                opening=found[0].opening,
                ended=watcher.answered,
            )
            levels.append(Level.of(plan.kind, value, loaded))
            if loaded.hopeless:
                return
