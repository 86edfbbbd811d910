"""vLLM's words for memory that does not suffice, with the computed numbers."""

from __future__ import annotations

from infra.fit import Fit, Gpu, Outcome
from infra.local.container.dialect import Dialect


def out_of_memory(fit: Fit, gpu: Gpu, dialect: Dialect) -> str:
    """Return PyTorch's out-of-memory text; the class is torch.OutOfMemoryError (torch 2.5) or torch.cuda's before."""
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


def cache(fit: Fit, dialect: Dialect) -> str | None:
    """Return why the KV cache does not suffice, in V0's or V1's words, or None."""
    if fit.outcome is Outcome.NO_KV_CACHE:
        return (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the "
            "engine."
        )
    if fit.outcome is not Outcome.KV_TOO_SMALL:
        return None
    if fit.engine == "V0":
        return (
            f"The model's max seq len ({fit.max_model_len}) is larger than the maximum number of tokens that can be "
            f"stored in KV cache ({fit.kv_tokens}). Try increasing `gpu_memory_utilization` or decreasing "
            "`max_model_len` when initializing the engine."
        )
    estimate = ""
    if dialect.since("0.9.1"):
        estimate = (
            f"Based on the available memory, the estimated maximum model length is {fit.estimated_max_len}."
        )
    elif dialect.since("0.8.4"):
        estimate = "Based on the available memory,"
    models = "model's" if dialect.since("0.22.0") else "models's"
    return (
        f"To serve at least one request with the {models} max seq len ({fit.max_model_len}), ({fit.kv_needed:.2f} GiB "
        f"KV cache is needed, which is larger than the available KV cache memory ({fit.kv_cache:.2f} GiB). "
        f"{estimate} Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the "
        "engine."
    )
