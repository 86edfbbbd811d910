"""The KV cache: how vLLM lays it out, how many blocks and tokens a size gives, what a request takes.

Layers that keep the same are cut into groups of equally many layers; a block holds its tokens for every layer of one
group, so one pool serves all groups. ``benchmarks/kv_truth.py`` holds this to what a real vLLM says, to the token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from infra.cards import Architecture, State
from infra.fit.accounting import Accounting

_BLOCK: Final = 16
_FP8: Final = ("fp8", "int8")
# vLLM's class passes no cache configuration to its attention: --kv-cache-dtype changes nothing (measured with 0.32.0).
_OWN_CACHE_TYPE: Final = frozenset({"FalconForCausalLM"})
# DeepSeek V3.2's sparse attention packs a token's latent vector (fp8, with scales) and rotary key into these bytes.
_DS_MLA: Final = 656
# Before vLLM had latent attention (0.7.1) it padded DeepSeek's keys and values to this width.
_PADDED_HEAD: Final = 256


@dataclass(frozen=True)
class Group:
    """Layers that share block tables: ``kind`` of what they keep, ``layers`` of it, tokens in a block.

    ``window`` is the tokens that a sliding or chunked layer keeps, None for the others.
    """

    kind: str
    layers: int
    block_size: int
    window: int | None = None


@dataclass(frozen=True)
class Layout:
    """A cache's layout on one GPU.

    ``page_bytes`` is one block of one layer, ``layers`` how many layers the largest group has (a block takes
    ``page_bytes x layers``); ``bytes_per_token`` what one token takes over all layers that keep every token.
    """

    groups: tuple[Group, ...]
    page_bytes: int
    layers: int
    block_bytes: int
    block_size: int
    bytes_per_token: float
    batch_tokens: int
    state_blocks: int
    null_block: int
    tokens_by_concurrency: bool
    flat: bool

    def num_blocks(self, cache_bytes: float) -> int:
        """Whole blocks in a cache of this size."""
        return max(int(cache_bytes // self.block_bytes), 0) if self.block_bytes else 0

    def blocks_per_request(self, length: int) -> int:
        """Blocks that one request of ``length`` tokens may hold at once."""
        return sum(self._blocks(group, length) for group in self.groups)

    def _blocks(self, group: Group, length: int) -> int:
        if group.kind in ("mamba", "linear"):
            return self.state_blocks
        kept = length
        if group.window is not None:
            ahead = group.window - 1 if group.kind == "sliding" else group.window
            kept = min(ahead + self.batch_tokens, length)
        return -(-kept // group.block_size) + (1 if group.kind == "sliding" else 0)

    def max_concurrency(self, cache_bytes: float, length: int) -> float:
        """Requests of ``length`` tokens that the cache holds at once."""
        each = self.blocks_per_request(length)
        return self.num_blocks(cache_bytes) / each if each else math.inf

    def tokens(self, cache_bytes: float, length: int) -> int:
        """The tokens that vLLM prints as the cache's size."""
        if self.tokens_by_concurrency:
            return int(self.max_concurrency(cache_bytes, length) * length)
        return self.num_blocks(cache_bytes) // len(self.groups) * self.block_size if self.groups else 0

    def needed(self, length: int) -> int:
        """Bytes without which vLLM refuses a ``max_model_len`` of ``length``."""
        return (self.blocks_per_request(length) + self.null_block) * self.block_bytes

    def serves(self, cache_bytes: float, length: int) -> bool:
        """Whether vLLM starts with this length."""
        if self.flat:
            return self.num_blocks(cache_bytes) * self.block_size >= length
        return self.needed(length) <= cache_bytes


@dataclass(frozen=True)
class _Kept:
    """What the layers of one kind keep on one GPU: ``count`` layers, bytes a token (or a request, for states)."""

    kind: str
    count: int
    token_bytes: int
    window: int | None = None


def layout(
    arch: Architecture,
    rules: Accounting,
    *,
    tensor_parallel_size: int = 1,
    pipeline_parallel_size: int = 1,
    element_bytes: int = 2,
    kv_cache_dtype: str = "auto",
    block_size: int | None = None,
    max_num_batched_tokens: int = 2048,
    disable_hybrid_kv_cache_manager: bool = False,
    granule: int = _BLOCK,
) -> Layout:
    """Return the cache's layout on one GPU.

    Args:
        arch: the architecture.
        rules: what the vLLM version does.
        tensor_parallel_size: GPUs that share a layer.
        pipeline_parallel_size: stages; each holds its layers' cache.
        element_bytes: bytes of the model's type.
        kv_cache_dtype: vLLM's flag; ``fp8...`` takes one byte.
        block_size: tokens in a block as asked; None for vLLM's own.
        max_num_batched_tokens: tokens of a step, which a window must also hold.
        disable_hybrid_kv_cache_manager: store every attention layer as a full one.
        granule: the attention kernels' smallest block (16 on GPUs, 32 on the CPU): states align to it.
    """
    if arch.name in _OWN_CACHE_TYPE:
        kv_cache_dtype = "auto"
    size = 1 if kv_cache_dtype.startswith(_FP8) else element_bytes
    kept = [
        _Kept(kind, -(-count // pipeline_parallel_size), bytes_, window)
        for kind, count, bytes_, window in _kinds(arch, rules, tensor_parallel_size, size, kv_cache_dtype)
    ]
    if arch.state is not None and not (arch.kinds.mamba or arch.kinds.linear):
        # Falcon-H1: every layer has attention and a state side by side.
        kept.append(_Kept("mamba", -(-arch.num_hidden_layers // pipeline_parallel_size), 0))
    flat = rules.text("groups") == "flat"
    full_only = flat or disable_hybrid_kv_cache_manager
    if full_only:
        kept = [
            item if item.kind in ("mamba", "linear") else _Kept("full", item.count, item.token_bytes)
            for item in kept
        ]
    elif not rules.on("chunked_groups"):
        kept = [_Kept("full", k.count, k.token_bytes) if k.kind == "chunked" else k for k in kept]
    attention = [item for item in kept if item.kind not in ("mamba", "linear")]
    states = [item for item in kept if item.kind in ("mamba", "linear")]
    block = block_size or _BLOCK
    state_bytes = 0
    if states and not flat:
        state_bytes = _state_bytes(arch, tensor_parallel_size, element_bytes)
        if attention:
            least = max(granule, block)
            if arch.mla is not None:
                least = max(least, 128)
            each = max(item.token_bytes for item in attention)
            block = max(block, least * -(-state_bytes // (least * each)))
    per_token = sum(item.count * item.token_bytes for item in attention)
    batches = rules.whole("async_batches")
    common = {
        "block_size": block,
        "batch_tokens": max_num_batched_tokens * batches,
        "state_blocks": rules.whole("state_blocks"),
        "null_block": rules.whole("null_block"),
        "tokens_by_concurrency": rules.text("tokens") == "concurrency",
        "flat": flat,
    }
    if flat or (not states and _alike(attention)):
        return _one_group(attention, block, per_token, common)
    return _many_groups(attention, states, rules, block, state_bytes, per_token, common)


def _alike(attention: list[_Kept]) -> bool:
    """Whether all layers are of one type: then they are one group, whatever their widths."""
    return len({(item.kind, item.window) for item in attention}) <= 1


def _one_group(attention: list[_Kept], block: int, per_token: int, common: dict[str, int | bool]) -> Layout:
    layers = sum(item.count for item in attention)
    block_bytes = per_token * block
    page = max((item.token_bytes * block for item in attention), default=0)
    # A window alone is stored as full where several kinds were made one.
    kind = attention[0].kind if attention else "full"
    window = attention[0].window if attention else None
    groups = (Group(kind, layers, block, window),) if layers else ()
    return Layout(groups, page, layers, block_bytes, bytes_per_token=per_token, **common)  # type: ignore[arg-type]


def _many_groups(
    attention: list[_Kept],
    states: list[_Kept],
    rules: Accounting,
    block: int,
    state_bytes: int,
    per_token: int,
    common: dict[str, int | bool],
) -> Layout:
    page = max((item.token_bytes * block for item in attention), default=0)
    page = max(page, state_bytes)
    if len({item.token_bytes for item in attention}) > 1 and rules.text("unequal_pages") == "full":
        attention = [_Kept("full", item.count, item.token_bytes) for item in attention]
        return _one_group(attention, block, per_token, common)
    buckets = [(item, item.count) for item in (*attention, *states) if item.count]
    counts = [count for _, count in buckets]
    least, most = min(counts), max(counts)
    slack = rules.number("group_slack")
    layers = most if most < slack * least else least
    groups = []
    for item, count in buckets:
        tokens = block
        if item.kind not in ("mamba", "linear") and page % (item.token_bytes * block) == 0:
            tokens = page // item.token_bytes
        groups += [
            Group(item.kind, min(layers, count - start), tokens, item.window)
            for start in range(0, count, layers)
        ]
    widest = max(group.layers for group in groups)
    return Layout(tuple(groups), page, widest, widest * page, bytes_per_token=per_token, **common)  # type: ignore[arg-type]


def _kinds(
    arch: Architecture, rules: Accounting, parallel: int, size: int, dtype: str
) -> list[tuple[str, int, int, int | None]]:
    """Return kind, layers, bytes of one token in one layer, and window."""
    found: list[tuple[str, int, int, int | None]] = []
    for kind, count in arch.kinds.items():
        if kind == "none":
            continue
        if kind in ("mamba", "linear"):
            found.append((kind, count, 0, None))
            continue
        window = {"sliding": arch.sliding_window, "chunked": arch.attention_chunk_size}.get(kind)
        found.append((kind, count, _token_bytes(arch, rules, parallel, size, dtype, kind), window))
    if arch.mla is not None and arch.mla.index_head_dim:
        width = arch.mla.index_head_dim
        layers = sum(count for kind, count in arch.kinds.items() if kind not in ("mamba", "linear", "none"))
        # One byte an element and a 4-byte scale for every 128.
        found.append(("full", layers, width + -(-width // 128) * 4, None))
    return found


def _token_bytes(
    arch: Architecture, rules: Accounting, parallel: int, size: int, dtype: str, kind: str
) -> int:
    if arch.mla is not None:
        mla = arch.mla
        if rules.text("mla") == "heads":
            return 2 * max(arch.num_attention_heads // parallel, 1) * _PADDED_HEAD * size
        if dtype == "fp8_ds_mla" or (mla.index_head_dim and dtype.startswith("fp8")):
            return _DS_MLA
        return (mla.kv_lora_rank + mla.qk_rope_head_dim) * size
    heads, width = arch.num_key_value_heads, arch.head_dim
    if kind == "full":
        heads = arch.full_num_key_value_heads or heads
        width = arch.full_head_dim or width
    value = arch.v_head_dim or width
    return max(heads // parallel, 1) * (width + value) * size


def _state_bytes(arch: Architecture, parallel: int, size: int) -> int:
    """Return the bytes of one request's state in one layer."""
    state = arch.state
    if state is None:
        return 0
    wide = {"float32": 4, "bfloat16": 2, "float16": 2, None: size}[state.dtype]
    convolution, recurrent = state_elements(state, parallel)
    return convolution * size + recurrent * wide


def state_elements(state: State, parallel: int) -> tuple[int, int]:
    """Return the elements of one request's convolution state and recurrent state in one layer, on one GPU."""
    convolution = (state.conv_kernel - 1) * state.conv_channels // parallel
    return convolution, state.num_heads // parallel * state.head_dim * state.state_size
