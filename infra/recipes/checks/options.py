"""Weights, replicas and vLLM's options against the model and the machine."""

from __future__ import annotations

from typing import Final

from infra.cards import ModelCard
from infra.metrics import METRICS
from infra.recipes.arguments import LONGER_CONTEXT, MAX_BATCHED_TOKENS, SWAP_SPACE, chat_template_names
from infra.recipes.catalog import MachineType
from infra.recipes.checks.report import Report
from infra.recipes.errors import HardwareMismatch, ValueProblem, nearest
from infra.recipes.flags import FlagTable
from infra.recipes.stackfile import StackFile, is_gcs_uri
from infra.versions import version_key

__all__ = [
    "check_chat_template",
    "check_host_memory",
    "check_lengths",
    "check_lora",
    "check_replicas",
    "check_split",
    "check_weights",
]

_MAX_REPLICAS: Final = 200  # docs quotas#serving: replicas of a project and region
_SWAP_SHARE: Final = 0.7  # vllm CacheConfig.verify_with_parallel_config: more of the host memory is refused


def check_weights(report: Report, card: ModelCard | None) -> None:
    """Check where the weights come from, and whether the repository's code must be trusted."""
    weights, vllm = report.stack.weights, report.stack.vllm
    if weights != "huggingface" and not is_gcs_uri(weights):
        text = "is neither huggingface nor gs://bucket/prefix."
        remedy = "weights: huggingface, or copy the files to a bucket and name it: gs://bucket/prefix"
        if weights.startswith("gs://"):
            text = "names no possible bucket: 3 or more of a-z, 0-9, dots, dashes and underscores."
            remedy = "weights: gs://my-bucket/llama-3.1-8b"
        report.refuse(ValueProblem, "weights", weights, text, remedy=remedy)
    if card is not None and card.needs_remote_code and not vllm.trust_remote_code:
        text = f"{card.id} runs Python code of its repository, which vLLM refuses unless it is trusted."
        key, value = "vllm.trust_remote_code", vllm.trust_remote_code
        report.refuse(ValueProblem, key, value, text, remedy="trust_remote_code: true")


def check_replicas(report: Report) -> None:
    """Check replica counts and autoscaling metrics."""
    replicas = report.stack.replicas
    low, high = replicas.min_replica_count, replicas.max_replica_count
    if low > high:
        text = f"is more than max_replica_count ({high})."
        report.refuse(
            ValueProblem, "replicas.min_replica_count", low, text, remedy=f"max_replica_count: {low}"
        )
    if high > _MAX_REPLICAS:
        text = f"Vertex AI allows at most {_MAX_REPLICAS} replicas in a project and region."
        key, remedy = "replicas.max_replica_count", f"max_replica_count: {_MAX_REPLICAS}"
        report.refuse(ValueProblem, key, high, text, remedy=remedy)
    seen: dict[str, int] = {}
    for index, metric in enumerate(replicas.autoscaling):
        key, name = f"replicas.autoscaling[{index}]", metric.metric_name
        if name not in METRICS:
            choices = nearest(name, METRICS)
            text, remedy = "Vertex AI cannot scale on such a metric.", f"metric_name: {choices[0]}"
            report.refuse(ValueProblem, f"{key}.metric_name", name, text, choices=choices, remedy=remedy)
            continue
        if name in seen:
            text = f"the metric is there twice (also autoscaling[{seen[name]}])."
            report.refuse(ValueProblem, f"{key}.metric_name", name, text, remedy="delete one of them")
        seen[name] = index
        if METRICS[name] and metric.target > 100:
            text = "is a percentage: at most 100."
            report.refuse(ValueProblem, f"{key}.target", metric.target, text, remedy="target: 60")
        if "vertex_vllm_" in name and report.stack.vllm.disable_log_stats:
            text = "needs vLLM's statistics, which vllm.disable_log_stats turns off."
            report.refuse(ValueProblem, f"{key}.metric_name", name, text, remedy="disable_log_stats: false")
    if seen and low == high:
        report.warn(f"replicas.autoscaling: nothing scales while min and max are both {low}.")


def check_chat_template(report: Report, card: ModelCard | None) -> None:
    """Check the template's name or path; warn of a model that cannot chat."""
    key, template, shipped = "vllm.chat_template", report.stack.vllm.chat_template, chat_template_names()
    if template is None:
        if card is not None and not card.chat_template:
            report.warn(
                f"model: {card.id} has no chat template, so chat completions answer 400; the default predict route"
                f" works. For chat set vllm.chat_template: {' or '.join(shipped)}, or use an Instruct model."
            )
    elif template.startswith("gs://"):
        if is_gcs_uri(template):
            report.warn(f"{key}: only Google's own images may read gs:// paths; vLLM itself cannot.")
        else:
            text = "is not gs://bucket/object."
            report.refuse(
                ValueProblem, key, template, text, choices=shipped, remedy=f"chat_template: {shipped[0]}"
            )
    elif template not in shipped and not (template.startswith("/") and template.isprintable()):
        choices = nearest(template, shipped)
        text = "is no shipped template, and no absolute path in the container."
        report.refuse(
            ValueProblem, key, template, text, choices=choices, remedy=f"chat_template: {choices[0]}"
        )


def check_lora(report: Report, card: ModelCard | None) -> None:
    """Check LoRA: text models only, and room in host memory for every adapter of a batch."""
    vllm = report.stack.vllm
    if vllm.enable_lora and card is not None and card.multimodal:
        text = f"{card.id} reads {' and '.join(card.modalities)}; dynamic LoRA works for text models only."
        report.refuse(ValueProblem, "vllm.enable_lora", True, text, remedy="enable_lora: false")
    if vllm.max_loras > vllm.max_cpu_loras:
        text = f"is more than max_cpu_loras ({vllm.max_cpu_loras}), where all adapters are kept."
        remedy = f"max_cpu_loras: {vllm.max_loras}"
        report.refuse(ValueProblem, "vllm.max_loras", vllm.max_loras, text, remedy=remedy)


def _passes(stack: StackFile, flags: frozenset[str]) -> bool:
    return any(arg.partition("=")[0].replace("_", "-") in flags for arg in stack.vllm.extra_args)


def check_lengths(report: Report, card: ModelCard, version: str | None) -> None:
    """Check context length against the model, and requests against the batch that vLLM before 0.8 makes."""
    vllm, positions = report.stack.vllm, card.architecture.max_position_embeddings
    if vllm.max_model_len > positions and not _passes(report.stack, LONGER_CONTEXT):
        text = f"{card.id} has {positions} positions; vLLM refuses a longer context."
        remedy = f"max_model_len: {positions} or less"
        report.refuse(ValueProblem, "vllm.max_model_len", vllm.max_model_len, text, remedy=remedy)
    if version is None or version_key(version) >= (0, 8):
        return
    most = max(vllm.max_model_len, 2048)
    if vllm.max_num_seqs > most and not _passes(report.stack, frozenset({MAX_BATCHED_TOKENS})):
        text = (
            f"vLLM {version} batches {most} tokens, the larger of 2048 and max_model_len, so fewer requests."
        )
        remedy = f"max_num_seqs: {most} or less"
        report.refuse(ValueProblem, "vllm.max_num_seqs", vllm.max_num_seqs, text, remedy=remedy)


def check_split(report: Report, card: ModelCard) -> None:
    """Check that tensor parallelism over all GPUs divides the attention heads."""
    heads, gpus = card.architecture.num_attention_heads, report.stack.hardware.accelerator_count
    if heads % gpus == 0:
        return
    counts = tuple(str(n) for n in (1, 2, 4, 8, 16) if heads % n == 0)
    text = f"the {heads} attention heads of {card.id} cannot be split over {gpus} GPUs."
    remedy = f"a machine with {' or '.join(counts)} GPUs"
    key = "hardware.accelerator_count"
    report.refuse(HardwareMismatch, key, gpus, text, choices=counts, remedy=remedy)


def check_host_memory(
    report: Report, machine: MachineType, flags: FlagTable | None, version: str | None
) -> None:
    """Check shared memory and swap space against the machine's memory."""
    vllm, gpus = report.stack.vllm, report.stack.hardware.accelerator_count
    memory_mib, shared = int(machine.memory_gib * 1024), report.stack.container.shared_memory_size_mb
    if shared > memory_mib:
        text = f"{machine.machine_type} has {memory_mib} MiB of memory in all."
        key, remedy = "container.shared_memory_size_mb", f"shared_memory_size_mb: {memory_mib // 2} or less"
        report.refuse(ValueProblem, key, shared, text, remedy=remedy)
    has_swap = flags is None or SWAP_SPACE in flags
    if not has_swap:
        if "swap_space" in vllm.model_fields_set and vllm.swap_space:
            text = f"vLLM {version} has no swap space any more."
            report.refuse(ValueProblem, "vllm.swap_space", vllm.swap_space, text, remedy="delete the line")
    elif vllm.swap_space * gpus > _SWAP_SHARE * machine.memory_gib:
        text = (
            f"{vllm.swap_space} GiB a GPU, {vllm.swap_space * gpus} GiB in all, is more than 70 % of the"
            f" {machine.memory_gib:g} GiB of {machine.machine_type}; vLLM refuses to start."
        )
        remedy = f"swap_space: {int(_SWAP_SHARE * machine.memory_gib / gpus)} or less"
        report.refuse(ValueProblem, "vllm.swap_space", vllm.swap_space, text, remedy=remedy)
