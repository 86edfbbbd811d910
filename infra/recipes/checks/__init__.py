"""The cross-checks of a stack file: model, machine, region, image and options against each other and the catalogue.

Each check states what vLLM or Vertex AI would refuse after the machine is paid for, with the numbers that decide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.cards import ModelCard
from infra.recipes.adapters import StagedAdapter
from infra.recipes.arguments import MODEL_TYPE
from infra.recipes.catalog import MachineType, catalog
from infra.recipes.checks.engine import check_batch, check_engine, check_lengths
from infra.recipes.checks.extra_args import check_extra_args
from infra.recipes.checks.fork_flags import check_fork_flag
from infra.recipes.checks.hardware import check_compute_capability, check_machine, check_region
from infra.recipes.checks.image import check_image, check_model_in_image
from infra.recipes.checks.lora import check_lora
from infra.recipes.checks.options import (
    HostMemory,
    check_host_memory,
    check_replicas,
    check_rollout,
    check_weights,
)
from infra.recipes.checks.parallel import check_parallel
from infra.recipes.checks.report import Report
from infra.recipes.checks.templates import check_chat_template
from infra.recipes.checks.tools import check_tools
from infra.recipes.errors import UnknownModel
from infra.recipes.flags import FlagTable
from infra.recipes.parallel import Split

__all__ = ["Checked", "Report", "check"]


@dataclass(frozen=True)
class Checked:
    """What the checks looked up on their way.

    ``flags`` and ``vllm_version`` are None where the image's version is not known. ``chat_template`` is the value of
    its argument, None for none; ``tool_call_parser`` likewise. ``host_memory`` is what the container takes of the
    machine's. ``adapters`` are to be uploaded.
    """

    card: ModelCard
    machine: MachineType
    split: Split
    flags: FlagTable | None
    vllm_version: str | None
    chat_template: str | None
    tool_call_parser: str | None
    host_memory: HostMemory
    adapters: tuple[StagedAdapter, ...]


def check(report: Report, *, folder: Path) -> Checked | None:
    """Run all checks.

    Args:
        report: the stack file; takes the problems and warnings.
        folder: the stack file's, where it may name other files.

    Returns:
        What was looked up; None when something that decides the rest is wrong, for which the report then has a problem.
    """
    books = catalog()
    card = _model(report)
    machine = check_machine(report)
    if machine is not None:
        check_region(report)
    image = check_image(report, card)
    version = image.vllm_version if image else report.stack.container.vllm_version
    flags = books.flags(version) if version else None
    check_weights(report, card)
    check_replicas(report, version)
    check_rollout(report)
    template = check_chat_template(report, card, version, folder)
    parser = check_tools(report, card, flags, image, version)
    adapters = check_lora(report, card, version, folder)
    check_extra_args(report, card, flags, image, version)
    if report.stack.vllm.model_type:
        check_fork_flag(report, "vllm.model_type", MODEL_TYPE, report.stack.vllm.model_type, image)
    if card is None or machine is None:
        return None
    check_model_in_image(report, card, image)
    check_lengths(report, card, version)
    check_batch(report, card, version)
    check_engine(report, card, version)
    check_compute_capability(report, card, version)
    split = check_parallel(report, card, version)
    if split is None:
        return None
    host_memory = check_host_memory(report, machine, flags, version)
    return Checked(card, machine, split, flags, version, template, parser, host_memory, adapters)


def _model(report: Report) -> ModelCard | None:
    model = report.stack.model
    try:
        return catalog().model(model)
    except UnknownModel as error:
        remedy = f"{error.remedy}; a new model needs a card, infra/catalog/models/<org>/<repo>.yaml"
        report.refuse(UnknownModel, "model", model, error.problem, choices=error.choices, remedy=remedy)
        return None
