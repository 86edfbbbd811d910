"""The figures that vLLM prints at start-up, in the words of each of its versions.

Memory in GiB, also where vLLM writes GB: it divides by 2^30. A figure that a log does not show is None. With many
workers the first line of a kind counts, but of caches the smallest: it decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_N: Final = r"(-?[\d.]+)"
_COUNT: Final = r"([\d,]+)"


@dataclass(frozen=True)
class Readings:
    """What one start-up printed. ``outcome`` is None for a log that shows neither a cache nor a known failure.

    ``consumed`` is weights and non-torch memory together (vLLM 0.27 and later). ``activation`` is without the graphs'
    estimate, also where vLLM prints them together. ``served`` says that the server answered requests.
    """

    total: float | None = None
    init_free: float | None = None
    weights: float | None = None
    activation: float | None = None
    non_torch: float | None = None
    consumed: float | None = None
    graph_estimate: float | None = None
    graphs: float | None = None
    kv: float | None = None
    kv_tokens: int | None = None
    blocks: int | None = None
    max_concurrency: float | None = None
    outcome: str | None = None
    oom_stage: str | None = None
    estimated_max_len: int | None = None
    version: str | None = None
    served: bool = False


#: Figure -> patterns, the newest wording first. Versions as read in the wheels and seen in published logs.
_WEIGHTS: Final = (
    rf"Model loading took {_N} (?:GiB|GB)",  # 0.7.0 and later; GiB from 0.8.0, " memory" from 0.12
    rf"Loading model weights took {_N} GB",  # to 0.7
    rf"model weights take {_N}GiB",  # V0 0.6.5 to 0.10, two digits
    rf"{_N} GiB for weight,",  # 0.10.2 to 0.26
    rf"weights memory: {_N}GiB",  # debug
)
_ACTIVATION: Final = (
    rf"PyTorch activation peak memory takes {_N}GiB",  # V0 0.6.5 to 0.10
    rf"torch peak memory increase: {_N}GiB",  # debug, 0.9.1 to 0.26
)
_PEAK: Final = (rf"{_N} GiB for peak activation",)  # 0.10.2 and later; with the graphs' estimate from 0.27
_NON_TORCH: Final = (
    rf"non_torch_memory takes {_N}GiB",  # V0 0.6.5 to 0.10
    rf"non_torch_memory={_N}GiB kv_cache_size",  # V0 0.6.4
    rf"{_N} GiB for non-torch memory",  # 0.10.2 to 0.26
    rf"non-torch forward increase memory: {_N}GiB",  # debug, 0.9.1 to 0.26
)
_CONSUMED: Final = (
    rf"{_N} GiB for consumed memory",
    rf"total consumed \(from mem_get_info\): {_N}GiB",
)  # 0.27
_ESTIMATE: Final = (rf"Estimated CUDA graph memory: {_N} GiB",)  # 0.18 and later
_GRAPHS: Final = (
    rf"Graph capturing finished in [\d.]+ secs?, took {_N} GiB",  # 0.6.4 and later
    rf"{_N} GiB for CUDAGraph memory",
)
_KV: Final = (
    rf"Available KV cache memory: {_N} GiB",  # 0.9.1 and later
    rf"reserved for KV Cache is {_N}GiB",  # V0 0.6.5 to 0.10
    rf"kv_cache_size={_N}GiB",  # V0 0.6.4
    rf"larger than the available KV cache memory \({_N} GiB\)",  # where it is too small
)
_TOKENS: Final = (rf"\w+ KV cache size: {_COUNT} tokens",)  # 0.8.0 and later
_BLOCKS: Final = (rf"# (?:GPU|cuda|CUDA) blocks: {_COUNT}",)  # to 0.11.0
_CONCURRENCY: Final = (rf"Maximum concurrency for [\d,]+ tokens per request: {_N}x",)  # 0.6.4 and later
_LONGEST: Final = (
    rf"estimated maximum model length is {_COUNT}",
    rf"number of tokens that can be stored in KV cache \({_COUNT}\)",
)
_TOTAL: Final = (
    rf"Free memory on device (?:\S+ )?\([\d.]+/{_N} GiB\)",  # 0.9.1 and later
    rf"total_gpu_memory \({_N}GiB\)",
    rf"total_gpu_memory={_N}GiB",
    rf"total_memory={_N}GiB",  # debug
    rf"GPU \d+ has a total capacity of {_N} GiB",  # torch, where memory ran out
)
_FREE: Final = (rf"Free memory on device (?:\S+ )?\({_N}/[\d.]+ GiB\)",)
_VERSION: Final = (r"vLLM API server version v?(\S+)", r"Initializing an? (?:V1 )?LLM engine \(v(\S+?)\)")

#: Failure -> outcome and stage. In this order: an out-of-memory error of a stage also says "CUDA out of memory".
_FAILURES: Final = (
    (
        r"is less than (?:desired GPU memory utilization|the engine's budget)",
        "oom",
        "startup_free_memory_check",
    ),
    (r"Failed to load model - not enough GPU memory", "oom", "weight_loading"),
    (r"occurred when warming up (?:sampler|pooler)", "oom", "sampler_warmup"),
    (r"No available memory for the cache blocks", "kv_too_small", "kv_cache (no available memory)"),
    (r"To serve at least one request with the models?'?s max seq len", "kv_too_small", "kv_cache"),
    (
        r"is larger than the maximum number of tokens that can be stored in KV cache",
        "kv_too_small",
        "kv_cache",
    ),
    (r"Cannot auto-fit max_model_len", "kv_too_small", "kv_cache"),
    (r"exceeds available Mamba cache blocks", "kv_too_small", "state_cache"),
    (r"OutOfMemoryError|CUDA out of memory", "oom", None),
)
#: The stage of an out-of-memory error that names none: the function that is last in its stack.
_STACK: Final = (
    (r"in (?:capture_model|capture|_capture_cudagraphs)\b", "cuda_graph_capture"),
    (
        r"in (?:initialize_kv_cache|_allocate_kv_cache|initialize_cache|_init_cache_engine)\b",
        "kv_cache_allocation",
    ),
    (r"in (?:profile_run|determine_available_memory|determine_num_available_blocks)\b", "profile_run"),
    (r"in load_model\b", "weight_loading"),
)


def read(log: str) -> Readings:
    """Take the figures out of a log."""
    estimate = _number(log, _ESTIMATE)
    consumed = _number(log, _CONSUMED)
    activation = _number(log, _ACTIVATION)
    peak = _number(log, _PEAK)
    if peak is not None and (activation is None or consumed is not None):
        # From 0.27 the printed peak holds the estimate of the graphs, and the debug line's peak also what stays.
        activation = round(peak - (estimate or 0.0), 2) if consumed is not None else peak
    weights = _number(log, _WEIGHTS)
    non_torch = _number(log, _NON_TORCH)
    if non_torch is None and consumed is not None and weights is not None:
        non_torch = round(consumed - weights, 2)
    failure = _failure(log)
    tokens, blocks = _count(log, _TOKENS), _count(log, _BLOCKS)
    started = tokens is not None or blocks is not None
    outcome, stage = failure if failure else ("ok" if started else None, None)
    return Readings(
        total=_number(log, _TOTAL),
        init_free=_number(log, _FREE),
        weights=weights,
        activation=activation,
        non_torch=non_torch,
        consumed=consumed,
        graph_estimate=estimate,
        graphs=_number(log, _GRAPHS),
        kv=_smallest(log, _KV),
        kv_tokens=tokens,
        blocks=blocks,
        max_concurrency=_number(log, _CONCURRENCY),
        outcome=outcome,
        oom_stage=stage,
        estimated_max_len=_count(log, _LONGEST),
        version=_text(log, _VERSION),
        served="Application startup complete" in log,
    )


def _failure(log: str) -> tuple[str, str | None] | None:
    for pattern, outcome, stage in _FAILURES:
        if re.search(pattern, log):
            return outcome, stage or _stage(log)
    return None


def _stage(log: str) -> str | None:
    places = [(found.start(), stage) for pattern, stage in _STACK for found in re.finditer(pattern, log)]
    return max(places)[1] if places else None


def _text(log: str, patterns: tuple[str, ...]) -> str | None:
    for pattern in patterns:
        found = re.search(pattern, log)
        if found:
            return found[1]
    return None


def _number(log: str, patterns: tuple[str, ...]) -> float | None:
    found = _text(log, patterns)
    return None if found is None else float(found.rstrip("."))


def _smallest(log: str, patterns: tuple[str, ...]) -> float | None:
    for pattern in patterns:
        values = [float(found[1].rstrip(".")) for found in re.finditer(pattern, log)]
        if values:
            return min(values)
    return None


def _count(log: str, patterns: tuple[str, ...]) -> int | None:
    for pattern in patterns:
        values = [int(found[1].replace(",", "")) for found in re.finditer(pattern, log)]
        if values:
            return min(values)
    return None
