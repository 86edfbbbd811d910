"""Tensor and pipeline parallel sizes: that they use every GPU, and that the model can be split so."""

from __future__ import annotations

from infra.cards import ModelCard
from infra.recipes.arguments import DATA_PARALLEL, ENCODER_PARALLEL, EXPERT_PARALLEL, passed
from infra.recipes.catalog import catalog
from infra.recipes.checks.report import Report
from infra.recipes.errors import HardwareMismatch, ValueProblem
from infra.recipes.parallel import Split, Splitter

__all__ = ["check_parallel"]

_TENSOR, _PIPELINE, _COUNT = (
    "vllm.tensor_parallel_size",
    "vllm.pipeline_parallel_size",
    "hardware.accelerator_count",
)


def check_parallel(report: Report, card: ModelCard, version: str | None) -> Split | None:
    """Derive the sizes that the file leaves out, and check them.

    Args:
        report: the stack file; takes the problems.
        card: the model.
        version: the image's vLLM version; None when it is not known (only what every version refuses is checked).

    Returns:
        The sizes; None when there is none that works, for which the report then has a problem.
    """
    vllm, gpus = report.stack.vllm, report.stack.hardware.accelerator_count
    given = passed(report.stack.vllm)
    copies = given.get(DATA_PARALLEL)
    replicas = int(copies) if copies is not None and copies.isdecimal() and int(copies) else 1
    if gpus % replicas:
        text = f"{DATA_PARALLEL}={replicas} copies of the model cannot share {gpus} GPUs evenly."
        report.refuse(
            ValueProblem, "vllm.extra_args", list(vllm.extra_args), text, remedy="delete the argument"
        )
        return None
    architecture = catalog().architecture(card.architecture.name, version) if version else None
    splitter = Splitter(
        card,
        architecture,
        whole_experts=EXPERT_PARALLEL in given,
        whole_encoder=given.get(ENCODER_PARALLEL) == "data",
    )
    each = gpus // replicas
    split = splitter.split(each, vllm.tensor_parallel_size, vllm.pipeline_parallel_size)
    if split.gpus != each:
        _refuse_product(report, splitter, split, each)
        return None
    problems = [*splitter.tensor_problems(split.tensor), *splitter.pipeline_problems(split.pipeline)]
    if not problems:
        return split
    _refuse(report, splitter, split, problems[0])
    return None


def _refuse_product(report: Report, splitter: Splitter, split: Split, gpus: int) -> None:
    vllm = report.stack.vllm
    key = _TENSOR if vllm.tensor_parallel_size is not None else _PIPELINE
    value = vllm.tensor_parallel_size if key == _TENSOR else vllm.pipeline_parallel_size
    if vllm.tensor_parallel_size is not None and vllm.pipeline_parallel_size is not None:
        product = f"{split.tensor} x {split.pipeline} = {split.gpus}"
        text = f"tensor_parallel_size x pipeline_parallel_size, {product}, is not the"
    else:
        text = "does not divide the"
    text += f" {gpus} GPUs of {report.stack.hardware.machine_type}."
    fitting = next(splitter.allowed(gpus), Split(gpus, 1))
    remedy = f"tensor_parallel_size: {fitting.tensor}"
    if fitting.pipeline > 1:
        remedy += f" and pipeline_parallel_size: {fitting.pipeline}"
    report.refuse(ValueProblem, key, value, text, remedy=remedy)


def _refuse(report: Report, splitter: Splitter, split: Split, problem: str) -> None:
    vllm, gpus = report.stack.vllm, split.gpus
    fitting = tuple(splitter.allowed(gpus))
    choices = tuple(f"{found.tensor} x {found.pipeline}" for found in fitting)
    if fitting and (vllm.tensor_parallel_size or vllm.pipeline_parallel_size):
        wrong = _TENSOR if any(splitter.tensor_problems(split.tensor)) else _PIPELINE
        key = wrong if report.stack.has_line(wrong) or not report.stack.has_line(_TENSOR) else _TENSOR
        name = key.rpartition(".")[2]
        size = fitting[0].tensor if key == _TENSOR else fitting[0].pipeline
        other = _PIPELINE if key == _TENSOR else _TENSOR
        remedy = f"{name}: {size}"
        if report.stack.has_line(other):
            least = fitting[0].pipeline if key == _TENSOR else fitting[0].tensor
            remedy += f" and {other.rpartition('.')[2]}: {least}"
        value = split.tensor if key == _TENSOR else split.pipeline
        report.refuse(ValueProblem, key, value, problem, choices=choices, remedy=remedy)
        return
    counts = tuple(str(count) for count in (1, 2, 4, 8, 16) if any(splitter.allowed(count)))
    remedy = f"a machine with {' or '.join(counts)} GPUs" if counts else "another model"
    report.refuse(
        HardwareMismatch,
        _COUNT,
        report.stack.hardware.accelerator_count,
        problem,
        choices=counts,
        remedy=remedy,
    )
