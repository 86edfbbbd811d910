"""Put the terms together: what is left for the KV cache, and how the start-up ends."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Account:
    """One start-up with one length: the terms in GiB, the batch, what is left."""

    run: Batch
    weights: float
    activation: float
    outside: float
    graphs: float
    cache: float
    tokens: int
    oom: OutOfMemory | None

    def serves(self, length: int) -> bool:
        """Say whether a start-up with this length succeeds."""
        return self.oom is None and self.tokens >= length


def predict(model: Model, gpu: Gpu, options: Options, version: str) -> Fit:
    """Predict vLLM's start-up on one GPU of a machine.

    Args:
        model: the model card.
        gpu: the GPU (see :func:`infra.fit.gpu_of`); all GPUs of a machine are alike.
        options: vLLM options, ``tensor_parallel_size`` among them.
        version: the image's vLLM version.

    Raises:
        ValueError: ``version`` is not a version.
    """
    cross = bool(model.architecture.kinds.cross)
    engine = versions.engine(version, gpu.capability, vision_cross_attention=cross)
    length = options.max_model_len or model.architecture.max_position_embeddings
    account = _account(model, gpu, options, version, engine, length)
    return Fit(
        outcome=_outcome(account, length),
        version=version,
        engine=engine,
        total=gpu.total,
        budget=gpu.total * _utilization(options, version, engine),
        weights=account.weights,
        activation=account.activation,
        non_torch=account.outside,
        graphs=account.graphs,
        kv_cache=account.cache,
        kv_bytes_per_token=kv_bytes_per_token(model, options, version),
        kv_tokens=account.tokens,
        block_size=options.block_size,
        max_model_len=length,
        max_num_seqs=account.run.sequences,
        estimated_max_len=_longest(model, gpu, options, version, engine),
        oom=account.oom,
    )


def _outcome(account: _Account, length: int) -> Outcome:
    if account.oom is not None:
        return Outcome.OUT_OF_MEMORY
    if account.tokens <= 0:
        return Outcome.NO_KV_CACHE
    return Outcome.OK if account.tokens >= length else Outcome.KV_TOO_SMALL


def _utilization(options: Options, version: str, engine: str) -> float:
    if options.gpu_memory_utilization is not None:
        return options.gpu_memory_utilization
    return versions.era(version, engine).utilization


def _account(model: Model, gpu: Gpu, options: Options, version: str, engine: str, length: int) -> _Account:
    era = versions.era(version, engine)
    run = batch(model, options, version, engine, gpu, length)
    weights = weights_gib(model, options, version)
    top = peak(model, options, gpu, era, run, element_bytes(model, options, version))
    outside = versions.non_torch(version, engine, options.tensor_parallel_size, gpu.hopper_or_later)
    if era.device_charged:
        outside += versions.CONTEXT
    graphs = 0.0
    if era.graphs_charged and not options.enforce_eager:
        graphs = versions.GRAPHS_PER_LAYER * model.architecture.num_hidden_layers
    activation = top.total / GIB
    cache = gpu.total * _utilization(options, version, engine) - weights - activation - outside - graphs
    block = kv_bytes_per_token(model, options, version) * options.block_size
    blocks = int(cache * GIB // block) if cache > 0 else 0
    tokens = blocks * options.block_size
    oom = _out_of_memory(gpu, weights, outside, top)
    return _Account(run, weights, activation, outside, graphs, cache, tokens, oom)


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


def _longest(model: Model, gpu: Gpu, options: Options, version: str, engine: str) -> int:
    """Return the longest length that starts, all else unchanged; 0 when none does.

    A longer length never leaves more cache (V0's start-up run grows with it), so halving finds it.
    """
    low, high = 0, model.architecture.max_position_embeddings
    while low < high:
        middle = (low + high + 1) // 2
        if _account(model, gpu, options, version, engine, middle).serves(middle):
            low = middle
        else:
            high = middle - 1
    return low
