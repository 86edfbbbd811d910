"""What goes into a prediction and what comes out. Memory in GiB (2^30 bytes) per GPU unless a name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

GIB: Final = 2**30
MIB: Final = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU of the machine.

    ``total`` is what torch and vLLM report as usable, not the sticker; ``capability`` the CUDA compute capability
    such as 8.9; ``multiprocessors`` the number of SMs (a term of vLLM's sampler from 0.17).
    ``total_known`` is False where the total is reckoned from the sticker.
    """

    name: str
    total: float
    capability: float
    multiprocessors: int = 108
    total_known: bool = True

    @property
    def hopper_or_later(self) -> bool:
        """Whether cuBLAS takes its larger workspace (32 MiB instead of 8.1 MiB): data-centre Hopper and Blackwell."""
        return 9.0 <= self.capability < 12.0


@dataclass(frozen=True)
class Options:
    """The vLLM options that memory depends on; ``None`` means vLLM's own default.

    Lengths in tokens; ``max_num_seqs`` in requests; ``dtype`` and ``quantization`` as vLLM's flags. ``usage`` is who
    starts vLLM, which decides its defaults: ``openai`` (``vllm serve``), ``api_server`` (the plain server, which the
    Vertex images run) or ``llm`` (the Python class). ``images_per_prompt`` is the limit of images of one request.
    ``flashinfer`` says that the image carries FlashInfer and samples with it, ``compiled`` that an earlier start
    left its compiled code (never in a fresh container).
    """

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    enforce_eager: bool = False
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    enable_chunked_prefill: bool | None = None
    enable_prefix_caching: bool | None = None
    block_size: int | None = None
    images_per_prompt: int = 1
    disable_hybrid_kv_cache_manager: bool = False
    kv_cache_memory_bytes: int | None = None
    cpu_offload_gb: float = 0.0
    flashinfer: bool = False
    compiled: bool = False
    engine: str | None = None
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
class Term:
    """One part of a GPU's memory, in GiB, with what it is made of.

    ``low`` and ``high`` are the ends of a 90 % interval. ``formula`` is in vLLM's words, ``numbers`` are its symbols
    with their values, ``source`` says where the formula or the constant was read or measured. ``charged`` is False for
    memory that is used but does not lower the KV cache (CUDA graphs before vLLM 0.20, say).
    """

    name: str
    gib: float
    low: float
    high: float
    formula: str
    numbers: tuple[tuple[str, str], ...]
    source: str
    charged: bool = True


@dataclass(frozen=True)
class Limits:
    """The largest values that start, everything else unchanged; 0 when none does.

    ``max_num_seqs`` is looked for up to the larger of 1024 and the value at hand.
    """

    max_model_len: int
    max_num_seqs: int


@dataclass(frozen=True)
class Fit:
    """One GPU's memory at start-up, and what it means.

    ``kv_cache`` is what is left for the cache (negative when nothing is), ``kv_low`` and ``kv_high`` its 90 % interval;
    ``kv_tokens`` the tokens that vLLM would print. Of several pipeline stages the one with the least counts;
    ``kv_first_stage`` is what the first one's log says. ``kv_needed`` is what one request of ``max_model_len`` tokens
    takes, ``kv_bytes_per_token`` that by token: exact where every layer keeps every token. ``max_concurrency`` is how
    many requests of full length fit at once, ``estimated_max_len`` the longest ``max_model_len`` that would start with
    all else unchanged (0 when none would); both, like ``kv_tokens``, at the point. ``version`` is the vLLM version
    meant, ``engine`` V0 or V1, ``runner`` the model runner (V0, V1, V2). ``outcome`` is the verdict: at half of the
    interval's lower side, since a start that fails costs more than one that is not tried; ``outcome_point`` is that at
    the point and ``outcome_low`` at the interval's low end. ``notes`` say where the data are thin.
    """

    outcome: Outcome
    outcome_point: Outcome
    outcome_low: Outcome
    version: str
    engine: str
    runner: str
    total: float
    budget: float
    terms: tuple[Term, ...]
    kv_cache: float
    kv_low: float
    kv_high: float
    kv_first_stage: float
    kv_needed: float
    kv_bytes_per_token: float
    kv_tokens: int
    num_blocks: int
    block_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_concurrency: float
    estimated_max_len: int
    oom: OutOfMemory | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the server starts."""
        return self.outcome is Outcome.OK

    @property
    def failure(self) -> Outcome:
        """How it fails: at the point where it does so there, else as the verdict says; OK where it starts."""
        return self.outcome if self.outcome_point is Outcome.OK else self.outcome_point

    def term(self, name: str) -> Term:
        """The term of this name: ``weights``, ``activation``, ``non_torch`` or ``graphs``.

        Raises:
            KeyError: there is none.
        """
        for term in self.terms:
            if term.name == name:
                return term
        raise KeyError(name)

    @property
    def weights(self) -> float:
        """GiB of the weights."""
        return self.term("weights").gib

    @property
    def activation(self) -> float:
        """GiB of the start-up run's peak."""
        return self.term("activation").gib

    @property
    def non_torch(self) -> float:
        """GiB outside torch that vLLM charges."""
        return self.term("non_torch").gib

    @property
    def graphs(self) -> float:
        """GiB of CUDA graphs, charged or not."""
        return self.term("graphs").gib

    @property
    def dominating(self) -> Term:
        """The largest of the terms that the KV cache has to leave room for."""
        return max((term for term in self.terms if term.charged), key=lambda term: term.gib)
