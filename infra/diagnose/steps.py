"""What mends a failure, one function a remedy: the keys of the stack file and where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.diagnose.edit import Change, Remove
from infra.diagnose.match import Diagnosis
from infra.diagnose.readings import Readings
from infra.fit import Limits, gpu_of
from infra.recipes import ServingPlan
from infra.recipes.catalog import catalog
from infra.recipes.images import fitting_images
from infra.recipes.memory import choices, fit_of, limits_of
from infra.recipes.parallel import Split
from infra.versions import version_key

__all__ = ["MENDED", "Case", "Made", "steps"]

_SHORTEST: Final = 256
_UTILIZATIONS: Final = (0.92, 0.95)
_LORA_RANKS: Final = (8, 16, 32, 64, 128, 256)  # vLLM's, 0.6.4 and later
_LEAST_SHARE: Final = 0.5
_LONGEST_START: Final = 7200  # seconds, Vertex AI's limit
_SWAP: Final = 4  # GiB, vLLM's own default
_BATCHED: Final = "--max-num-batched-tokens"


@dataclass(frozen=True)
class Case:
    """A failure with what is known of it."""

    found: Diagnosis
    plan: ServingPlan
    measured: Readings
    folder: Path

    def extra(self) -> tuple[str, ...]:
        return self.plan.stack.vllm.extra_args

    def has(self, key: str) -> bool:
        return self.plan.stack.has_line(key)


@dataclass(frozen=True)
class Made:
    """What one step proposes.

    Attributes:
        changes: The keys.
        why: Where the values come from.
        sure: It mends the failure whatever the prediction says; else it counts only where that says that it starts.
    """

    changes: tuple[Change, ...]
    why: str
    sure: bool = True


def steps(case: Case) -> Iterator[Made]:
    """What may mend a failure, the least change first."""
    for step in _STEPS.get(case.found.id, ()):
        made = step(case)
        if made is not None and made.changes:
            yield made


def _shorter(case: Case) -> Made | None:
    found, now = case.found, case.plan.vllm.max_model_len
    tokens, why = found.number("tokens") or found.number("estimate"), "the log's own figure"
    if tokens is None and "needed" in found.numbers:
        share = float(found.numbers["available"]) / float(found.numbers["needed"])
        tokens, why = (
            int((found.number("length") or now) * share),
            "in proportion to the cache that the log names",
        )
    limit = found.number("limit")
    if limit is not None:
        tokens, why = limit, "the model's own limit"
    if tokens is None or not _SHORTEST <= tokens < now:
        return None
    value = tokens if limit is not None else tokens // 16 * 16
    return Made((Change("vllm.max_model_len", value),), f"max_model_len: {why}")


def _shorter_by_prediction(case: Case) -> Made | None:
    largest = _limits(case)
    if largest is None or not _SHORTEST <= largest.max_model_len < case.plan.vllm.max_model_len:
        return None
    change = Change("vllm.max_model_len", largest.max_model_len // 16 * 16)
    return Made((change,), "max_model_len: the largest that starts by the prediction", sure=False)


def _as_many_as_blocks(case: Case) -> Made | None:
    blocks = case.found.number("blocks")
    if blocks is None or not 1 <= blocks < case.plan.vllm.max_num_seqs:
        return None
    return Made((Change("vllm.max_num_seqs", blocks),), "max_num_seqs: the log's own figure")


def _fewer_by_prediction(case: Case) -> Made | None:
    largest = _limits(case)
    if largest is None or not 1 <= largest.max_num_seqs < case.plan.vllm.max_num_seqs:
        return None
    change = Change("vllm.max_num_seqs", largest.max_num_seqs)
    return Made((change,), "max_num_seqs: the largest that starts by the prediction", sure=False)


def _half(case: Case) -> Made | None:
    """For a failure that the prediction does not see: it cannot say how many are few enough."""
    now, fit = case.plan.vllm.max_num_seqs, case.plan.fit
    if now < 2 or (fit is not None and not fit.ok):
        return None
    why = (
        "there is no prediction for this image"
        if fit is None
        else "the prediction says that all of them fit and the log says otherwise"
    )
    return Made((Change("vllm.max_num_seqs", now // 2),), f"max_num_seqs: half, since {why}")


def _limits(case: Case) -> Limits | None:
    plan_ = case.plan
    return limits_of(plan_.model, plan_.accelerator, plan_.vllm_version, plan_.vllm, _split(plan_))


def _larger_share(case: Case) -> Made | None:
    plan_, fit = case.plan, case.plan.fit
    if fit is None:
        return None
    now, left = plan_.vllm.gpu_memory_utilization, case.measured.kv
    for share in (each for each in _UTILIZATIONS if each > now):
        if left is not None:
            total = case.measured.total or fit.total
            starts, why = left + total * (share - now) >= fit.kv_needed, "by what the log says is left"
        elif fit.ok:
            return None  # the prediction does not see this failure, so it cannot say what mends it
        else:
            vllm = plan_.vllm.model_copy(update={"gpu_memory_utilization": share})
            other = fit_of(plan_.model, plan_.accelerator, plan_.vllm_version, vllm, _split(plan_))
            starts, why = other is not None and other.ok, "by the prediction"
        if starts:
            change = Change("vllm.gpu_memory_utilization", share)
            return Made((change,), f"gpu_memory_utilization: enough {why}", sure=left is not None)
    return None


def _free_share(case: Case) -> Made | None:
    numbers = case.found.numbers
    share = int(100 * float(numbers["free"]) / float(numbers["total"])) / 100
    if not 0 < share < case.plan.vllm.gpu_memory_utilization:
        return None
    change = Change("vllm.gpu_memory_utilization", share)
    return Made((change,), "gpu_memory_utilization: what the log says was free")


def _smaller_share(case: Case) -> Made | None:
    now = case.plan.vllm.gpu_memory_utilization
    share = round(now - 0.05, 2)
    if share <= _LEAST_SHARE:
        return None
    return Made((Change("vllm.gpu_memory_utilization", share),), "5 % less for the KV cache")


def _eager(case: Case) -> Made | None:
    if case.plan.vllm.enforce_eager:
        return None
    return Made((Change("vllm.enforce_eager", True),), "without CUDA graphs nothing is captured")


def _hardware(case: Case) -> Made | None:
    """The cheapest hardware with more GPU memory on which it starts by the prediction."""
    plan_ = case.plan
    own = gpu_of(plan_.accelerator).total * plan_.hardware.accelerator_count
    books = catalog()
    for choice in choices(plan_.stack, region=plan_.region, folder=case.folder):
        if gpu_of(books.accelerator(choice.accelerator_type)).total * choice.accelerator_count <= own:
            continue
        if (
            case.found.id == "quantization-unsupported"
            and choice.accelerator_type == plan_.hardware.accelerator_type
        ):
            continue
        price = (
            "price unknown"
            if choice.usd_per_hour is None
            else f"{choice.usd_per_hour:.2f} USD an hour a replica"
        )
        changes = (
            Change("hardware.machine_type", choice.machine_type),
            Change("hardware.accelerator_type", choice.accelerator_type),
            Change("hardware.accelerator_count", choice.accelerator_count),
            *_computed_sizes(case),
        )
        why = f"the cheapest hardware with more GPU memory on which it starts by the prediction ({price})"
        return Made(changes, why)
    return None


def _more_where_predicted(case: Case) -> Made | None:
    """Other hardware, where the prediction sees the failure too: the log alone does not say what ran out."""
    return None if case.plan.fit is None or case.plan.fit.ok else _hardware(case)


def _computed_sizes(case: Case) -> tuple[Change, ...]:
    keys = ("vllm.tensor_parallel_size", "vllm.pipeline_parallel_size")
    return tuple(Change(key, Remove()) for key in keys if case.has(key))


def _sizes(case: Case) -> Made | None:
    return Made(_computed_sizes(case), "parallel sizes are then computed from the model and the GPUs")


def _image(case: Case) -> Made | None:
    plan_ = case.plan
    gpus, now = plan_.hardware.accelerator_count, plan_.vllm_version
    for image in fitting_images(plan_.model, plan_.accelerator, gpus):
        version = image.vllm_version or ""
        if image.uri == plan_.container.image_uri or (now and version_key(version) <= version_key(now)):
            continue
        changes = [Change("container.image_uri", image.uri)]
        if case.has("container.vllm_version"):
            changes.append(Change("container.vllm_version", Remove()))
        why = f"the oldest of Google's images after this one that has the model (vLLM {version})"
        return Made(tuple(changes), why)
    return None


def _without_flags(case: Case) -> Made | None:
    asked = case.found.numbers.get("arguments", "--quantization").split()
    unknown = {each.partition("=")[0].replace("_", "-") for each in asked}
    left = tuple(each for each in case.extra() if each.partition("=")[0].replace("_", "-") not in unknown)
    if left == case.extra():
        return None
    value: tuple[str, ...] | Remove = left or Remove()
    return Made((Change("vllm.extra_args", value),), "extra_args: without what vLLM refused")


def _flag(case: Case, flag: str, value: int) -> Made:
    made = f"{flag}={value}"
    others = [each for each in case.extra() if each.partition("=")[0] != flag]
    return Made((Change("vllm.extra_args", (*others, made)),), f"{flag}: the log's own figure")


def _batched(case: Case) -> Made | None:
    for name in ("item", "length", "sequences"):
        value = case.found.number(name)
        if value is not None:
            return _flag(case, _BATCHED, value)
    return None


def _lora_rank(case: Case) -> Made | None:
    rank = case.found.number("rank") or 0
    value = next((each for each in _LORA_RANKS if each >= rank), None)
    return _flag(case, "--max-lora-rank", value) if value and rank else None


def _cpu_loras(case: Case) -> Made | None:
    loras = case.found.number("loras")
    return Made((Change("vllm.max_cpu_loras", loras),), "as many as max_loras") if loras else None


def _timeout(case: Case) -> Made | None:
    if case.plan.container.deployment_timeout_seconds >= _LONGEST_START or case.measured.served:
        return None
    return Made((Change("container.deployment_timeout", _LONGEST_START),), "the most that Vertex AI allows")


def _swap(case: Case) -> Made | None:
    if case.plan.vllm.swap_space <= _SWAP:
        return None
    return Made((Change("vllm.swap_space", _SWAP),), "vLLM's own default; it is taken for each GPU")


def _shared_memory(case: Case) -> Made | None:
    now = case.plan.container.shared_memory_size_mb
    return Made((Change("container.shared_memory_size_mb", 2 * now),), "twice as much")


def _to(key: str, value: str | bool, why: str) -> Callable[[Case], Made | None]:
    return lambda case: Made((Change(key, value),), why)


def _split(planned: ServingPlan) -> Split:
    return Split(planned.vllm.tensor_parallel_size or 1, planned.vllm.pipeline_parallel_size or 1)


_STEPS: Final[Mapping[str, tuple[Callable[[Case], Made | None], ...]]] = {
    "kv-cache-too-small-v0": (_shorter, _larger_share, _hardware),
    "kv-cache-too-small-v1": (_shorter, _larger_share, _hardware),
    "state-cache-too-small": (_as_many_as_blocks,),
    "kv-cache-none": (_larger_share, _hardware),
    "memory-in-use": (_free_share,),
    "out-of-memory-load": (_hardware,),
    "out-of-memory-profile": (_fewer_by_prediction, _shorter_by_prediction, _half, _hardware),
    "out-of-memory-sampler": (_fewer_by_prediction, _half),
    "out-of-memory-cache": (_smaller_share,),
    "out-of-memory-warm-up": (_smaller_share,),
    "out-of-memory-graphs": (_eager, _smaller_share),
    "out-of-memory-serving": (_smaller_share,),
    "out-of-memory": (_fewer_by_prediction, _shorter_by_prediction, _more_where_predicted),
    "longer-than-model": (_shorter,),
    "unknown-flag": (_without_flags,),
    "quantization-mismatch": (_without_flags,),
    "remote-code": (_to("vllm.trust_remote_code", True, "only after you have read that code"),),
    "batch-shorter-than-length": (_batched,),
    "batch-smaller-than-sequences": (_batched,),
    "batch-smaller-than-image": (_batched,),
    "lora-unsupported": (_to("vllm.enable_lora", False, "adapters cannot be loaded then"),),
    "lora-rank": (_lora_rank,),
    "fewer-cpu-loras": (_cpu_loras,),
    "chat-template-missing": (
        _to(
            "vllm.chat_template",
            "plain",
            "the neutral one of the shipped templates; an Instruct model has its own",
        ),
    ),
    "architecture-unsupported": (_image,),
    "model-type-unknown": (_image,),
    "rope-scaling-unknown": (_image,),
    "tokenizer-too-new": (_image,),
    "image-not-for-gpu": (_image,),
    "bfloat16-unsupported": (_to("vllm.dtype", "half", "the type of the same size that the GPU has"),),
    "quantization-unsupported": (_hardware,),
    "heads-not-divisible": (_sizes,),
    "sizes-not-divisible": (_sizes,),
    "blocks-not-divisible": (_sizes,),
    "more-gpus-than-there-are": (_sizes,),
    "shared-memory": (_shared_memory,),
    "host-memory": (_swap,),
    "never-ready": (_timeout,),
    "tool-parser-missing": (
        _to("vllm.tool_calling", True, "the parser is then the catalogue's for the model"),
    ),
    "tool-choice-off": (_to("vllm.tool_calling", True, "the parser is then the catalogue's for the model"),),
}

MENDED: Final = frozenset(_STEPS)
"""The failures for which a change may be proposed."""
