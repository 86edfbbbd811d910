"""Put the terms together: what is left for the KV cache, and how the start-up ends."""

from __future__ import annotations

from infra.fit import versions
from infra.fit.activation import Batch, Peak, batch, peak
from infra.fit.types import GIB, Fit, Gpu, Model, Options, Outcome, OutOfMemory
from infra.fit.weights import element_bytes, weights_gib


def kv_bytes_per_token(model: Model, options: Options, version: str) -> int:
    """Return the cache bytes of one token on one GPU.

    Two tensors (keys and values) for every layer that keeps them; KV heads are shared out over the GPUs and repeated
    where there are more GPUs than heads. Cross-attention layers keep no text tokens in newer accounting, but V0
    allocates the same blocks for every layer.
    """
    arch = model.architecture
    size = 1 if options.kv_cache_dtype.startswith("fp8") else element_bytes(model, options, version)
    heads = max(arch.num_key_value_heads // options.tensor_parallel_size, 1)
    layers = -(-arch.num_hidden_layers // options.pipeline_parallel_size)
    return 2 * layers * heads * arch.head_dim * size


def predict(model: Model, gpu: Gpu, options: Options, version: str) -> Fit:
    """Predict vLLM's start-up on one GPU of a machine.

    Args:
        model: the model card.
        gpu: the GPU; all GPUs of the machine are alike.
        options: vLLM options, ``tensor_parallel_size`` among them.
        version: the image's vLLM version.

    Raises:
        ValueError: ``version`` is not a version.
    """
    cross = bool(model.architecture.cross_attention_layers)
    engine = versions.engine(version, gpu.capability, vision_cross_attention=cross)
    era = versions.era(version, engine)
    length = options.max_model_len or model.architecture.max_position_embeddings
    run = batch(model, options, version, engine, gpu, length)
    size = element_bytes(model, options, version)
    weights = weights_gib(model, options, version)
    top = peak(model, options, gpu, era, run, size)
    utilization = (
        era.utilization if options.gpu_memory_utilization is None else options.gpu_memory_utilization
    )
    budget = gpu.total * utilization
    parallel = options.tensor_parallel_size * options.pipeline_parallel_size
    outside = versions.non_torch(version, engine, parallel, gpu.hopper_or_later)
    if era.device_charged:
        outside += versions.CONTEXT
    graphs = 0.0
    if era.graphs_charged and not options.enforce_eager:
        graphs = versions.GRAPHS_PER_LAYER * model.architecture.num_hidden_layers
    activation = top.total / GIB
    cache = budget - weights - activation - outside - graphs
    per_token = kv_bytes_per_token(model, options, version)
    blocks = int(cache * GIB // (per_token * options.block_size)) if cache > 0 else 0
    tokens = blocks * options.block_size
    oom = _out_of_memory(gpu, weights, outside, top)
    outcome = Outcome.OK
    if oom is not None:
        outcome = Outcome.OUT_OF_MEMORY
    elif tokens <= 0:
        outcome = Outcome.NO_KV_CACHE
    elif tokens < length:
        outcome = Outcome.KV_TOO_SMALL
    return Fit(
        outcome=outcome,
        version=version,
        engine=engine,
        total=gpu.total,
        budget=budget,
        weights=weights,
        activation=activation,
        non_torch=outside,
        graphs=graphs,
        kv_cache=cache,
        kv_bytes_per_token=per_token,
        kv_tokens=tokens,
        block_size=options.block_size,
        max_model_len=length,
        max_num_seqs=run.sequences,
        estimated_max_len=_longest(model, gpu, options, version, length, tokens, oom, run),
        oom=oom,
    )


def _out_of_memory(gpu: Gpu, weights: float, outside: float, top: Peak) -> OutOfMemory | None:
    """Find the first stage that does not fit the whole GPU (not the budget: allocations see real free memory)."""
    present = max(outside, versions.CONTEXT)
    if weights + present > gpu.total:
        return OutOfMemory("load", min(weights * 0.02, 0.5), gpu.total - 0.1, 0.1)
    for stage, size, tensor in top.stages:
        needed = weights + present + size / GIB
        if needed > gpu.total:
            tried = tensor / GIB
            free = gpu.total - weights - present
            in_use = gpu.total - min(max(free - _whole(free, tried), 0.01), tried * 0.95)
            return OutOfMemory(stage, tried, in_use, gpu.total - in_use)
    return None


def _whole(free: float, tensor: float) -> float:
    """Return what whole tensors of this size take of the free memory before the next one fails."""
    return int(free / tensor) * tensor if tensor > 0 else 0.0


def _longest(
    model: Model,
    gpu: Gpu,
    options: Options,
    version: str,
    length: int,
    tokens: int,
    oom: OutOfMemory | None,
    run: Batch,
) -> int:
    """Return the longest length that starts: the cache's tokens, and in V0 the shorter run's smaller peak counts."""
    limit = model.architecture.max_position_embeddings
    if oom is not None and run.tokens <= 2048:
        return 0
    if tokens >= length and oom is None:
        return min(tokens, limit)
    return min(tokens, limit)
