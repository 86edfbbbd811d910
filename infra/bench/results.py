"""A run and its figures: what is saved, read again, and summed up."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.bench.load import Kind, Loaded, Outcome

__all__ = ["FORMAT", "Level", "Price", "Run", "RunProblem", "Workload", "percentile", "read_run"]

FORMAT: Final = 1
_PERCENTILES: Final = (50, 95, 99)


class RunProblem(ValueError):
    """A file that holds no run; its text says why."""


class _Saved(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workload(_Saved):
    """What each request asked for. Two runs can be compared where it is equal.

    Attributes:
        input_tokens: Tokens of a prompt that were wanted; what the server counted is in the levels.
        output_tokens: ``max_tokens``.
        ignore_eos: Whether an answer goes on to ``output_tokens`` whatever the model says.
        prompts: Name of the file of prompts; None for made ones.
    """

    input_tokens: int | None
    output_tokens: int
    ignore_eos: bool
    prompts: str | None = None


class Price(_Saved):
    """What the endpoint costs while it runs.

    Attributes:
        usd_per_hour: US dollars an hour of all its replicas, before tax and discounts.
        source: Where the figure comes from.
    """

    usd_per_hour: float = Field(gt=0)
    source: str


class Level(_Saved):
    """One level of load. Times are seconds, throughput is of the whole level, from first request to last end.

    Attributes:
        kind: ``concurrency`` or ``rate``.
        value: Requests under way at once, or requests a second.
        duration: Seconds.
        late: Seconds by which the load generator was late at most (open loop).
        stopped: Why fewer requests were sent than were asked for.
        ttft: Seconds to the first token with text, of each whole answer.
        tpot: Seconds a token after the first, of each whole answer of two tokens or more that says how many it has:
            (last - first) / (tokens - 1).
        latency: Seconds to the last token, of each whole answer.
        sent: Requests, errors included.
        input_tokens: Of all whole answers; None where one does not say.
        output_tokens: Of all whole answers; None where one does not say.
        errors: How often each error came.
    """

    kind: Kind
    value: float = Field(gt=0)
    duration: float = Field(ge=0)
    late: float = 0.0
    stopped: str | None = None
    ttft: tuple[float, ...]
    tpot: tuple[float, ...]
    latency: tuple[float, ...]
    sent: int = Field(ge=0)
    input_tokens: int | None
    output_tokens: int | None
    errors: dict[str, int]

    @classmethod
    def of(cls, kind: Kind, value: float, made: Loaded) -> Level:
        """The figures of one level of load."""
        whole = [each for each in made.outcomes if each.error is None]
        return cls(
            kind=kind,
            value=value,
            duration=made.duration,
            late=made.late,
            stopped=made.stopped,
            ttft=tuple(each.first - each.due for each in whole if each.first is not None),
            tpot=tuple(found for each in whole if (found := _per_token(each)) is not None),
            latency=tuple(each.last - each.due for each in whole if each.last is not None),
            sent=len(made.outcomes),
            input_tokens=_sum(each.prompt_tokens for each in whole),
            output_tokens=_sum(each.output_tokens for each in whole),
            errors=dict(
                Counter(each.error for each in made.outcomes if each.error is not None).most_common()
            ),
        )

    @property
    def name(self) -> str:
        """The level as a person says it."""
        return f"{self.value:g}" if self.kind == "concurrency" else f"{self.value:g}/s"

    @property
    def completed(self) -> int:
        """Whole answers."""
        return len(self.latency)

    @property
    def failed(self) -> int:
        """Requests without a whole answer."""
        return self.sent - self.completed

    @property
    def requests_per_second(self) -> float | None:
        """Whole answers a second; None where there was none."""
        return self._rate(self.completed)

    @property
    def output_per_second(self) -> float | None:
        """Output tokens of whole answers a second; None where they are not known."""
        return self._rate(self.output_tokens)

    @property
    def total_per_second(self) -> float | None:
        """Input and output tokens of whole answers a second; None where they are not known."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self._rate(self.input_tokens + self.output_tokens)

    def usd_per_million_output(self, price: Price | None) -> float | None:
        """US dollars of a million output tokens at this level, the whole machine paid; None where not known."""
        return _per_million(price, self.output_per_second)

    def usd_per_million_total(self, price: Price | None) -> float | None:
        """US dollars of a million tokens, input and output alike; None where not known."""
        return _per_million(price, self.total_per_second)

    def summary(self, price: Price | None) -> dict[str, Any]:
        """The figures by the names of ``vllm bench serve --save-result``, with our own beside them."""
        found: dict[str, Any] = {
            "kind": self.kind,
            "value": self.value,
            "duration": round(self.duration, 4),
            "completed": self.completed,
            "failed": self.failed,
            "total_input_tokens": self.input_tokens,
            "total_output_tokens": self.output_tokens,
            "request_throughput": _rounded(self.requests_per_second),
            "output_throughput": _rounded(self.output_per_second),
            "total_token_throughput": _rounded(self.total_per_second),
        }
        for name, values in (("ttft", self.ttft), ("tpot", self.tpot), ("e2el", self.latency)):
            found[f"mean_{name}_ms"] = _rounded(1000 * statistics.fmean(values)) if values else None
            for rank in _PERCENTILES:
                value = percentile(values, rank)
                label = "median" if rank == 50 else f"p{rank}"
                found[f"{label}_{name}_ms"] = None if value is None else _rounded(1000 * value)
        return found | {
            "usd_per_million_output_tokens": _rounded(self.usd_per_million_output(price)),
            "usd_per_million_tokens": _rounded(self.usd_per_million_total(price)),
            "errors": self.errors,
            "stopped": self.stopped,
            "load_generator_late_ms": _rounded(1000 * self.late),
        }

    def _rate(self, amount: int | None) -> float | None:
        return None if not amount or self.duration <= 0 else amount / self.duration


class Run(_Saved):
    """A benchmark of one endpoint.

    Attributes:
        format: Version of the file.
        created: UTC, ISO 8601.
        endpoint: Its full name.
        hardware: Machine, GPUs and region, in words; empty where not known.
        workload: What each request asked for.
        price: None where no price is known.
        local: Whether it ran in the local Google Cloud: then the times are this machine's, not a GPU's.
        levels: In the order in which they ran.
    """

    format: Literal[1] = FORMAT
    created: str
    endpoint: str
    hardware: str = ""
    workload: Workload
    price: Price | None = None
    local: bool = False
    levels: tuple[Level, ...]

    def as_dict(self) -> dict[str, Any]:
        """The run for a script: what was asked, and the figures of each level. :func:`read_run` wants `saved`."""
        return {
            **self.model_dump(exclude={"levels", "format"}),
            "levels": [level.summary(self.price) for level in self.levels],
        }

    def saved(self) -> str:
        """The run as a file holds it, with every request's times."""
        return self.model_dump_json(indent=1) + "\n"


def read_run(path: Path) -> Run:
    """A run that was saved.

    Raises:
        RunProblem: it cannot be read, or is none.
    """
    try:
        return Run.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunProblem(f"{path}: cannot be read: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunProblem(
            f"{path}: is no run that `vertex-vllm bench --save` wrote: {where or 'the file'}: {first['msg']}."
        ) from None


def percentile(values: Sequence[float], rank: float) -> float | None:
    """The value below which ``rank`` percent lie, interpolated linearly (as NumPy does); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * rank / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _per_token(each: Outcome) -> float | None:
    if each.first is None or each.last is None or each.output_tokens is None or each.output_tokens < 2:
        return None
    return (each.last - each.first) / (each.output_tokens - 1)


def _per_million(price: Price | None, per_second: float | None) -> float | None:
    return None if price is None or not per_second else price.usd_per_hour / (per_second * 3600) * 1e6


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
