"""The change to a stack file that mends a failure, computed from what the log says and what the prediction allows.

Only what one key can mend is proposed; where the choice is the user's (a token, another region, a licence) there is
none, and the advice stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.diagnose.edit import Change, EditError, Remove, edited
from infra.diagnose.match import Diagnosis
from infra.diagnose.readings import Readings
from infra.fit import Fit, gpu_of
from infra.recipes import ServingPlan, StackError, plan
from infra.recipes.adapters import lora_ranks
from infra.recipes.arguments import MAX_LORA_RANK
from infra.recipes.catalog import catalog
from infra.recipes.errors import show_file
from infra.recipes.images import fitting_images
from infra.recipes.memory import choices, fit_of, limits_of
from infra.recipes.parallel import Split
from infra.recipes.stackfile import parse_stack
from infra.recipes.yamlfile import parse_yaml
from infra.versions import version_key

__all__ = ["MENDED", "Proposal", "differences", "propose"]

_SHORTEST: Final = 256
_UTILIZATIONS: Final = (0.92, 0.95)
_LONGEST_START: Final = 7200  # seconds, Vertex AI's limit
_SWAP: Final = 4  # GiB, vLLM's own default
_OTHER_GPU: Final = 0.08  # of its memory; cards of one kind differ by 2 %
_BATCHED: Final = "--max-num-batched-tokens"


@dataclass(frozen=True)
class Proposal:
    """A change of a stack file.

    Attributes:
        changes: The keys.
        why: Where the values come from, a sentence.
        text: The whole file with the change.
        fit: The prediction with the change; None where it cannot be made.
        refused: What a preview would still refuse, empty for nothing.
    """

    changes: tuple[Change, ...]
    why: str
    text: str
    fit: Fit | None
    refused: str = ""


def differences(found: Diagnosis, planned: ServingPlan, measured: Readings) -> tuple[str, ...]:
    """What shows that a log is not of this stack file as it stands: it was changed since, or is another's."""
    vllm, fit = planned.vllm, planned.fit
    now = {
        "length": ("vllm.max_model_len", vllm.max_model_len),
        "sequences": ("vllm.max_num_seqs", vllm.max_num_seqs),
        "loras": ("vllm.max_loras", vllm.max_loras),
        "size": ("vllm.tensor_parallel_size", vllm.tensor_parallel_size),
        "share": ("vllm.gpu_memory_utilization", vllm.gpu_memory_utilization),
    }
    shown = []
    for name, (key, value) in now.items():
        said = found.numbers.get(name, "").replace(",", "")
        if found.id == "blocks-not-divisible" or not said or value is None:
            continue
        if float(said) != float(value):
            shown.append(f"{key} is {value} in the stack file and was {said}")
    if fit is not None and measured.total and abs(measured.total / fit.total - 1) > _OTHER_GPU:
        shown.append(f"a GPU has {fit.total:.2f} GiB by the stack file and had {measured.total:.2f}")
    return tuple(shown)


@dataclass(frozen=True)
class _Case:
    found: Diagnosis
    plan: ServingPlan
    measured: Readings
    folder: Path

    def extra(self) -> tuple[str, ...]:
        return self.plan.stack.vllm.extra_args

    def has(self, key: str) -> bool:
        return self.plan.stack.has_line(key)


_Made = tuple[tuple[Change, ...], str]


def propose(
    found: Diagnosis, planned: ServingPlan, text: str, file: Path, measured: Readings
) -> Proposal | None:
    """The change that mends a failure; None where no key of the stack file does.

    Args:
        found: The failure.
        planned: The plan of the file as it is.
        text: The file.
        file: Its path.
        measured: The figures of the log.
    """
    case = _Case(found, planned, measured, file.parent)
    made = next((each for each in _made(case) if each[0]), None)
    if made is None:
        return None
    try:
        new = edited(text, made[0])
    except EditError:
        return None
    if new == text:
        return None
    try:
        raw, lines = parse_yaml(new, show_file(file))
        after = plan(
            parse_stack(raw, file=show_file(file), lines=lines), region=planned.region, source=str(file)
        )
    except StackError as error:
        return Proposal(made[0], made[1], new, None, str(error))
    return Proposal(made[0], made[1], new, after.fit)


def _made(case: _Case) -> Iterator[_Made]:
    for step in _STEPS.get(case.found.id, ()):
        made = step(case)
        if made is not None:
            yield made


def _shorter(case: _Case) -> _Made | None:
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
    return (Change("vllm.max_model_len", value),), f"max_model_len: {why}"


def _fewer(case: _Case) -> _Made | None:
    now, plan_ = case.plan.vllm.max_num_seqs, case.plan
    blocks = case.found.number("blocks")
    if blocks is not None:
        return (
            ((Change("vllm.max_num_seqs", blocks),), "max_num_seqs: the log's own figure")
            if blocks < now
            else None
        )
    largest = limits_of(plan_.model, plan_.accelerator, plan_.vllm_version, plan_.vllm, _split(plan_))
    if largest is not None and 1 <= largest.max_num_seqs < now:
        why = "max_num_seqs: the largest that starts by the prediction"
        return (Change("vllm.max_num_seqs", largest.max_num_seqs),), why
    if now < 2:
        return None
    why = "max_num_seqs: half, since the prediction says that all of them fit and the log says otherwise"
    return (Change("vllm.max_num_seqs", now // 2),), why


def _larger_share(case: _Case) -> _Made | None:
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
            return (Change("vllm.gpu_memory_utilization", share),), f"gpu_memory_utilization: enough {why}"
    return None


def _free_share(case: _Case) -> _Made | None:
    numbers = case.found.numbers
    share = int(100 * float(numbers["free"]) / float(numbers["total"])) / 100
    if not 0 < share < case.plan.vllm.gpu_memory_utilization:
        return None
    return (
        Change("vllm.gpu_memory_utilization", share),
    ), "gpu_memory_utilization: what the log says was free"


def _smaller_share(case: _Case) -> _Made | None:
    now = case.plan.vllm.gpu_memory_utilization
    share = round(now - 0.05, 2)
    return (
        ((Change("vllm.gpu_memory_utilization", share),), "5 % less for the KV cache")
        if share > 0.5
        else None
    )


def _eager(case: _Case) -> _Made | None:
    if case.plan.vllm.enforce_eager:
        return None
    return (Change("vllm.enforce_eager", True),), "without CUDA graphs nothing is captured"


def _hardware(case: _Case) -> _Made | None:
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
        return (
            changes,
            f"the cheapest hardware with more GPU memory on which it starts by the prediction ({price})",
        )
    return None


def _computed_sizes(case: _Case) -> tuple[Change, ...]:
    keys = ("vllm.tensor_parallel_size", "vllm.pipeline_parallel_size")
    return tuple(Change(key, Remove()) for key in keys if case.has(key))


def _sizes(case: _Case) -> _Made | None:
    return _computed_sizes(case), "parallel sizes are then computed from the model and the GPUs"


def _image(case: _Case) -> _Made | None:
    plan_ = case.plan
    gpus, now = plan_.hardware.accelerator_count, plan_.vllm_version
    for image in fitting_images(plan_.model, plan_.accelerator, gpus):
        version = image.vllm_version or ""
        if image.uri == plan_.container.image_uri or (now and version_key(version) <= version_key(now)):
            continue
        changes = [Change("container.image_uri", image.uri)]
        if case.has("container.vllm_version"):
            changes.append(Change("container.vllm_version", Remove()))
        return tuple(
            changes
        ), f"the oldest of Google's images after this one that has the model (vLLM {version})"
    return None


def _without_flags(case: _Case) -> _Made | None:
    asked = case.found.numbers.get("arguments", "--quantization").split()
    unknown = {each.partition("=")[0].replace("_", "-") for each in asked}
    left = tuple(each for each in case.extra() if each.partition("=")[0].replace("_", "-") not in unknown)
    if left == case.extra():
        return None
    value: tuple[str, ...] | Remove = left or Remove()
    return (Change("vllm.extra_args", value),), "extra_args: without what vLLM refused"


def _flag(case: _Case, flag: str, value: int) -> _Made:
    made = f"{flag}={value}"
    others = [each for each in case.extra() if each.partition("=")[0] != flag]
    return (Change("vllm.extra_args", (*others, made)),), f"{flag}: the log's own figure"


def _batched(case: _Case) -> _Made | None:
    for name in ("item", "length", "sequences"):
        value = case.found.number(name)
        if value is not None:
            return _flag(case, _BATCHED, value)
    return None


def _lora_rank(case: _Case) -> _Made | None:
    rank = case.found.number("rank") or 0
    value = next((each for each in lora_ranks(case.plan.vllm_version) if each >= rank), None)
    return _flag(case, MAX_LORA_RANK, value) if value and rank else None


def _cpu_loras(case: _Case) -> _Made | None:
    loras = case.found.number("loras")
    return ((Change("vllm.max_cpu_loras", loras),), "as many as max_loras") if loras else None


def _timeout(case: _Case) -> _Made | None:
    if case.plan.container.deployment_timeout_seconds >= _LONGEST_START:
        return None
    return (Change("container.deployment_timeout", _LONGEST_START),), "the most that Vertex AI allows"


def _swap(case: _Case) -> _Made | None:
    if case.plan.vllm.swap_space <= _SWAP:
        return None
    return (Change("vllm.swap_space", _SWAP),), "vLLM's own default; it is taken for each GPU"


def _shared_memory(case: _Case) -> _Made | None:
    now = case.plan.container.shared_memory_size_mb
    return (Change("container.shared_memory_size_mb", 2 * now),), "twice as much"


def _to(key: str, value: str | bool, why: str) -> Callable[[_Case], _Made | None]:
    return lambda case: ((Change(key, value),), why)


def _split(planned: ServingPlan) -> Split:
    return Split(planned.vllm.tensor_parallel_size or 1, planned.vllm.pipeline_parallel_size or 1)


_STEPS: Final[Mapping[str, tuple[Callable[[_Case], _Made | None], ...]]] = {
    "kv-cache-too-small-v0": (_shorter, _larger_share, _hardware),
    "kv-cache-too-small-v1": (_shorter, _larger_share, _hardware),
    "state-cache-too-small": (_fewer,),
    "kv-cache-none": (_larger_share, _hardware),
    "memory-in-use": (_free_share,),
    "out-of-memory-load": (_hardware,),
    "out-of-memory-profile": (_fewer, _hardware),
    "out-of-memory-sampler": (_fewer,),
    "out-of-memory-graphs": (_eager, _smaller_share),
    "out-of-memory-serving": (_smaller_share,),
    "out-of-memory": (_fewer, _hardware),
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
