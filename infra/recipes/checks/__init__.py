"""The cross-checks of a stack file: model, machine, region, image and options against each other and the catalogue.

Each check states what vLLM or Vertex AI would refuse after the machine is paid for, with the numbers that decide it.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.cards import ModelCard
from infra.recipes.arguments import MODEL_TYPE
from infra.recipes.catalog import MachineType, catalog
from infra.recipes.checks.extra_args import check_extra_args
from infra.recipes.checks.fork_flags import check_fork_flag
from infra.recipes.checks.hardware import check_compute_capability, check_machine, check_region
from infra.recipes.checks.image import check_image
from infra.recipes.checks.options import (
    check_chat_template,
    check_host_memory,
    check_lengths,
    check_lora,
    check_replicas,
    check_split,
    check_weights,
)
from infra.recipes.checks.report import Report
from infra.recipes.errors import UnknownModel
from infra.recipes.flags import FlagTable

__all__ = ["Checked", "Report", "check"]


@dataclass(frozen=True)
class Checked:
    """What the checks looked up on their way. ``flags`` is None where the image's vLLM version is not known."""

    card: ModelCard
    machine: MachineType
    flags: FlagTable | None
    vllm_version: str | None


def check(report: Report) -> Checked | None:
    """Run all checks.

    Returns:
        What was looked up; None when the model or the hardware is unknown, for which the report then has a problem.
    """
    books = catalog()
    card = _model(report)
    machine = check_machine(report)
    if machine is not None:
        check_region(report)
    image = check_image(report)
    version = image.vllm_version if image else None
    flags = books.flags(version) if version else None
    check_weights(report, card)
    check_replicas(report)
    check_chat_template(report, card)
    check_lora(report, card)
    check_extra_args(report, card, flags, image)
    if report.stack.vllm.model_type:
        check_fork_flag(report, "vllm.model_type", MODEL_TYPE, report.stack.vllm.model_type, image)
    if card is None or machine is None:
        return None
    check_lengths(report, card, version)
    check_split(report, card)
    check_compute_capability(report, card)
    check_host_memory(report, machine, flags, version)
    return Checked(card, machine, flags, version)


def _model(report: Report) -> ModelCard | None:
    model = report.stack.model
    try:
        return catalog().model(model)
    except UnknownModel as error:
        remedy = f"{error.remedy}; a new model needs a card, infra/catalog/models/<org>/<repo>.yaml"
        report.refuse(UnknownModel, "model", model, error.problem, choices=error.choices, remedy=remedy)
        return None
