"""Recognises known failures in the lines of a log. Pure, and light: the provider imports it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from infra.diagnose.known import KNOWN, OUT_OF_MEMORY, STARTED, Failure, Weight

__all__ = ["Diagnosis", "Evidence", "recognise"]

_SHOWN: Final = 400  # characters of a line of evidence; vLLM lists a hundred architectures in one

# A CUDA allocation that failed. vLLM also advises on running out of memory in lines that report none.
_OOM: Final = re.compile(
    r"OutOfMemoryError\b|CUDA out of memory\b|CUDA error: out of memory|Failed to load model - not enough GPU memory"
    r"|NCCL WARN Cuda failure (?:\d+ )?'out of memory'"
)
_TRIED: Final = re.compile(
    r"Tried to allocate (?P<amount>[\d.]+ [KMG]iB)(?:\. GPU \d+ has a total capacity of (?P<total>[\d.]+ [KMG]iB)"
    r" of which (?P<free>[\d.]+ [KMG]iB) is free)?"
)
_TESTED: Final = re.compile(r"warming up (?:sampler|pooler) with (\d+) ")
# Where it failed: by the words of the error, else the last function of its stack, else what was logged before.
_IN_WORDS: Final = (
    (re.compile(r"out of memory occurred when warming up (?:sampler|pooler)"), "sampler"),
    (re.compile(r"Failed to load model - not enough GPU memory"), "load"),
)
_FUNCTIONS: Final[Mapping[str, str]] = {
    "load_model": "load",
    "initialize_model": "load",
    "_initialize_model": "load",
    "make_layers": "load",
    "create_weights": "load",
    "process_weights_after_loading": "load",
    "profile_run": "profile",
    "determine_num_available_blocks": "profile",
    "determine_available_memory": "profile",
    "_dummy_sampler_run": "sampler",
    "initialize_cache": "cache",
    "_init_cache_engine": "cache",
    "_allocate_kv_cache": "cache",
    "initialize_from_config": "cache",
    "initialize_kv_cache": "cache",
    "initialize_kv_cache_tensors": "cache",
    "_allocate_kv_cache_tensors": "cache",
    "compile_or_warm_up_model": "warm-up",
    "kernel_warmup": "warm-up",
    "warmup_kernels": "warm-up",
    "capture_model": "graphs",
    "capture": "graphs",
    "capture_end": "graphs",
    "_capture_cudagraphs": "graphs",
    "run_engine_loop": "serving",
    "run_busy_loop": "serving",
    "engine_step": "serving",
}
_FRAME: Final = re.compile(
    r"line \d+, in (\w+)|with torch\.cuda\.graph\(|\bself\.(?:model_runner\.)?(?:collective_rpc\(\"(\w+)\"|(\w+)\()"
)
_PROGRESS: Final = (
    (re.compile(r"Initializing an? .*LLM engine|Starting to load model "), "load"),
    (re.compile(r"(?:Model loading|Loading model weights) took [\d.]+"), "profile"),
    (re.compile(r"# (?:GPU|cuda|CUDA) blocks: |KV cache size: [\d,]+ tokens"), "cache"),
    (re.compile(r"Capturing (?:CUDA |cuda)graph"), "graphs"),
    (re.compile(r"Graph capturing finished"), "warm-up"),
    (re.compile(r"Application startup complete|Uvicorn running on|Route: /generate"), "serving"),
)
_LOADING: Final = re.compile(r"checkpoint shards: +\d{1,2}% Completed")
_NEAR: Final = 20  # lines; a progress bar is another stream, and its last state may come after the error
_STACK_LINES: Final = 150
# A request that vLLM logs has its prompt, and a prompt may be about anything.
_PROMPT: Final = re.compile(r"Received request \S+: ")
_BANNER: Final = re.compile(r"vLLM API server version ")


@dataclass(frozen=True)
class Evidence:
    """The line of a log that shows a failure: its number, from 1, and its text, shortened."""

    line: int
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """A known failure in a log.

    Attributes:
        id: Name of the failure; those of running out of GPU memory are ``out-of-memory-`` with the stage.
        cause: What happened, half a sentence.
        advice: What to do.
        evidence: The first line that shows it.
        numbers: What the line says: the names of :mod:`known`'s patterns with their texts.
        weight: How much it says of why a deployment failed.
    """

    id: str
    cause: str
    advice: str
    evidence: Evidence
    numbers: Mapping[str, str]
    weight: Weight = Weight.CAUSE

    @property
    def sentence(self) -> str:
        """Cause and advice."""
        return f"{self.cause}: {self.advice}"

    def number(self, name: str) -> int | None:
        """One of the whole numbers; None where the line has none of that name."""
        text = self.numbers.get(name, "").replace(",", "")
        return int(text) if text.isdigit() else None


def recognise(lines: Iterable[str]) -> tuple[Diagnosis, ...]:
    """Every known failure in the lines, each once, what says most of the cause first; empty where none is known.

    Of a container that was started again and again the last start counts, if it shows a failure.
    """
    whole = [line for text in lines for line in text.splitlines() or [""]]
    banners = [number for number, line in enumerate(whole) if _BANNER.search(line)]
    if len(banners) > 1:
        found = _recognise(whole[banners[-1] :], banners[-1])
        if any(each.weight is Weight.CAUSE for each in found):
            return found
    return _recognise(whole, 0)


def _recognise(logged: Sequence[str], before: int) -> tuple[Diagnosis, ...]:
    lines = ["" if _PROMPT.search(line) else line for line in logged]
    text = "\n".join(lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    found: dict[str, tuple[tuple[int, int], Diagnosis]] = {}
    taken: set[int] = set()
    for order, (failure, pattern) in enumerate(_patterns()):
        match = pattern.search(text)
        if match is None or failure.id in found:
            continue
        number = bisect_right(starts, match.start()) - 1
        if number in taken and failure.weight is Weight.CAUSE and _is_general(failure):
            continue  # what says more of this very line was found
        taken.add(number)
        numbers = {
            name: " ".join(value.split()).rstrip(".") for name, value in match.groupdict().items() if value
        }
        found[failure.id] = (
            (failure.weight, order),
            Diagnosis(
                failure.id,
                failure.cause.format_map(numbers),
                failure.advice.format_map(numbers),
                Evidence(before + number + 1, _short(lines[number])),
                numbers,
                failure.weight,
            ),
        )
    memory = _out_of_memory(lines, before)
    if memory is not None:
        found[memory.id] = ((Weight.CAUSE, -1), memory)
    for general, special in _SAID_BETTER:
        if found.keys() & special:
            found.pop(general, None)
    if "never-ready" in found and "Application startup complete" in text:
        place, ended = found["never-ready"]
        found["never-ready"] = (place, replace(ended, cause=STARTED[0], advice=STARTED[1]))
    if "never-ready" not in found:
        found.pop("wrong-address", None)  # whoever asks it may know
    return tuple(each for _, each in sorted(found.values(), key=lambda pair: pair[0]))


# What says less, and what says more of the same failure.
_SAID_BETTER: Final = (
    ("hub-refused", frozenset({"gated-repository", "repository-missing"})),
    ("architecture-unsupported", frozenset({"architecture-broken"})),
)


def _is_general(failure: Failure) -> bool:
    return failure.id in ("hub-refused", "disk-full", "nccl", "permission", "repository-missing")


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[Failure, re.Pattern[str]], ...]:
    return tuple((failure, failure.compiled()) for failure in KNOWN)


def _out_of_memory(lines: Sequence[str], before: int) -> Diagnosis | None:
    """The failure to allocate GPU memory, with the stage at which it happened."""
    hits = [number for number, line in enumerate(lines) if _OOM.search(line)]
    if not hits:
        return None
    # The words may come later than the error that they explain.
    said = [(number, stage) for number in hits for words, stage in _IN_WORDS if words.search(lines[number])]
    number, stage = said[0] if said else (hits[0], _stage(lines, hits[0]))
    cause, advice = OUT_OF_MEMORY[stage]
    tried = next((match for each in hits if (match := _TRIED.search(lines[each]))), None)
    numbers: dict[str, Any] = {
        key: value for key, value in (tried.groupdict() if tried else {}).items() if value
    }
    tested = _TESTED.search(lines[number])
    if tested:
        numbers["sequences"] = tested[1]
    aside = ""
    if "amount" in numbers:
        aside = f" ({numbers['amount']} more were asked for"
        aside += f", {numbers['free']} of {numbers['total']} were free)" if "free" in numbers else ")"
    return Diagnosis(
        f"out-of-memory-{stage}" if stage else "out-of-memory",
        cause.format(tried=aside),
        advice,
        Evidence(before + number + 1, _short(lines[number])),
        numbers,
    )


def _stage(lines: Sequence[str], number: int) -> str:
    before = lines[max(0, number - _STACK_LINES) : number]
    # Where the engine runs in a process of its own, vLLM 0.6 to 0.8 writes the error first and its stack after it.
    after = lines[number + 1 : number + 1 + _STACK_LINES]
    stack = _in_stack(before) or ("Traceback" in "".join(after[:2]) and _in_stack(after)) or ""
    if stack:
        return stack
    # A traceback that was cut: what had been reached. Nothing logged of the weights says nothing.
    reached = ""
    for line in lines[:number]:
        for pattern, stage in _PROGRESS:
            if pattern.search(line):
                reached = stage
    if not reached and any(_LOADING.search(line) for line in lines[number : number + _NEAR]):
        return "load"
    return reached


def _in_stack(lines: Sequence[str]) -> str:
    """The stage of the last function that belongs to one."""
    for line in reversed(lines):
        for match in reversed(list(_FRAME.finditer(line))):
            name = match[1] or match[2] or match[3]
            stage = "graphs" if name is None else _FUNCTIONS.get(name)
            if stage:
                return stage
    return ""


def _short(line: str) -> str:
    text = line.strip()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
