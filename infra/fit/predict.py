"""Put the terms together: what is left for the KV cache, and how the start-up ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from infra.cards import ModelCard
from infra.fit.accounting import Accounting, Constants
from infra.fit.activation import Batch, Peak, batch, peak
from infra.fit.cache import Layout, layout
from infra.fit.facts import accounting
from infra.fit.spread import Spread, spread
from infra.fit.types import GIB, Fit, Gpu, Limits, Options, Outcome, OutOfMemory, Term
from infra.fit.weights import Loaded, element_bytes, loaded, rotary_bytes

_MOST_SEQUENCES: Final = 1024
# The largest V1 graph sizes that logs count: 51 of them from 256 sequences up.
_GRAPH_SIZES: Final = 51


@dataclass(frozen=True)
class _Account:
    """One start-up with one length on the GPU that has the least left: the terms in GiB, the batch, what is left."""

    run: Batch
    held: float
    loaded: Loaded
    top: Peak
    outside: float
    graphs: float
    resident: float
    budget: float
    cache: float
    cache_layout: Layout
    oom: OutOfMemory | None
    rules: Accounting

    def outcome(self, length: int, cache: float | None = None) -> Outcome:
        """How a start-up with this length ends, with what is left or with another size of it (GiB)."""
        left = self.cache if cache is None else cache
        if self.oom is not None:
            return Outcome.OUT_OF_MEMORY
        if left <= 0 or self.cache_layout.num_blocks(left * GIB) <= 0:
            return Outcome.NO_KV_CACHE
        return Outcome.OK if self.cache_layout.serves(left * GIB, length) else Outcome.KV_TOO_SMALL


class _Startup:
    """Everything about a start-up but its length."""

    def __init__(
        self, card: ModelCard, gpu: Gpu, options: Options, version: str, table: Constants | None
    ) -> None:
        self.card, self.gpu, self.options, self.version = card, gpu, options, version
        self.size = element_bytes(card, options)
        first = accounting(card, gpu, options, version, table=table)
        sequences = options.max_num_seqs or first.whole("max_num_seqs")
        self.rules = accounting(card, gpu, options, version, sequences=sequences, table=table)
        # Weights by pipeline stage; the longest length changes nothing but the rotary table.
        self.loaded = [
            loaded(card, replace(options, max_model_len=None), version, stage)
            for stage in dict.fromkeys((0, options.pipeline_parallel_size - 1))
        ]

    def starts(self, length: int, *, careful: bool) -> bool:
        """Whether a start-up with this length succeeds; ``careful`` as the verdict is, else at the point."""
        account = self.account(length)
        cache = account.cache
        if careful:
            cache -= self.rules.number("caution") * self.spread(account).down
        return account.outcome(length, cache) is Outcome.OK

    def spread(self, account: _Account) -> Spread:
        """The interval of an account."""
        references = {
            "weights": account.held,
            "u": account.top.unit / GIB,
            "experts": account.top.experts / GIB,
            "graphs": account.graphs,
            "total": self.gpu.total * self.utilization(),
        }
        return spread(self.rules, references)

    def layout(self, tokens: int) -> Layout:
        options = self.options
        return layout(
            self.card.architecture,
            self.rules,
            tensor_parallel_size=options.tensor_parallel_size,
            pipeline_parallel_size=options.pipeline_parallel_size,
            element_bytes=self.size,
            kv_cache_dtype=options.kv_cache_dtype,
            block_size=options.block_size,
            max_num_batched_tokens=tokens,
            disable_hybrid_kv_cache_manager=options.disable_hybrid_kv_cache_manager,
        )

    def accounts(self, length: int) -> list[_Account]:
        """The accounts of the first and the last pipeline stage."""
        last = len(self.loaded) - 1
        return [self._stage(length, index, logits=index == last) for index in range(last + 1)]

    def account(self, length: int) -> _Account:
        """The account of the pipeline stage with the least left."""
        return min(self.accounts(length), key=lambda account: account.cache)

    def _stage(self, length: int, index: int, *, logits: bool) -> _Account:
        options, rules, gpu = self.options, self.rules, self.gpu
        run = batch(self.card, options, rules, length)
        weights = self.loaded[index]
        longer = rotary_bytes(self.card, replace(options, max_model_len=length)) - rotary_bytes(
            self.card, replace(options, max_model_len=None)
        )
        held = weights.total / GIB + longer / GIB - options.cpu_offload_gb
        top = peak(
            self.card, replace(options, max_model_len=length), gpu, rules, run, self.size, logits=logits
        )
        outside = self._outside()
        graphs = self._graphs(run)
        resident = top.resident / GIB
        if rules.text("budget") == "free_drop":
            resident += self._buffers(run, length)
        budget = gpu.total * self.utilization()
        cache = budget - held - top.total / GIB - outside - resident
        if rules.on("graphs_charged"):
            cache -= graphs
        if options.kv_cache_memory_bytes is not None:
            cache = options.kv_cache_memory_bytes / GIB
        oom = self._out_of_memory(held, outside, top, graphs, cache)
        return _Account(
            run,
            held,
            weights,
            top,
            outside,
            graphs,
            resident,
            budget,
            cache,
            self.layout(run.tokens),
            oom,
            rules,
        )

    def utilization(self) -> float:
        """The share of the GPU that vLLM may use."""
        asked = self.options.gpu_memory_utilization
        return self.rules.number("utilization") if asked is None else asked

    def _outside(self) -> float:
        outside = self.rules.number("non_torch")
        if self.rules.text("budget") == "device":
            outside += self.rules.number("context_charged")
        return outside

    def _graphs(self, run: Batch) -> float:
        """CUDA graphs, GiB: by layers, fewer for few sequences (fewer sizes are captured)."""
        if self.options.enforce_eager:
            return 0.0
        rules, arch = self.rules, self.card.architecture
        whole = (
            rules.number("graphs_per_layer") * arch.num_hidden_layers / self.options.pipeline_parallel_size
        )
        if arch.experts is not None:
            whole += rules.number("graphs_moe")
        if self.options.enable_lora:
            whole *= rules.number("graphs_lora")
        if not rules.since("0.11.1"):
            return whole
        sizes = min(2 * run.sequences, 512) / 512
        return whole * max(sizes, 3 / _GRAPH_SIZES)

    def _buffers(self, run: Batch, length: int) -> float:
        """The runner's own buffers, charged from 0.27: input ids, positions and slots, block tables. GiB."""
        block = self.options.block_size or 16
        size = 12.0 * run.tokens + 4.0 * run.sequences * -(-length // block)
        if self.card.vision is not None:
            size += 2.0 * run.tokens * self.card.architecture.hidden_size
        return size / GIB

    def _out_of_memory(
        self, held: float, outside: float, top: Peak, graphs: float, cache: float
    ) -> OutOfMemory | None:
        """Find the first stage that does not fit the whole GPU (not the budget: allocations see real free memory)."""
        total, rules = self.gpu.total, self.rules
        context = rules.number("context")
        if rules.text("budget") == "device":
            # What is outside torch holds the context already.
            outside -= rules.number("context_charged")
        present = max(outside, context)
        if held + present > total:
            return OutOfMemory("load", min(held * 0.02, 0.5), total - 0.1, 0.1)
        asked = total * self.utilization()
        if rules.since("0.9.1") and "V0" not in rules.facts and asked > total - context:
            return OutOfMemory("free memory at start-up", asked, context, total - context)
        for stage, size, tensor in top.stages:
            if held + present + size / GIB > total:
                return _failed(stage, tensor / GIB, total - held - present, total)
        if cache <= 0:
            return None
        # After the cache is there: graphs, then a warm-up of the sampler with every sequence.
        left = total - context - held - outside - top.resident / GIB - cache
        if rules.on("graphs_charged"):
            left -= graphs
        least = 0.0 if rules.on("graphs_charged") else graphs * rules.number("graphs_caution")
        if least > left:
            return _failed("graphs", min(least, 0.27), left, total)
        kept = rules.number("resident_uncharged") * top.unit / GIB
        needed = top.sampler / GIB + kept + least + rules.number("after_cache")
        if "V0" not in rules.facts and rules.since("0.9.1") and needed > left:
            return _failed("sampler warm-up", top.stages[-1][2] / GIB, left - least, total)
        return None


def _failed(stage: str, tried: float, free: float, total: float) -> OutOfMemory:
    in_use = total - min(max(free - _whole(free, tried), 0.01), tried * 0.95)
    return OutOfMemory(stage, tried, in_use, total - in_use)


def _whole(free: float, tensor: float) -> float:
    """Return what whole tensors of this size take of the free memory before the next one fails."""
    return int(free / tensor) * tensor if tensor > 0 and free > 0 else 0.0


def predict(card: ModelCard, gpu: Gpu, options: Options, version: str, table: Constants | None = None) -> Fit:
    """Predict vLLM's start-up on one GPU of a machine.

    Args:
        card: the model card.
        gpu: the GPU (see :func:`infra.fit.gpu_of`); all GPUs of a machine are alike.
        options: vLLM options, ``tensor_parallel_size`` among them.
        version: the image's vLLM version.
        table: other constants than the catalogue's; for the calibration.

    Raises:
        ValueError: ``version`` is not a version.
    """
    startup = _Startup(card, gpu, options, version, table)
    length = options.max_model_len or card.architecture.max_position_embeddings
    accounts = startup.accounts(length)
    account = min(accounts, key=lambda one: one.cache)
    rules = account.rules
    width = startup.spread(account)
    plan = account.cache_layout
    cache, low, high = account.cache, account.cache - width.down, account.cache + width.up
    if options.kv_cache_memory_bytes is not None:
        low = high = cache
    runner = next(word for word in ("V0", "V1", "V2") if word in rules.facts)
    needed = plan.needed(length) / GIB
    return Fit(
        outcome=account.outcome(length, cache - rules.number("caution") * (cache - low)),
        outcome_point=account.outcome(length),
        outcome_low=account.outcome(length, low),
        version=version,
        engine="V0" if runner == "V0" else "V1",
        runner=runner,
        total=gpu.total,
        budget=account.budget,
        terms=_terms(account, width, options),
        kv_cache=cache,
        kv_low=low,
        kv_high=high,
        kv_first_stage=accounts[0].cache,
        kv_needed=needed,
        kv_bytes_per_token=plan.bytes_per_token if _exact(plan) else needed * GIB / length,
        kv_tokens=plan.tokens(max(cache, 0.0) * GIB, length),
        num_blocks=plan.num_blocks(max(cache, 0.0) * GIB),
        block_size=plan.block_size,
        max_model_len=length,
        max_num_seqs=account.run.sequences,
        max_num_batched_tokens=account.run.tokens,
        max_concurrency=_finite(plan.max_concurrency(max(cache, 0.0) * GIB, length)),
        estimated_max_len=_longest(startup, careful=False),
        oom=account.oom,
        notes=width.notes,
    )


def _exact(plan: Layout) -> bool:
    return len(plan.groups) == 1 and plan.groups[0].kind == "full"


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _terms(account: _Account, width: Spread, options: Options) -> tuple[Term, ...]:
    rules = account.rules
    weights = account.held
    activation = account.top.total / GIB

    def term(
        name: str,
        gib: float,
        formula: str,
        numbers: tuple[tuple[str, str], ...],
        source: str,
        charged: bool = True,
    ) -> Term:
        down, up = width.terms.get(name, (0.0, 0.0))
        return Term(name, gib, max(gib - down, 0.0), gib + up, formula, numbers, source, charged)

    outside = rules.row("non_torch")
    found = [
        term(
            "weights",
            weights,
            "sum over the fused tensors of rounded(bytes), and the rotary table",
            tuple((name, f"{size / GIB:.3f} GiB") for name, size in account.loaded.parts),
            f"{account.loaded.basis}; torch's allocator rounds to 512 B, from 10 MiB to 2 MiB",
        ),
        term(
            "activation",
            activation,
            account.top.formula,
            account.top.numbers,
            rules.row("sampler").source,
        ),
        term(
            "non_torch",
            account.outside,
            "memory that start-up takes outside torch",
            (("constant", f"{float(outside.value):g} GiB"),),
            f"{outside.basis}: {outside.source}",
        ),
    ]
    if account.resident:
        numbers = (("sampler state and runner buffers", f"{account.resident:.3f} GiB"),)
        source = rules.row("resident").source
        found.append(term("resident", account.resident, "1.031 u + buffers", numbers, source))
    charged = rules.on("graphs_charged")
    found.append(
        term(
            "graphs",
            account.graphs,
            "layers x GiB a layer",
            (("a layer", f"{rules.number('graphs_per_layer'):g} GiB"),),
            rules.row("graphs_per_layer").source
            + ("" if charged else "; outside the budget in this version"),
            charged,
        )
    )
    return tuple(found)


def _longest(startup: _Startup, *, careful: bool) -> int:
    """Return the longest length that starts, all else unchanged; 0 when none does.

    A longer length leaves no more cache, but for V0's chunks above 32768 tokens, so halving finds it.
    """
    low, high = 0, startup.card.architecture.max_position_embeddings
    while low < high:
        middle = (low + high + 1) // 2
        if startup.starts(middle, careful=careful):
            low = middle
        else:
            high = middle - 1
    return low


def limits(card: ModelCard, gpu: Gpu, options: Options, version: str) -> Limits:
    """Return the largest ``max_model_len`` and ``max_num_seqs`` that start, each with all else unchanged.

    They keep the distance from the edge that the verdict keeps, so they start where the interval holds.

    Raises:
        ValueError: ``version`` is not a version.
    """
    startup = _Startup(card, gpu, options, version, None)
    length = options.max_model_len or card.architecture.max_position_embeddings
    low, high = 0, max(_MOST_SEQUENCES, options.max_num_seqs or 0)
    while low < high:
        middle = (low + high + 1) // 2
        other = _Startup(card, gpu, replace(options, max_num_seqs=middle), version, None)
        if other.starts(length, careful=True):
            low = middle
        else:
            high = middle - 1
    return Limits(_longest(startup, careful=True), low)
