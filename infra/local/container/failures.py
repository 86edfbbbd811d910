"""vLLM's words for memory that does not suffice, with the computed numbers."""

from __future__ import annotations

from infra.fit import Fit, Gpu, Outcome
from infra.local.container.dialect import Dialect


def out_of_memory(fit: Fit, gpu: Gpu) -> str:
    """Return PyTorch's out-of-memory text with the computed numbers."""
    oom = fit.oom
    assert oom is not None
    return (
        f"CUDA out of memory. Tried to allocate {_size(oom.tried)}. GPU 0 has a total capacity of {gpu.total:.2f} GiB "
        f"of which {_size(oom.free)} is free. Process 1 has {oom.in_use:.2f} GiB memory in use. Of the allocated "
        f"memory {max(oom.in_use - 0.5, 0):.2f} GiB is allocated by PyTorch, and {_size(0.1)} is reserved by PyTorch "
        "but unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory "
        "Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
    )


def _size(gib: float) -> str:
    return f"{gib:.2f} GiB" if gib >= 1 else f"{gib * 1024:.2f} MiB"


_MORE = " See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


def cache(fit: Fit, dialect: Dialect) -> str | None:
    """Return why the KV cache does not suffice, in V0's or V1's words, or None."""
    more = _MORE if dialect.since("0.14.0") else ""
    try_more = "Try increasing `gpu_memory_utilization`"
    if fit.outcome_point is Outcome.NO_KV_CACHE:
        cpu = " (this flag also controls CPU memory reservation on the CPU backend, despite its name)"
        aside = cpu if dialect.since("0.32.0") else ""
        text = f"No available memory for the cache blocks. {try_more} when initializing the engine{aside}."
        return text + more
    if fit.outcome_point is not Outcome.KV_TOO_SMALL:
        return None
    if fit.engine == "V0":
        return (
            f"The model's max seq len ({fit.max_model_len}) is larger than the maximum number of tokens that can be "
            f"stored in KV cache ({fit.kv_tokens}). {try_more} or decreasing `max_model_len` when initializing the "
            "engine."
        )
    models = "model's" if dialect.since("0.22.0") else "models's"
    aside = " (which also controls CPU memory on the CPU backend)" if dialect.since("0.32.0") else ""
    return (
        f"To serve at least one request with the {models} max seq len ({fit.max_model_len}), ({fit.kv_needed:.2f} GiB "
        f"KV cache is needed, which is larger than the available KV cache memory ({fit.kv_cache:.2f} GiB)."
        f"{_estimate(fit, dialect)} {try_more}{aside} or decreasing `max_model_len` when initializing the engine.{more}"
    )


def _estimate(fit: Fit, dialect: Dialect) -> str:
    """Return the estimated length as the version prints it: 0.8.4 to 0.9.0 forget the number."""
    if not dialect.since("0.8.4"):
        return ""
    if not dialect.since("0.9.1"):
        return " Based on the available memory, "
    if fit.estimated_max_len <= 0:
        return " "
    return f" Based on the available memory, the estimated maximum model length is {fit.estimated_max_len}."
