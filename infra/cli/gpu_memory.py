"""One GPU's memory and the KV cache in it, laid out as the terminal and the HTML page draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.fit import Fit, Term
from infra.recipes import ServingPlan
from infra.recipes.arguments import parse_arguments

__all__ = [
    "GIB",
    "KV_CACHE",
    "REST",
    "Bar",
    "Part",
    "bar_of",
    "cache_layout",
    "cache_rows",
    "concurrency_at",
    "first_stage",
    "interval",
    "label_of",
    "memory_title",
    "parallel_of",
    "tokens_at",
]

GIB: Final = 2**30
KV_CACHE: Final = "kv_cache"
REST: Final = "rest"

_LABELS: Final = {
    "weights": "weights",
    "activation": "activation peak",
    "non_torch": "non-torch",
    "graphs": "CUDA graphs",
    "resident": "sampler state",
    KV_CACHE: "KV cache",
    REST: "left free",
}
_KEEPS: Final = {
    "full": "keys and values of every token",
    "sliding": "keys and values of the last tokens, the window",
    "chunked": "keys and values of the running chunk",
    "cross": "keys and values of the image",
    "mamba": "one state a request",
    "linear": "one state a request",
    "none": "nothing",
}


@dataclass(frozen=True)
class Part:
    """One stretch of one GPU's memory, in GiB; ``share`` is of the GPU's total, ``low`` and ``high`` a 90 % interval.

    ``charged`` is False for what lies outside ``gpu_memory_utilization``.
    """

    key: str
    label: str
    gib: float
    low: float
    high: float
    share: float
    charged: bool


@dataclass(frozen=True)
class Bar:
    """One GPU's memory, in the order in which it is drawn.

    ``length`` is what the bar stands for: the GPU's total, or more where the parts do not fit into it. ``over`` is by
    how many GiB they do not.
    """

    parts: tuple[Part, ...]
    total: float
    budget: float
    length: float

    @property
    def over(self) -> float:
        """GiB beyond the GPU's memory; 0 where all fits."""
        return self.length - self.total


def label_of(name: str) -> str:
    """A term's name in words."""
    return _LABELS.get(name, name.replace("_", " "))


def parallel_of(plan: ServingPlan) -> tuple[int, int]:
    """Tensor and pipeline parallel size."""
    return plan.vllm.tensor_parallel_size or 1, plan.vllm.pipeline_parallel_size or 1


def bar_of(fit: Fit) -> Bar:
    """Lay one GPU's memory out: what the budget is charged with, the KV cache, what lies outside it, the rest.

    With pipeline stages it is a GPU of the first one.
    """

    def part(term: Term) -> Part:
        share = term.gib / fit.total
        return Part(term.name, label_of(term.name), term.gib, term.low, term.high, share, term.charged)

    cache, low, high = (max(gib, 0.0) for gib in first_stage(fit))
    parts = [
        *(part(term) for term in fit.terms if term.charged),
        Part(KV_CACHE, label_of(KV_CACHE), cache, low, high, cache / fit.total, True),
        *(part(term) for term in fit.terms if not term.charged),
    ]
    used = sum(p.gib for p in parts)
    if (rest := fit.total - used) > 0:
        parts.append(Part(REST, label_of(REST), rest, rest, rest, rest / fit.total, False))
    return Bar(tuple(parts), fit.total, fit.budget, max(fit.total, used))


def memory_title(plan: ServingPlan, fit: Fit) -> str:
    """What the bar is of."""
    stage = " of the first pipeline stage" if parallel_of(plan)[1] > 1 else ""
    return f"Memory of one GPU{stage}: {fit.total:.2f} GiB"


def first_stage(fit: Fit) -> tuple[float, float, float]:
    """The KV cache of a GPU of the first pipeline stage, GiB, with its interval; of any GPU where there is one."""
    more = fit.kv_first_stage - fit.kv_cache
    return fit.kv_first_stage, fit.kv_low + more, fit.kv_high + more


def tokens_at(fit: Fit, gib: float) -> int:
    """Tokens in ``gib`` GiB of KV cache on each GPU, whole blocks; the prediction's own number for its own size."""
    if gib == fit.kv_cache:
        return fit.kv_tokens
    if gib <= 0 or fit.kv_bytes_per_token <= 0:
        return 0
    return int(gib * GIB // (fit.kv_bytes_per_token * fit.block_size)) * fit.block_size


def concurrency_at(fit: Fit, gib: float) -> float:
    """Requests of ``max_model_len`` tokens that ``gib`` GiB of KV cache on each GPU hold at once."""
    if gib == fit.kv_cache:
        return fit.max_concurrency
    return max(gib, 0.0) / fit.kv_needed if fit.kv_needed > 0 else 0.0


def cache_rows(fit: Fit) -> tuple[tuple[str, str, str], ...]:
    """The KV cache in numbers: name, prediction, 90 % interval."""
    low, high = max(fit.kv_low, 0.0), max(fit.kv_high, 0.0)

    def between(first: str, last: str) -> str:
        return "" if first == last else f"{first} to {last}"

    return (
        ("GiB a GPU", f"{max(fit.kv_cache, 0.0):.2f}", between(f"{low:.2f}", f"{high:.2f}")),
        ("tokens", f"{fit.kv_tokens:,}", between(f"{tokens_at(fit, low):,}", f"{tokens_at(fit, high):,}")),
        (
            f"requests of {fit.max_model_len:,} tokens at once",
            f"{fit.max_concurrency:.2f}",
            between(f"{concurrency_at(fit, low):.2f}", f"{concurrency_at(fit, high):.2f}"),
        ),
        (f"GiB that one request of {fit.max_model_len:,} tokens needs", f"{fit.kv_needed:.3f}", ""),
        ("bytes a token", f"{fit.kv_bytes_per_token:,.0f}", ""),
        ("tokens a block", f"{fit.block_size:,}", ""),
    )


def cache_layout(plan: ServingPlan, fit: Fit) -> tuple[tuple[str, str], ...]:
    """How the KV cache is laid out: what each kind of layer keeps, on one GPU."""
    arch = plan.model.architecture
    tensor, pipeline = parallel_of(plan)
    arguments = parse_arguments(plan.container.args)
    rows = [("blocks", f"{fit.num_blocks:,} of {fit.block_size:,} tokens")]
    rows += [(f"{kind} layers", f"{count:,}: {_KEEPS[kind]}") for kind, count in arch.kinds.items()]
    if pipeline > 1:
        rows.append(("pipeline", f"{pipeline} stages share the layers out"))
    if arch.mla is not None:
        rows.append(
            ("a token keeps", f"{arch.mla.kv_lora_rank} + {arch.mla.qk_rope_head_dim} elements a layer (MLA)")
        )
    else:
        heads = max(arch.num_key_value_heads // tensor, 1)
        rows.append(
            ("KV heads", f"{heads} a GPU (num_key_value_heads {arch.num_key_value_heads}, tensor {tensor})")
        )
        rows.append(("head size", f"{arch.head_dim}"))
    for kind, size in (("sliding", arch.sliding_window), ("chunked", arch.attention_chunk_size)):
        if size and getattr(arch.kinds, kind):
            rows.append(("window" if kind == "sliding" else "chunk", f"{size:,} tokens"))
    rows.append(("type", arguments.get("--kv-cache-dtype") or "auto"))
    return tuple(rows)


def interval(low: float, high: float, digits: int = 2) -> str:
    """A 90 % interval as text; empty where none is known, so its ends are alike."""
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return "" if first == last else f"{first} to {last}"
