"""Machine, accelerator, count and region; and what the accelerator's generation can do."""

from __future__ import annotations

from math import inf
from typing import Final

from infra.cards import ModelCard
from infra.recipes.arguments import QUANTIZATION, passed
from infra.recipes.catalog import MachineType, catalog
from infra.recipes.checks.report import Report
from infra.recipes.defaults import NO_FLOAT16
from infra.recipes.errors import HardwareMismatch, UnknownMachine, UnknownRegion, ValueProblem, nearest
from infra.recipes.regions import elsewhere
from infra.versions import version_key

__all__ = ["check_compute_capability", "check_machine", "check_region"]

_RACK: Final = {"a4x-highgpu-4g": 18}  # docs configure-compute: sold by the rack
_OTHER_NAMES: Final = {"NVIDIA_A100_40GB": "NVIDIA_TESLA_A100", "NVIDIA_A100": "NVIDIA_TESLA_A100"}


def check_machine(report: Report) -> MachineType | None:
    """Check that the machine exists and carries these accelerators; None when it does not."""
    hardware, books = report.stack.hardware, catalog()
    try:
        machine = books.machine(hardware.machine_type)
    except UnknownMachine as error:
        report.refuse(
            UnknownMachine,
            "hardware.machine_type",
            hardware.machine_type,
            error.problem,
            choices=error.choices,
            remedy=error.remedy,
        )
        return None
    if hardware.accelerator_type not in machine.accelerator_types:
        _wrong_accelerator(report, machine)
        return None
    counts = machine.counts(hardware.accelerator_type)
    if hardware.accelerator_count not in counts:
        _wrong_count(report, machine, counts)
        return None
    if machine.note and not machine.machine_type.startswith("n1-"):
        report.warn(f"hardware.machine_type: {machine.machine_type}: {machine.note}.")
    least, low = _RACK.get(machine.machine_type, 1), report.stack.replicas.min_replica_count
    if low < least:
        text = f"{machine.machine_type} is sold by the rack: at least {least} replicas."
        report.refuse(
            ValueProblem, "replicas.min_replica_count", low, text, remedy=f"min_replica_count: {least}"
        )
    return machine


def _wrong_accelerator(report: Report, machine: MachineType) -> None:
    value, own, books = report.stack.hardware.accelerator_type, machine.accelerator_types, catalog()
    everywhere = [kind.accelerator_type for kind in books.accelerators()]
    remedy = f"accelerator_type: {own[0]}" if len(own) == 1 else f"accelerator_type: one of {', '.join(own)}"
    wanted = value
    if value in everywhere:
        text, choices = f"{machine.machine_type} has no such accelerator.", nearest(value, own)
    else:
        wanted = _OTHER_NAMES.get(value.upper()) or nearest(value, everywhere)[0]
        choices = (wanted, *(kind for kind in nearest(value, everywhere) if kind != wanted))
        text = f"Vertex AI knows no such accelerator; {machine.machine_type} has {', '.join(own)}."
    if wanted not in own:
        carriers = [m.machine_type for m in books.machines() if wanted in m.accelerator_types]
        remedy += f"; or, for {wanted}, machine_type: {', '.join(carriers[:3])}"
    report.refuse(HardwareMismatch, "hardware.accelerator_type", value, text, choices=choices, remedy=remedy)


def _wrong_count(report: Report, machine: MachineType, counts: tuple[int, ...]) -> None:
    kind, wanted = report.stack.hardware.accelerator_type, report.stack.hardware.accelerator_count
    numbers = tuple(str(count) for count in counts)
    words = f"has {numbers[0]}" if len(numbers) == 1 else f"takes {', '.join(numbers[:-1])} or {numbers[-1]}"
    remedy = f"accelerator_count: {min(counts, key=lambda count: abs(count - wanted))}"
    fitting = [m.machine_type for m in catalog().machines() if wanted in m.counts(kind)]
    if fitting:
        remedy += f"; or, for {wanted}, machine_type: {', '.join(fitting[:3])}"
    text = f"{machine.machine_type} {words} {kind}."
    report.refuse(
        HardwareMismatch, "hardware.accelerator_count", wanted, text, choices=numbers, remedy=remedy
    )


def check_region(report: Report) -> None:
    """Check that the region exists and serves the accelerator. The region is a setting, not a line of the file."""
    kind, region, books = report.stack.hardware.accelerator_type, report.region, catalog()
    if books.serves(region, kind):
        return
    if region in books.regions():
        text = f"online prediction in {region} has no {kind}."
        others = elsewhere(report.stack.hardware, region)
        choices = tuple(each.region for each in others)
        remedy = f"pulumi config set gcp:region {others[0].words}, the nearest"
        cheapest = min(others, key=lambda each: inf if each.usd_per_hour is None else each.usd_per_hour)
        if cheapest.usd_per_hour is not None and cheapest is not others[0]:
            remedy += f"; or {cheapest.words}, the cheapest"
    else:
        text = f"no region of this name has online prediction; the choices have {kind}."
        choices = nearest(region, books.regions_with(kind))
        remedy = f"pulumi config set gcp:region {choices[0]}"
    report.refuse(UnknownRegion, "gcp:region", region, text, choices=choices, remedy=remedy)


def check_compute_capability(report: Report, card: ModelCard, version: str | None) -> None:
    """Check what vLLM asks of the GPU's generation: 7.0 at all, 8.0 for bfloat16, and what the quantization needs.

    vLLM: ``Platform.check_if_supports_dtype``; from 0.9.0 ``dtype: auto`` falls back to float16 by itself, except for
    the families that vLLM 0.9.1 and later refuse in float16 (``_FLOAT16_NOT_SUPPORTED_MODELS``). The methods' needs are
    in ``infra/catalog/quantization.csv``, for the checkpoint's and for ``--quantization``.
    """
    hardware, vllm = report.stack.hardware, report.stack.vllm
    has = catalog().accelerator(hardware.accelerator_type).compute_capability
    shown = f"{hardware.accelerator_type} has compute capability {has[0]}.{has[1]}"
    key, value = "hardware.accelerator_type", hardware.accelerator_type
    if has < (7, 0):
        text = f"{shown}; vLLM needs 7.0."
        report.refuse(HardwareMismatch, key, value, text, remedy="accelerator_type: NVIDIA_TESLA_T4 or newer")
        return
    wanted = vllm.dtype if vllm.dtype != "auto" else card.weights.dtype
    unstable = card.architecture.name.startswith(NO_FLOAT16)
    falls_back = (
        vllm.dtype == "auto" and version is not None and version_key(version) >= (0, 9, 0) and not unstable
    )
    if wanted == "bfloat16" and has < (8, 0) and not falls_back:
        whose = "" if vllm.dtype != "auto" else f"is bfloat16 for {card.id}; "
        text = f"{whose}{shown}, bfloat16 needs 8.0."
        remedy = f"dtype: {'float32' if unstable else 'half'}"
        report.refuse(ValueProblem, "vllm.dtype", vllm.dtype, text, remedy=remedy)
    if vllm.dtype in ("half", "float16") and unstable and version and version_key(version) >= (0, 9, 1):
        text = f"vLLM {version} refuses float16 for {card.architecture.name}, which is numerically unstable in it."
        report.refuse(
            ValueProblem,
            "vllm.dtype",
            vllm.dtype,
            text,
            remedy="dtype: bfloat16, or float32 below compute capability 8.0",
        )
    _check_method(report, card, version, has, shown)


def _check_method(
    report: Report, card: ModelCard, version: str | None, has: tuple[int, int], shown: str
) -> None:
    """Check the quantization's compute capability: the checkpoint's own, or one that is applied in flight."""
    asked, own = passed(report.stack.vllm).get(QUANTIZATION), card.weights.quantization
    method = asked or own
    needed = catalog().quantization_capability(method, version) if method else None
    if method is None or needed is None or has >= needed:
        return
    key, value = "hardware.accelerator_type", report.stack.hardware.accelerator_type
    fitting = tuple(
        kind.accelerator_type for kind in catalog().accelerators() if kind.compute_capability >= needed
    )
    in_version = f" in vLLM {version}" if version else ""
    what = f"{card.id} is quantized as {own}" if own else f"{QUANTIZATION}={asked}"
    text = f"{what}; {shown}, it needs {needed[0]}.{needed[1]} or more{in_version}."
    least = min(fitting, key=lambda kind: catalog().accelerator(kind).compute_capability)
    report.refuse(HardwareMismatch, key, value, text, choices=fitting, remedy=f"accelerator_type: {least}")
