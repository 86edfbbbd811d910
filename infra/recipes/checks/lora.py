"""LoRA: whether the model and the options take adapters, and each adapter that the stack file names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from infra.cards import ModelCard
from infra.cards.adapter import Adapter, AdapterError, read_adapter
from infra.recipes.adapters import (
    StagedAdapter,
    is_local,
    is_repository,
    lora_ranks,
    max_lora_rank,
    objections,
    objections_to_tensors,
)
from infra.recipes.arguments import LORA_BIAS, MAX_LORA_RANK, passed
from infra.recipes.catalog import catalog
from infra.recipes.checks.report import Report
from infra.recipes.errors import FlagError, ValueProblem
from infra.recipes.stackfile import is_gcs_uri
from infra.versions import version_key

__all__ = ["check_lora"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_lora(
    report: Report, card: ModelCard | None, version: str | None, folder: Path
) -> tuple[StagedAdapter, ...]:
    """Check LoRA: a text model that vLLM can adapt, room in host memory for every adapter of a batch, the adapters.

    vLLM: a model's class without ``SupportsLoRA`` is refused when it is loaded. Google's guide has no LoRA for models
    that read images.

    Args:
        report: the stack file; takes the problems and warnings.
        card: the model, when it is known.
        version: the image's vLLM version; None when it is not known.
        folder: the stack file's, where adapters are looked for.

    Returns:
        The adapters to upload.
    """
    vllm = report.stack.vllm
    if vllm.enable_lora and card is not None:
        name = card.architecture.name
        run = catalog().architecture(name, version) if version else None
        text = ""
        if card.multimodal:
            text = _reads_images(card)
        elif run is not None and not run.lora:
            text = f"vLLM {version} takes no LoRA adapters for {name}, the architecture of {card.id}."
        if text:
            report.refuse(ValueProblem, "vllm.enable_lora", True, text, remedy="enable_lora: false")
    if vllm.max_loras > vllm.max_cpu_loras:
        text = f"is more than max_cpu_loras ({vllm.max_cpu_loras}), where all adapters are kept."
        remedy = f"max_cpu_loras: {vllm.max_loras}"
        report.refuse(ValueProblem, "vllm.max_loras", vllm.max_loras, text, remedy=remedy)
    _check_rank(report, version)
    return _check_adapters(report, card, version, folder)


def _reads_images(card: ModelCard) -> str:
    return f"{card.id} reads {' and '.join(card.modalities)}; dynamic LoRA works for text models only."


def _check_rank(report: Report, version: str | None) -> None:
    """Refuse a rank that vLLM refuses at the start (``LoRAConfig``); from 0.12.0 on the flag has the choices."""
    extra, rank, ranks = report.stack.vllm.extra_args, max_lora_rank(report.stack.vllm), lora_ranks(version)
    if (
        not report.stack.vllm.enable_lora
        or version is None
        or version_key(version) >= (0, 12)
        or rank in ranks
    ):
        return
    index = next(
        (i for i, each in enumerate(extra) if each.replace("_", "-").startswith(f"{MAX_LORA_RANK}=")), 0
    )
    near = next((each for each in ranks if each >= rank), ranks[-1])
    text = f"vLLM {version} takes one of {', '.join(map(str, ranks))}."
    key, remedy = f"vllm.extra_args[{index}]", f'- "{MAX_LORA_RANK}={near}"'
    report.refuse(FlagError, key, extra[index], text, remedy=remedy)


def _check_adapters(
    report: Report, card: ModelCard | None, version: str | None, folder: Path
) -> tuple[StagedAdapter, ...]:
    """Check the named adapters: that the container takes any, that each can be fetched, and what each is."""
    adapters, vllm = report.stack.lora, report.stack.vllm
    if not adapters:
        return ()
    names = ", ".join(adapters)
    if card is not None and card.multimodal:
        report.refuse(ValueProblem, "lora", names, _reads_images(card), remedy="delete the section")
        return ()
    if not vllm.enable_lora:
        text = "adapters, and vllm.enable_lora is false: every request that names one would be refused."
        report.refuse(ValueProblem, "lora", names, text, remedy="below `vllm:` add enable_lora: true")
    if len(adapters) > vllm.max_cpu_loras:
        report.warn(
            f"lora: {len(adapters)} adapters, and vllm.max_cpu_loras is {vllm.max_cpu_loras}: where all are used, each"
            f" is fetched again and again. max_cpu_loras: {len(adapters)}"
        )
    staged = []
    for name, place in adapters.items():
        if is_local(place):
            found = _check_local(report, name, place, card, version, folder)
            staged += [found] if found is not None else []
        else:
            _check_place(report, name, place, folder)
    return tuple(staged)


def _check_place(report: Report, name: str, place: str, folder: Path) -> None:
    """Check that a place is one that the container can fetch an adapter from."""
    prefix = place.removeprefix("gs://").rstrip("/")
    if place.startswith("gs://"):
        right = is_gcs_uri(place) and "/" in prefix
    else:
        right = is_repository(place)
        if right and (folder / place).is_dir():
            report.warn(
                f"lora.{name}: {place} is taken for a Hugging Face id, and there is a folder of that name: for the"
                f" folder write {name}: ./{place}"
            )
    if right:
        return
    text = (
        "is no ./folder beside the stack file, no gs://bucket/prefix where adapter_config.json lies, and no Hugging"
        " Face id."
    )
    bare = place.strip("/") if re.fullmatch(r"[\w./ -]+", place) else ""
    remedy = (
        f"{name}: ./{bare}"
        if bare and (folder / bare).is_dir()
        else f"{name}: gs://my-bucket/adapters/{name}"
    )
    report.refuse(ValueProblem, f"lora.{name}", place, text, remedy=remedy)


def _check_local(
    report: Report, name: str, place: str, card: ModelCard | None, version: str | None, folder: Path
) -> StagedAdapter | None:
    """Check an adapter that is to be uploaded; None where it cannot be."""
    key, path = f"lora.{name}", folder / place
    if not _NAME.fullmatch(name):
        text = f"{name!r} becomes a part of the objects' names: at most 63 letters, digits, dots, dashes, underscores."
        report.refuse(ValueProblem, key, place, text, remedy=f"sql: {place}")
        return None
    try:
        adapter = read_adapter(path)
    except AdapterError as error:
        report.refuse(ValueProblem, key, place, error.problem, remedy=error.remedy)
        return None
    for text, remedy, fatal in _found(report, adapter, card, version):
        if fatal:
            report.refuse(ValueProblem, key, place, text, remedy=remedy)
        else:
            report.warn(f"{key}: {text} {remedy[:1].upper()}{remedy[1:]}.")
    return StagedAdapter(
        name, path, adapter.files, sum((path / each).stat().st_size for each in adapter.files)
    )


def _found(
    report: Report, adapter: Adapter, card: ModelCard | None, version: str | None
) -> list[tuple[str, str, bool]]:
    """What speaks against an adapter: text, remedy, whether vLLM would refuse it. The same is said once."""
    if card is None:
        return []
    vllm = report.stack.vllm
    rank, biases = max_lora_rank(vllm), LORA_BIAS in passed(vllm)
    found = objections(adapter.config, card, max_rank=rank, version=version, biases=biases)
    if not any(each.fatal for each in found):
        found += objections_to_tensors(adapter.tensors, card, max_rank=rank, version=version, biases=biases)
    return [(each.text, each.remedy, each.fatal) for each in found]
