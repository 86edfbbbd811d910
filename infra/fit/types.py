"""What goes into a prediction and what comes out. Memory in GiB (2^30 bytes) per GPU unless a name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable

GIB: Final = 2**30
MIB: Final = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU of the machine.

    ``total`` is what torch and vLLM report as usable, not the sticker; ``capability`` the CUDA compute capability
    such as 8.9; ``multiprocessors`` the number of SMs (a term of vLLM's sampler from 0.17).
    """

    name: str
    total: float
    capability: float
    multiprocessors: int = 108

    @property
    def hopper_or_later(self) -> bool:
        """Whether cuBLAS takes its larger workspace (32 MiB instead of 8.1 MiB)."""
        return self.capability >= 9.0


@dataclass(frozen=True)
class Options:
    """The vLLM options that memory depends on; ``None`` means vLLM's own default.

    Lengths in tokens; ``max_num_seqs`` in requests; ``dtype`` as vLLM's flag.
    """

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    enforce_eager: bool = False
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    enable_chunked_prefill: bool | None = None
    block_size: int = 16
    usage: str = "api_server"


class Outcome(Enum):
    """How the start-up ends."""

    OK = "ok"
    OUT_OF_MEMORY = "oom"
    NO_KV_CACHE = "no_kv"
    KV_TOO_SMALL = "kv_too_small"


@dataclass(frozen=True)
class OutOfMemory:
    """A CUDA allocation that fails: at which stage, how much it asked for, what was in use (GiB)."""

    stage: str
    tried: float
    in_use: float
    free: float


@dataclass(frozen=True)
class Fit:
    """One GPU's memory at start-up, and what it means.

    ``kv_cache`` is what is left for the cache (negative when nothing is); ``kv_tokens`` whole blocks of it;
    ``estimated_max_len`` the longest ``max_model_len`` that would start with everything else unchanged (0 when none
    would); ``max_concurrency`` how many requests of full length fit at once. ``version`` is the vLLM version meant,
    ``engine`` V0 or V1.
    """

    outcome: Outcome
    version: str
    engine: str
    total: float
    budget: float
    weights: float
    activation: float
    non_torch: float
    graphs: float
    kv_cache: float
    kv_bytes_per_token: int
    kv_tokens: int
    block_size: int
    max_model_len: int
    max_num_seqs: int
    estimated_max_len: int
    oom: OutOfMemory | None = None

    @property
    def ok(self) -> bool:
        """Whether the server starts."""
        return self.outcome is Outcome.OK

    @property
    def max_concurrency(self) -> float:
        """Requests of ``max_model_len`` tokens that the cache holds at once."""
        return self.kv_tokens / self.max_model_len

    @property
    def kv_needed(self) -> float:
        """GiB of cache that one request of ``max_model_len`` tokens takes."""
        blocks = -(-self.max_model_len // self.block_size)
        return blocks * self.block_size * self.kv_bytes_per_token / GIB


@runtime_checkable
class ArchitectureNumbers(Protocol):
    """The numbers of ``config.json`` that memory depends on."""

    @property
    def name(self) -> str: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int | None: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def num_key_value_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def tie_word_embeddings(self) -> bool: ...
    @property
    def max_position_embeddings(self) -> int: ...
    @property
    def kinds(self) -> Any: ...
    @property
    def experts(self) -> Any: ...


@runtime_checkable
class VisionNumbers(Protocol):
    """The image encoder's numbers."""

    @property
    def hidden_size(self) -> int | None: ...
    @property
    def intermediate_size(self) -> int | None: ...
    @property
    def image_size(self) -> int | None: ...
    @property
    def patch_size(self) -> int | None: ...
    @property
    def max_num_tiles(self) -> int | None: ...
    @property
    def parameters(self) -> int | None: ...


@runtime_checkable
class WeightNumbers(Protocol):
    """The checkpoint's size."""

    @property
    def parameters(self) -> int | None: ...
    @property
    def bytes(self) -> int | None: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def quantization(self) -> str | None: ...


class Model(Protocol):
    """A model card as far as memory is concerned; :class:`infra.cards.ModelCard` is one."""

    @property
    def id(self) -> str: ...
    @property
    def architecture(self) -> ArchitectureNumbers: ...
    @property
    def vision(self) -> VisionNumbers | None: ...
    @property
    def weights(self) -> WeightNumbers: ...
