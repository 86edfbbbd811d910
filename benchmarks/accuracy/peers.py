"""Published formulas for the memory of a vLLM server, as pure functions of the numbers that they use.

Each is written from the project's own source or report at the version named with it. All memory in GiB (2^30 bytes),
a GPU unless said. A formula that lacks a number it needs answers None. Where a project publishes no figure for the
cache, `available` is what its estimate leaves of vLLM's budget, and :attr:`Peer.implied` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.accuracy.rows import Row

GIB: Final = 2**30
MIB: Final = 2**20


@dataclass(frozen=True)
class Case:
    """What the formulas read of one start-up.

    ``weights`` is the size of the checkpoint, all GPUs together; ``sticker`` the advertised memory of one card,
    ``total`` what the driver or torch reports. ``kv_layers`` are the layers that keep keys and values;
    ``latent_width`` is the width of one token's latent and rotary key (MLA), absent elsewhere.
    """

    weights: float | None
    sticker: float | None
    total: float | None
    utilization: float
    tp: int
    pp: int
    max_model_len: int | None
    layers: int | None
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    latent_width: int | None
    experts: int | None
    architecture: str
    multimodal: bool
    batched_tokens: int = 8192
    cache_bytes: float = 2.0

    @property
    def gpus(self) -> int:
        """All GPUs of one server."""
        return self.tp * self.pp


@dataclass(frozen=True)
class Answer:
    """What a formula says: ``available`` cache a GPU in GiB, and whether the server fits; None where it cannot say."""

    available: float | None
    fits: bool | None


NOTHING: Final = Answer(None, None)


def _bytes_per_token(case: Case, cache_bytes: float) -> float | None:
    """Cache bytes of one token, all GPUs together, every layer keeping every token."""
    if case.layers and case.latent_width:
        return case.layers * case.latent_width * cache_bytes
    if case.layers and case.kv_heads and case.head_dim:
        return 2 * case.layers * case.kv_heads * case.head_dim * cache_bytes
    return None


def _request(case: Case, cache_bytes: float) -> float | None:
    """GiB of cache that one request of ``max_model_len`` takes, all GPUs together."""
    rate = _bytes_per_token(case, cache_bytes)
    return rate * case.max_model_len / GIB if rate and case.max_model_len else None


def kaito(case: Case) -> Answer:
    """KAITO 0.12: 2.3 GiB a GPU for everything else, 2 % on the checkpoint and 5 % on that.

    It advises how many GPUs, from the advertised memory; the cache of one request of ``max_model_len`` counts as fixed.
    """
    if case.weights is None or case.sticker is None:
        return NOTHING
    budget = case.sticker * case.utilization
    share = 1.02 * case.weights / case.gpus
    available = budget - 2.3 - 1.05 * share
    request = _request(case, 2.0)  # "honor kv-cache quantization" is a to-do in its source
    # Its cache is divided by the GPUs of one node, which hold one tensor parallel group.
    return Answer(available, None if request is None else available >= request / case.tp)


def llm_d(case: Case) -> Answer:
    """llm-d planner: one activation constant by architecture for all GPUs together, 0.15 or 0.6 GiB a GPU."""
    if case.weights is None or case.sticker is None:
        return NOTHING
    activation = next((gib for words, gib in _LLM_D_ACTIVATION if words in case.architecture), None)
    if activation is None:
        activation = 8.0 if case.experts else 2.5 if case.multimodal else 5.5
    elsewhere = 0.15 if case.tp == 1 else 0.6
    pool = case.sticker * case.utilization * case.gpus - case.weights - activation - elsewhere * case.gpus
    pool = max(pool, 0.0)
    request = _request(case, case.cache_bytes)
    return Answer(pool / case.gpus, None if request is None else pool >= request)


#: In the order in which they are looked up: Qwen2Moe, Qwen3Moe and Mixtral are mixtures of experts there.
_LLM_D_ACTIVATION: Final = (
    ("Moe", 8.0),
    ("LlamaForCausalLM", 4.8),
    ("Qwen2ForCausalLM", 5.6),
    ("Qwen3ForCausalLM", 5.6),
    ("Pixtral", 2.5),
    ("Mistral3", 2.5),
)


def ai_configurator(case: Case) -> Answer:
    """AI Configurator's vLLM backend: activations by attention width, 3.5 GiB for the rest, 2 % of the budget kept.

    Activations are 2 x tokens x width x coefficient, the coefficient by family and tensor parallel size.
    """
    if case.weights is None or case.sticker is None or not (case.heads and case.head_dim):
        return NOTHING
    parallel = min(size for size in (1, 2, 4, 8) if size >= min(case.tp, 8))
    table = _AIC_MOE if case.experts or case.latent_width else _AIC_DENSE
    head = 128 if case.latent_width else case.head_dim  # of DeepSeek's heads the part without rotary key
    activation = max(2 * case.batched_tokens * case.heads * head * table[parallel], 70 * MIB) / GIB
    communication = _AIC_NCCL[parallel] / GIB
    budget = case.sticker * case.utilization * (1 - 0.02)
    available = budget - case.weights / case.gpus - activation - communication - 3.5
    request = _request(case, case.cache_bytes)
    return Answer(available, None if request is None else available >= request / case.gpus)


_AIC_DENSE: Final = {1: 11.0, 2: 6.5, 4: 5.0, 8: 5.0}
_AIC_MOE: Final = {1: 22.0, 2: 13.0, 4: 10.0, 8: 10.0}
_AIC_NCCL: Final = {1: 0, 2: 358612992, 4: 411041792, 8: 411041792}


def gpustack(case: Case) -> Answer:
    """GPUStack: files x 1.2 + 2 GiB, to be claimed at the utilisation; it has no figure for the cache."""
    if case.weights is None or case.total is None:
        return NOTHING
    claim = gpustack_claim(case.weights)
    budget = case.total * case.utilization
    return Answer(budget - claim / case.gpus, budget * case.gpus >= claim)


def gpustack_claim(weights: float) -> float:
    """GiB that GPUStack wants for a language model of this many GiB of weight files."""
    return weights * 1.2 + 2.0


def hf_mem(case: Case) -> Answer:
    """hf-mem: weights and the cache of one request, nothing else, against all of the memory."""
    if case.weights is None or case.total is None:
        return NOTHING
    request = _request(case, case.cache_bytes)
    fits = None if request is None else case.weights + request <= case.total * case.gpus
    return Answer(case.total * case.utilization - case.weights / case.gpus, fits)


def accelerate(case: Case) -> Answer:
    """Weights x 1.2 against all of the memory: the usual rule on top of `accelerate estimate-memory`."""
    if case.weights is None or case.total is None:
        return NOTHING
    claim = 1.2 * case.weights / case.gpus
    return Answer(case.total * case.utilization - claim, claim <= case.total)


def constant(case: Case) -> Answer:
    """The trivial rule: 5 GiB beside the weights on cards of 60 GiB and more, 1 GiB on smaller ones."""
    if case.weights is None or case.total is None:
        return NOTHING
    rest = 5.0 if case.total >= 60 else 1.0
    available = case.total * case.utilization - case.weights / case.gpus - rest
    request = _request(case, case.cache_bytes)
    return Answer(available, None if request is None else available >= request / case.gpus)


@dataclass(frozen=True)
class Peer:
    """One published formula. ``implied``: its cache is what its estimate leaves, the project names none."""

    name: str
    formula: Callable[[Case], Answer]
    source: str
    implied: bool = False


PEERS: Final = (
    Peer(
        "KAITO 0.12",
        kaito,
        "kaito-project/kaito pkg/workspace/estimator/nodesestimator/estimator.go @056b8280b; utilisation as in the row",
    ),
    Peer(
        "llm-d planner",
        llm_d,
        "llm-d-incubation/llm-d-planner and llm-d/llm-d-benchmark config_explorer, constants for vLLM 0.11 and later",
    ),
    Peer(
        "AI Configurator",
        ai_configurator,
        "ai-dynamo/aiconfigurator sdk/backends: base_backend, trtllm_backend @2d51b271, vllm_backend @68b9625b",
    ),
    Peer(
        "GPUStack",
        gpustack,
        "gpustack/gpustack gpustack/policies/utils.py estimate_model_vram @47277d79",
        True,
    ),
    Peer("hf-mem", hf_mem, "alvarobartt/hf-mem", True),
    Peer(
        "weights x 1.2",
        accelerate,
        "huggingface/accelerate estimate-memory with the usual fifth on top",
        True,
    ),
    Peer("constant 5 or 1 GiB", constant, "a rule of one line, for comparison"),
)


def case_of(row: Row) -> Case:
    """The case of a measured start-up.

    Weights are the model's size in the file of shapes, else two bytes for every parameter of a model in 16 bits: where
    that size was measured at the very start-up, the peers are given the answer to their first term.
    """
    arch = row.arch
    weights = arch.weights
    if weights is None and row.sixteen_bit and arch.params is not None:
        weights = arch.params * 1e9 * 2 / GIB
    batched = row.raw.get("other_args", "").partition("max_num_batched_tokens=")[2]
    tokens = batched.partition(";")[0].strip()
    return Case(
        weights=weights,
        sticker=row.sticker,
        total=row.total,
        utilization=row.utilization,
        tp=row.tp,
        pp=row.pp,
        max_model_len=row.max_model_len,
        layers=arch.layers,
        heads=arch.heads,
        kv_heads=arch.kv_heads,
        head_dim=arch.head_dim,
        latent_width=576 if arch.latent else None,
        experts=arch.experts,
        architecture=arch.name,
        multimodal=arch.multimodal,
        batched_tokens=int(tokens) if tokens.isdigit() else 8192,
        cache_bytes=row.cache_bytes,
    )
