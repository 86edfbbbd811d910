"""Will a stack file's model fit: asks :mod:`infra.fit`, refuses what does not start, and looks for what would.

Owns how a stack file's options become the arithmetic's, the words of the refusal, and the search over the catalogue's
hardware. Pure; one prediction takes some milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.cards import ModelCard
from infra.fit import Fit, Gpu, Limits, Options, Outcome, Term, gpu_of, limits, predict
from infra.recipes.adapters import max_lora_rank
from infra.recipes.arguments import passed
from infra.recipes.catalog import Accelerator, catalog
from infra.recipes.checks import Checked, Report, check
from infra.recipes.checks.flag_values import read_size
from infra.recipes.defaults import with_defaults
from infra.recipes.errors import DoesNotFit
from infra.recipes.images import DEFAULT_IMAGE
from infra.recipes.parallel import Split
from infra.recipes.stackfile import Hardware, StackFile, VllmOptions

__all__ = ["Choice", "check_memory", "choices", "fit_of", "fit_options", "limits_of"]

# Of the hardware that would do, so many are named in an error.
_NAMED: Final = 2
# The shortest context that is worth offering instead.
_SHORTEST: Final = 256
_UTILIZATIONS: Final = (0.9, 0.92, 0.95)
# What these flags add or move is not in the arithmetic.
_LEFT_OUT: Final = (
    "--speculative-model",
    "--speculative-config",
    "--num-gpu-blocks-override",
    "--data-parallel-size",
    "--enable-expert-parallel",
    "--hf-overrides",
    "--mm-processor-kwargs",
)
_WORDS: Final = {
    "weights": "weights",
    "activation": "activations of the start-up run",
    "non_torch": "memory outside torch",
    "graphs": "CUDA graphs",
    "resident": "the sampler's state",
}
_STAGES: Final = {
    "load": "loading the weights",
    "layers": "the widest layer of the start-up run",
    "sampler": "the start-up run's sampler",
    "graphs": "the capture of CUDA graphs",
    "sampler warm-up": "the sampler's warm-up after the cache is allocated",
    "image patches": "the image encoder",
    "image mask": "the image encoder",
    "image encoder": "the image encoder",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Catalogued hardware on which a stack would start, with what a replica costs an hour (None: not known)."""

    machine_type: str
    accelerator_type: str
    accelerator_count: int
    usd_per_hour: float | None
    fit: Fit


def fit_options(vllm: VllmOptions, split: Split) -> Options:
    """Turn a stack file's options, its extra arguments among them, into the arithmetic's."""
    extra = passed(vllm)

    def on(flag: str) -> bool | None:
        """Whether a switch is on, off as ``--no-...``, or not there."""
        if f"--no-{flag[2:]}" in extra:
            return False
        if flag not in extra:
            return None
        return (extra[flag] or "true").lower() == "true"

    return Options(
        max_model_len=vllm.max_model_len,
        max_num_seqs=vllm.max_num_seqs,
        max_num_batched_tokens=_size(extra, "--max-num-batched-tokens"),
        gpu_memory_utilization=vllm.gpu_memory_utilization,
        tensor_parallel_size=split.tensor,
        pipeline_parallel_size=split.pipeline,
        dtype=vllm.dtype,
        quantization=extra.get("--quantization"),
        kv_cache_dtype=extra.get("--kv-cache-dtype") or "auto",
        enforce_eager=vllm.enforce_eager,
        enable_lora=vllm.enable_lora,
        max_loras=vllm.max_loras,
        max_lora_rank=max_lora_rank(vllm),
        enable_chunked_prefill=on("--enable-chunked-prefill"),
        enable_prefix_caching=on("--enable-prefix-caching"),
        block_size=_size(extra, "--block-size"),
        images_per_prompt=_images(extra.get("--limit-mm-per-prompt")),
        disable_hybrid_kv_cache_manager=bool(on("--disable-hybrid-kv-cache-manager")),
        kv_cache_memory_bytes=_size(extra, "--kv-cache-memory-bytes"),
        cpu_offload_gb=_number(extra.get("--cpu-offload-gb")),
        usage="api_server",
    )


def _size(extra: Mapping[str, str | None], flag: str) -> int | None:
    """A flag's number; None where it is not there or no number, which other checks report."""
    try:
        return read_size(extra.get(flag) or "") or None
    except ValueError:
        return None


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _images(text: str | None) -> int:
    """Images of one prompt: of ``image=2``, or of JSON, a number or an object with ``count``; 1 where it says none."""
    count = re.search(r'\bimage"?\s*[:=]\s*(?:\{[^{}]*?"count"\s*:\s*)?(\d+)', text or "")
    return int(count[1]) if count else 1


def _gpu(accelerator: Accelerator) -> Gpu | None:
    try:
        return gpu_of(accelerator)
    except ValueError:
        return None


def fit_of(
    card: ModelCard, accelerator: Accelerator, version: str | None, vllm: VllmOptions, split: Split
) -> Fit | None:
    """Predict the start-up; None where the image's vLLM version or the GPU's memory is not known."""
    gpu = _gpu(accelerator)
    if gpu is None or version is None:
        return None
    return predict(card, gpu, fit_options(vllm, split), version)


def limits_of(
    card: ModelCard, accelerator: Accelerator, version: str | None, vllm: VllmOptions, split: Split
) -> Limits | None:
    """Return the largest ``max_model_len`` and ``max_num_seqs`` that start; None where :func:`fit_of` is."""
    gpu = _gpu(accelerator)
    if gpu is None or version is None:
        return None
    return limits(card, gpu, fit_options(vllm, split), version)


def choices(stack: StackFile, *, region: str, folder: Path = Path()) -> tuple[Choice, ...]:
    """Return the catalogue's hardware in a region on which a stack would start, cheapest first, unknown prices last.

    All else of the stack stays; parallel sizes follow the number of GPUs, and where the file does not say them the
    image and the type follow the GPU. Of machines with the same GPUs the cheapest.

    Args:
        stack: the stack file.
        region: where it is served.
        folder: the stack file's, where it may name other files.
    """
    best: dict[tuple[str, int], Choice] = {}
    for machine in catalog().machines():
        for kind, count in machine.accelerators:
            key = (kind, count)
            hardware = Hardware(
                machine_type=machine.machine_type,
                accelerator_type=kind,
                accelerator_count=count,
                spot=stack.hardware.spot,
            )
            found = _starts_on(stack, hardware, region, folder)
            if found is None:  # for the GPUs, or for this machine's own memory
                continue
            price = catalog().price(
                machine.machine_type,
                region,
                stack.hardware.spot,
                accelerator_type=kind,
                accelerator_count=count,
            )
            choice = Choice(machine.machine_type, kind, count, price.usd_per_hour if price else None, found)
            if key not in best or _cost(choice) < _cost(best[key]):
                best[key] = choice
    return tuple(sorted(best.values(), key=_cost))


def _cost(choice: Choice) -> tuple[float, int, str]:
    cost = choice.usd_per_hour
    return (float("inf") if cost is None else cost, choice.accelerator_count, choice.machine_type)


def _starts_on(stack: StackFile, hardware: Hardware, region: str, folder: Path) -> Fit | None:
    if not catalog().serves(region, hardware.accelerator_type):
        return None
    vllm: dict[str, Any] = {}
    if hardware.accelerator_count != stack.hardware.accelerator_count:
        vllm |= {"tensor_parallel_size": None, "pipeline_parallel_size": None}
    container: dict[str, Any] = {}
    if stack.has_line("model"):
        # What the file leaves out and the GPU decides is what it would be in a file with this hardware.
        other = {"model": stack.model, "hardware": hardware.model_dump()}
        defaults = with_defaults(other, file="", lines={}).raw
        for key, value in (("dtype", "auto"), ("extra_args", ()), ("model_type", None)):
            if not stack.has_line(f"vllm.{key}"):
                given = defaults.get("vllm", {}).get(key, value)
                vllm[key] = tuple(given) if isinstance(given, list) else given
        if not stack.has_line("container.image_uri"):
            container["image_uri"] = defaults.get("container", {}).get("image_uri", DEFAULT_IMAGE)
    moved = {
        "hardware": hardware,
        "vllm": stack.vllm.model_copy(update=vllm),
        "container": stack.container.model_copy(update=container),
    }
    return _starts(stack.model_copy(update=moved), region, folder, offered=True)


def _starts(stack: StackFile, region: str, folder: Path, *, offered: bool = False) -> Fit | None:
    """The prediction of a stack that passes every check and starts; else None.

    A machine that is ``offered`` must have the memory for the defaults: no one is sent to a host of 4 GiB for 4 GPUs.
    """
    report = Report(stack, region=region, file="")
    checked = check(report, folder=folder)
    if checked is None or report.problems or (offered and checked.host_memory.notes):
        return None
    accelerator = catalog().accelerator(stack.hardware.accelerator_type)
    fit = fit_of(checked.card, accelerator, checked.vllm_version, stack.vllm, checked.split)
    return fit if fit is not None and fit.ok else None


def check_memory(report: Report, checked: Checked, *, folder: Path) -> Fit | None:
    """Refuse a stack that would not start for want of GPU memory, with the changes that would; or warn of it.

    A refusal becomes a warning where the stack file says ``fit: warn``, and where exactly this was published as served.

    Args:
        report: the stack file; takes the problem or the warning.
        checked: what the other checks looked up.
        folder: the stack file's.

    Returns:
        The prediction; None where the image's vLLM version or the GPU's memory is not known.
    """
    stack, card = report.stack, checked.card
    accelerator = catalog().accelerator(stack.hardware.accelerator_type)
    fit = fit_of(card, accelerator, checked.vllm_version, stack.vllm, checked.split)
    if fit is None:
        return None
    gpus = f"{stack.hardware.accelerator_count} {stack.hardware.accelerator_type}"
    left_out = [flag for flag in _LEFT_OUT if flag in passed(stack.vllm)]
    if left_out:
        report.warn(f"vllm.extra_args: the prediction of memory leaves {', '.join(left_out)} out.")
    if not fit.ok:
        key, value = _line(fit, stack)
        text = f"{card.id} does not start on {gpus} with vLLM {fit.version}: {_reason(fit)}."
        changes = tuple(_changes(report, checked, fit, folder))
        remedy = "; or ".join(changes) or "another model, or hardware that the catalogue does not have"
        if stack.fit == "warn" or _as_published(stack, checked.split):
            report.warn(f"{key}: {text} These would do: {remedy}.")
        else:
            report.refuse(DoesNotFit, key, value, text, remedy=remedy)
    elif fit.outcome_low is not Outcome.OK:
        report.warn(
            f"fit: {card.id} starts on {gpus} by a narrow margin: the KV cache is {fit.kv_low:.2f} to {fit.kv_high:.2f}"
            f" GiB a GPU (90 % interval), one request of {fit.max_model_len} tokens needs {fit.kv_needed:.2f}."
        )
    return fit


def _as_published(stack: StackFile, split: Split) -> bool:
    """Whether a stack is a published recipe, in all that memory hangs on: what ran is not refused for a prediction."""
    hardware = stack.hardware
    card = catalog().model(stack.model)
    recipe = card.recipe_for(hardware.machine_type, hardware.accelerator_type, hardware.accelerator_count)
    if recipe is None or recipe.image_uri is None or recipe.image_uri != stack.container.image_uri:
        return False
    plain = {"model": stack.model, "hardware": hardware.model_dump()}
    given = with_defaults(plain, file="", lines={}).raw.get("vllm", {})
    published = VllmOptions.model_validate(given)
    sizes = (stack.vllm.tensor_parallel_size, stack.vllm.pipeline_parallel_size)
    return sizes == (published.tensor_parallel_size, published.pipeline_parallel_size) and (
        fit_options(stack.vllm, split) == fit_options(published, split)
    )


def _line(fit: Fit, stack: StackFile) -> tuple[str, object]:
    """The key that decides, and its value."""
    if fit.failure is Outcome.KV_TOO_SMALL:
        return "vllm.max_model_len", stack.vllm.max_model_len
    of_sequences = fit.oom is not None and (
        fit.oom.stage.startswith("image") or fit.oom.stage.startswith("sampler")
    )
    if of_sequences:
        return "vllm.max_num_seqs", stack.vllm.max_num_seqs
    if fit.budget < fit.weights < fit.total * VllmOptions.model_fields["gpu_memory_utilization"].default:
        return "vllm.gpu_memory_utilization", stack.vllm.gpu_memory_utilization
    return "hardware.accelerator_type", stack.hardware.accelerator_type


def _reason(fit: Fit) -> str:
    """Why it does not start, with the two numbers and the largest part."""
    largest = fit.dominating
    part = f"; the largest part is {_word(largest)}, {largest.gib:.2f} GiB"
    if fit.oom is not None:
        if fit.oom.stage == "load":
            return f"the weights take {fit.weights:.2f} GiB a GPU, a GPU has {fit.total:.2f}"
        if fit.oom.stage == "free memory at start-up":
            return f"vLLM asks for {fit.oom.tried:.2f} GiB of free memory a GPU, {fit.oom.free:.2f} are free"
        needed = fit.weights + fit.activation + fit.non_torch
        stage = _STAGES.get(fit.oom.stage, fit.oom.stage)
        if fit.oom.stage.startswith(("image", "layers")) or fit.oom.stage == "sampler":
            return f"{stage} needs {needed:.2f} GiB a GPU with the weights, a GPU has {fit.total:.2f}{part}"
        return (
            f"{stage} runs out of memory: gpu_memory_utilization leaves {fit.total - fit.budget:.2f} of {fit.total:.2f}"
            f" GiB for what is not in its budget{part}"
        )
    charged = sum(term.gib for term in fit.terms if term.charged)
    if fit.failure is Outcome.NO_KV_CACHE and fit.kv_cache <= fit.kv_needed:
        return (
            f"{charged:.2f} GiB a GPU are taken of the {fit.budget:.2f} that gpu_memory_utilization allows, and the KV"
            f" cache gets nothing{part}"
        )
    return (
        f"the KV cache holds {fit.kv_tokens} tokens ({_cache(fit)} GiB a GPU), max_model_len asks for"
        f" {fit.max_model_len} ({fit.kv_needed:.2f} GiB){part}"
    )


def _cache(fit: Fit) -> str:
    return (
        f"{fit.kv_cache:.2f}, at least {fit.kv_low:.2f}"
        if fit.kv_cache >= fit.kv_needed
        else f"{fit.kv_cache:.2f}"
    )


def _word(term: Term) -> str:
    return _WORDS.get(term.name, term.name)


def _changes(report: Report, checked: Checked, fit: Fit, folder: Path) -> Iterator[str]:
    """Lines of the stack file, each of which alone makes it start; then hardware. All are computed."""
    stack, region = report.stack, report.region
    accelerator = catalog().accelerator(stack.hardware.accelerator_type)
    largest = limits_of(checked.card, accelerator, checked.vllm_version, stack.vllm, checked.split)
    if largest is not None and _SHORTEST <= largest.max_model_len < stack.vllm.max_model_len:
        length = largest.max_model_len
        # What the cache is predicted to hold is more: the limits keep clear of the edge.
        margin = " (with a margin)" if length < fit.kv_tokens else ""
        yield f"max_model_len: {length // 16 * 16 if length > 16 else length} or less{margin}"
    if largest is not None and 1 <= largest.max_num_seqs < stack.vllm.max_num_seqs:
        yield f"max_num_seqs: {largest.max_num_seqs} or less"
    for share in _UTILIZATIONS:
        if share > stack.vllm.gpu_memory_utilization and _with(
            stack, region, folder, gpu_memory_utilization=share
        ):
            yield f"gpu_memory_utilization: {share}"
            break
    if (
        not stack.vllm.enforce_eager
        and fit.term("graphs").charged
        and _with(stack, region, folder, enforce_eager=True)
    ):
        yield "enforce_eager: true"
    own = (stack.hardware.accelerator_type, stack.hardware.accelerator_count)
    named = 0
    for choice in choices(stack, region=region, folder=folder):
        if (choice.accelerator_type, choice.accelerator_count) != own and named < _NAMED:
            named += 1
            cost = (
                "price unknown" if choice.usd_per_hour is None else f"{choice.usd_per_hour:.2f} USD an hour"
            )
            yield (
                f"machine_type: {choice.machine_type} with {choice.accelerator_count} {choice.accelerator_type}"
                f" ({cost} a replica)"
            )


def _with(stack: StackFile, region: str, folder: Path, **options: object) -> bool:
    vllm = stack.vllm.model_copy(update=options)
    return _starts(stack.model_copy(update={"vllm": vllm}), region, folder) is not None
