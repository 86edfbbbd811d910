"""What ``explain`` and ``fit`` have to say about one stack file, as plain values: the terminal, JSON and the HTML page
show the same facts.

Owns the verdict and its wording. Computes no memory: that is :mod:`infra.fit`, asked through
:mod:`infra.recipes.memory`. :mod:`infra.cli.gpu_memory` lays it out, :mod:`infra.cli.facts_json` says it to programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from infra.cli.common import DOES_NOT_FIT, NO_VERDICT, one_gpu
from infra.cli.gpu_memory import GIB, label_of, parallel_of, tokens_at
from infra.expiry import Expiry
from infra.fit import Fit, Limits, Outcome
from infra.recipes import ServingPlan, catalog
from infra.recipes.costs import HOURS_PER_MONTH, UNKNOWN, costs_of, monthly
from infra.recipes.errors import DoesNotFit
from infra.recipes.memory import Choice, choices, limits_of
from infra.recipes.parallel import Split

__all__ = [
    "Explanation",
    "Verdict",
    "changes",
    "cost_notes",
    "cost_rows",
    "cost_title",
    "dominates",
    "exit_status",
    "explanation",
    "is_this",
    "largest",
    "no_choice",
    "notes",
    "remark",
    "running",
    "subject",
    "usd",
    "verdict_of",
    "version_of",
    "warnings",
    "why",
]


_STAGES: Final = {
    "load": "the weights are loaded",
    "layers": "the layers run on a full batch",
    "sampler": "the sampler sorts the logits of max_num_seqs requests",
    "image patches": "the image encoder cuts its images into patches",
    "image mask": "the image encoder makes its mask",
    "image encoder": "the image encoder runs",
    "graphs": "CUDA graphs are captured, after the KV cache is allocated",
    "sampler warm-up": "the sampler warms up, after the KV cache is allocated",
    "free memory at start-up": "vLLM checks that its budget is free at start-up",
}
_REMEDIES: Final = {
    "weights": "more GPUs a machine, a GPU with more memory, or a quantized checkpoint",
    "activation": "a lower max_num_seqs or max_num_batched_tokens",
    "graphs": "enforce_eager: true, which gives up CUDA graphs",
    "non_torch": "fewer GPUs a machine, each with more memory",
}


class Verdict(Enum):
    """Whether the server starts. ``MAY_NOT``: it does by the prediction, not at the low end of the 90 % interval."""

    STARTS = "starts"
    MAY_NOT = "may not start"
    FAILS = "does not start"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Explanation:
    """A plan with its memory. ``limits`` is None where nothing can be said of the image's vLLM version or the GPU;
    ``choices`` is the catalogued hardware on which the stack would start, cheapest first. ``refusal`` is what a preview
    would say of a plan that does not fit.
    """

    plan: ServingPlan
    limits: Limits | None
    choices: tuple[Choice, ...]
    refusal: DoesNotFit | None = None

    @property
    def fit(self) -> Fit | None:
        """The prediction; None where nothing can be said."""
        return self.plan.fit

    @property
    def verdict(self) -> Verdict:
        """Whether it starts."""
        return verdict_of(self.fit)


def explanation(plan: ServingPlan, refusal: DoesNotFit | None, *, folder: Path) -> Explanation:
    """Look for the largest values and the hardware that start.

    Args:
        plan: the plan.
        refusal: what a preview would say of it.
        folder: the stack file's, where it may name other files.
    """
    limits = limits_of(plan.model, plan.accelerator, plan.vllm_version, plan.vllm, Split(*parallel_of(plan)))
    return Explanation(plan, limits, choices(plan.stack, region=plan.region, folder=folder), refusal)


def verdict_of(fit: Fit | None) -> Verdict:
    """Whether the server starts."""
    if fit is None:
        return Verdict.UNKNOWN
    if not fit.ok:
        return Verdict.FAILS
    return Verdict.STARTS if fit.outcome_low is Outcome.OK else Verdict.MAY_NOT


def exit_status(verdict: Verdict) -> int:
    """What a command ends with: 0 also where the server may not start, which its text says."""
    return {Verdict.FAILS: DOES_NOT_FIT, Verdict.UNKNOWN: NO_VERDICT}.get(verdict, 0)


def why(fit: Fit | None) -> str:
    """The verdict's reason: one sentence with the numbers that decide it."""
    if fit is None:
        return "nothing can be said of the memory: the image's vLLM version or the GPU's memory is not known."
    cache, needed = f"{fit.kv_cache:.2f} GiB", f"{fit.kv_needed:.2f} GiB"
    length = f"max_model_len = {fit.max_model_len:,} tokens"
    between = f"{max(fit.kv_low, 0.0):.2f} to {max(fit.kv_high, 0.0):.2f} GiB"
    if fit.failure is Outcome.OUT_OF_MEMORY:
        text = "out of memory"
        if fit.oom is not None:
            stage = _STAGES.get(fit.oom.stage, fit.oom.stage)
            text += (
                f" while {stage}: {fit.oom.tried:.2f} GiB are asked for, {fit.oom.free:.2f} of {fit.total:.2f} GiB"
                " are free"
            )
        return text + "."
    if fit.failure is Outcome.NO_KV_CACHE:
        taken = sum(term.gib for term in fit.terms if term.charged)
        return (
            f"nothing is left for the KV cache: {taken:.2f} GiB are taken, and gpu_memory_utilization allows"
            f" {fit.budget:.2f} of {fit.total:.2f} GiB."
        )
    if fit.failure is Outcome.KV_TOO_SMALL and fit.kv_cache >= fit.kv_needed:
        return (
            f"the KV cache is {between} a GPU (90 % interval), too close to the {needed} that one request of {length}"
            " needs."
        )
    if fit.failure is Outcome.KV_TOO_SMALL:
        return f"the KV cache of {cache} a GPU holds {fit.kv_tokens:,} tokens; one request of {length} needs {needed}."
    if fit.outcome_low is Outcome.OUT_OF_MEMORY:
        return f"it runs out of memory at the low end of the 90 % interval (KV cache {between} a GPU)."
    if fit.outcome_low is not Outcome.OK:
        return f"the KV cache is {between} a GPU (90 % interval); one request of {length} needs {needed}."
    return (
        f"the KV cache of {cache} a GPU (90 %: {between}) holds {fit.kv_tokens:,} tokens,"
        f" {fit.max_concurrency:.1f} requests of {length} at once."
    )


def dominates(fit: Fit) -> str:
    """The largest term, its share, and what makes it smaller."""
    term = fit.dominating
    share = f"{label_of(term.name)}: {term.gib:.2f} of {fit.total:.2f} GiB ({term.gib / fit.total:.0%})"
    remedy = _REMEDIES.get(term.name)
    return f"{share}; less with {remedy}" if remedy else share


def changes(explained: Explanation) -> tuple[str, ...]:
    """What of the stack file to change so that it starts, each alone; empty where it does or nothing is known."""
    plan, fit = explained.plan, explained.fit
    if explained.refusal is not None:
        return tuple(explained.refusal.remedy.split("; or "))
    if fit is None or explained.verdict is not Verdict.MAY_NOT:
        return ()
    found = []
    if fit.outcome_low is Outcome.KV_TOO_SMALL and _keeps_every_token(plan):
        length = tokens_at(fit, fit.kv_low)
        if length > 0:
            found.append(f"max_model_len: {length} or less")
    sure = (choice for choice in explained.choices if verdict_of(choice.fit) is Verdict.STARTS)
    if (other := next((choice for choice in sure if not is_this(plan, choice)), None)) is not None:
        price = "price unknown" if other.usd_per_hour is None else f"{other.usd_per_hour:.2f} USD an hour"
        gpus = f"{other.accelerator_count} {other.accelerator_type}"
        found.append(f"machine_type: {other.machine_type} with {gpus} ({price} a replica)")
    return tuple(found)


def _keeps_every_token(plan: ServingPlan) -> bool:
    """Whether a token takes the same cache in a request of any length."""
    return all(kind == "full" for kind, _ in plan.model.architecture.kinds.items())


def is_this(plan: ServingPlan, choice: Choice) -> bool:
    """Whether a choice is the plan's own hardware."""
    own = (plan.hardware.machine_type, plan.hardware.accelerator_type, plan.hardware.accelerator_count)
    return (choice.machine_type, choice.accelerator_type, choice.accelerator_count) == own


def remark(plan: ServingPlan, choice: Choice) -> str:
    """What to say beside a choice: that it is the plan's own machine or GPUs, that it may not start."""
    own = ""
    if is_this(plan, choice):
        own = "this one"
    elif (choice.accelerator_type, choice.accelerator_count) == (
        plan.hardware.accelerator_type,
        plan.hardware.accelerator_count,
    ):
        own = "the same GPUs"
    doubt = Verdict.MAY_NOT.value if verdict_of(choice.fit) is Verdict.MAY_NOT else ""
    return ", ".join(filter(None, (own, doubt)))


def no_choice(explained: Explanation) -> str:
    """What to say where no catalogued hardware is known on which the stack starts."""
    if explained.fit is None:
        return "not known: the image's vLLM version or the GPU's memory is not."
    return f"none in {explained.plan.region}."


def subject(plan: ServingPlan) -> str:
    """The model and its hardware in one line."""
    gpus = f"{plan.hardware.accelerator_count} x {one_gpu(plan.hardware.accelerator_type)}"
    return f"{plan.model.id} on {gpus} ({plan.hardware.machine_type}, {plan.region})"


def running(explained: Explanation) -> tuple[tuple[str, str], ...]:
    """What will run: name and value of each line."""
    plan, fit = explained.plan, explained.fit
    hardware, arch = plan.hardware, plan.model.architecture
    tensor, pipeline = parallel_of(plan)
    length = fit.max_model_len if fit else plan.vllm.max_model_len
    sequences = fit.max_num_seqs if fit else plan.vllm.max_num_seqs
    batch = f", {fit.max_num_batched_tokens:,} tokens a batch" if fit else ""
    budget = f": {fit.budget:.2f} of {fit.total:.2f} GiB a GPU" if fit else ""
    engine = f", engine {fit.engine}" if fit else ""
    if fit and fit.runner != fit.engine:
        engine += f", model runner {fit.runner}"
    capacity = "spot, " if hardware.spot else ""
    lifetime = plan.stack.expires_after or ""
    until = f"{lifetime} after the deployment" if Expiry.of(lifetime).length else lifetime
    return (
        ("model", f"{plan.model.id}{_size(plan)}"),
        (
            "weights from",
            plan.weights_uri or "Hugging Face" + (" (gated: needs a token)" if plan.needs_token else ""),
        ),
        ("machine", f"{hardware.machine_type}, {capacity}{plan.region}"),
        ("GPUs", f"{hardware.accelerator_count} x {hardware.accelerator_type}"),
        ("parallel", f"tensor {tensor}, pipeline {pipeline}"),
        ("image", plan.container.image_uri),
        ("vLLM", version_of(plan) + engine),
        ("context", f"max_model_len {length:,} of the model's {arch.max_position_embeddings:,} tokens"),
        ("requests", f"max_num_seqs {sequences:,}{batch}"),
        ("utilization", f"{plan.vllm.gpu_memory_utilization:g}{budget}"),
        *((("expires", until),) if until else ()),
        *((("adapters", adapters_of(plan)),) if plan.stack.lora else ()),
    )


def adapters_of(plan: ServingPlan) -> str:
    """The LoRA adapters that the stack file names, and which of them are uploaded."""
    uploaded = {each.name: f" ({each.bytes / 1e6:.1f} MB, uploaded)" for each in plan.adapters}
    return ", ".join(f"{name}: {place}{uploaded.get(name, '')}" for name, place in plan.stack.lora.items())


def cost_title(plan: ServingPlan) -> str:
    """What the prices are of."""
    return f"What it costs in {plan.region}, US dollars, a month of {HOURS_PER_MONTH} hours"


def cost_rows(plan: ServingPlan) -> tuple[tuple[str, str, str], ...]:
    """What the plan costs: name, an hour, a month. The other kind of capacity stands beside the plan's own."""
    costs = costs_of(plan)

    def row(name: str, amount: float | None) -> tuple[str, str, str]:
        return name, usd(amount), usd(monthly(amount))

    def replicas(count: int) -> str:
        return f"{count} replica{'' if count == 1 else 's'}"

    own = " (this plan)"
    return (
        row(f"a replica on demand{'' if costs.spot else own}", costs.on_demand),
        row(f"a replica on spot{own if costs.spot else ''}", costs.spot_price),
        row(f"{replicas(costs.min_replicas)} when nobody asks", costs.idle),
        row(f"{replicas(costs.max_replicas)} at most", costs.at_most),
    )


def cost_notes(plan: ServingPlan) -> tuple[tuple[str, str], ...]:
    """Where the prices come from and what they leave out: name and text of each line."""
    costs = costs_of(plan)
    left_out = "storage, network traffic, logs, tax, discounts"
    if costs.replica is None:
        found = ("from", f"no {costs.capacity} price is published for {costs.hardware}")
        return (found, ("without", left_out))
    dated = f"{costs.source}, {costs.date or 'of unknown date'}"
    rows = [("from", f"{costs.derivation}; {dated}")]
    if costs.fee is not None:
        rows.append(("fee", f"{usd(costs.fee)} an hour a replica of it is Vertex AI's management fee"))
    return (*rows, ("without", left_out))


def largest(explained: Explanation) -> tuple[tuple[str, str], ...]:
    """The largest values that start beside the values at hand: name and text of each."""
    plan, fit, limits = explained.plan, explained.fit, explained.limits
    if fit is None or limits is None:
        return ()

    def text(value: int, now: int) -> str:
        found = f"{value:,}" if value else "none starts"
        return f"{found} (now {now:,})"

    positions = plan.model.architecture.max_position_embeddings
    whole = ", all of the model's positions" if limits.max_model_len >= positions else ""
    return (
        ("max_model_len", text(limits.max_model_len, fit.max_model_len) + whole),
        ("max_num_seqs", text(limits.max_num_seqs, fit.max_num_seqs)),
    )


def warnings(explained: Explanation) -> tuple[str, ...]:
    """The warnings of the plan, less the one that says again what the refusal says."""
    refusal = explained.refusal
    return tuple(text for text in explained.plan.warnings if refusal is None or refusal.problem not in text)


def notes(explained: Explanation) -> tuple[str, ...]:
    """The notes of the plan and of the prediction."""
    return (*explained.plan.notes, *(explained.fit.notes if explained.fit else ()))


def _size(plan: ServingPlan) -> str:
    weights = plan.model.weights
    parts = []
    if weights.parameters:
        parts.append(f"{weights.parameters / 1e9:.2f} billion parameters")
    if weights.bytes:
        parts.append(f"{weights.bytes / GIB:.2f} GiB of {weights.quantization or weights.dtype or 'weights'}")
    return f" ({', '.join(parts)})" if parts else ""


def usd(amount: float | None) -> str:
    """A price as text; ``unknown`` where none is published."""
    return UNKNOWN if amount is None else f"{amount:,.2f}"


def version_of(plan: ServingPlan) -> str:
    """The image's vLLM version and how it is known."""
    if plan.vllm_version is None:
        return "unknown"
    image = catalog().container(plan.container.image_uri)
    basis = image.version_basis if image is not None else ""  # empty where the stack file says the version
    return f"{plan.vllm_version} ({basis})" if basis else plan.vllm_version
