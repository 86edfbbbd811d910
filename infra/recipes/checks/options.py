"""Weights, replicas and vLLM's options against the model and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.cards import ModelCard
from infra.metrics import METRICS
from infra.recipes.arguments import SWAP_SPACE
from infra.recipes.catalog import MachineType
from infra.recipes.checks.report import Report
from infra.recipes.errors import ValueProblem, nearest
from infra.recipes.flags import FlagTable
from infra.recipes.stackfile import is_gcs_uri
from infra.versions import version_key

__all__ = [
    "HostMemory",
    "check_host_memory",
    "check_replicas",
    "check_rollout",
    "check_weights",
]

_MAX_REPLICAS: Final = 200  # docs quotas#serving: replicas of a project and region
_OLD_GAUGE: Final = "vllm_gpu_cache_usage_perc"
# vllm CacheConfig.verify_with_parallel_config of 0.6.2: more of the host memory is refused; more than 0.4 is warned of.
_SWAP_SHARE: Final = 0.7
_SWAP_SHARE_QUIET: Final = 0.4


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


def check_replicas(report: Report, version: str | None) -> None:
    """Check replica counts and autoscaling metrics.

    vLLM: the gauge behind Vertex AI's metric of the KV cache became ``vllm:kv_cache_usage_perc`` in 0.9.2, and is gone
    under its old name from 0.12.0 (``vllm/v1/metrics/loggers.py``).
    """
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
        elif name.endswith(_OLD_GAUGE) and version is not None and version_key(version) >= (0, 12):
            text = f"vLLM {version} does not report it any more, so nothing would ever scale; 0.12.0 dropped the gauge."
            remedy = f"metric_name: {name.replace(_OLD_GAUGE, 'vllm_num_requests_waiting')} (a count, not a percentage)"
            report.refuse(ValueProblem, f"{key}.metric_name", name, text, remedy=remedy)
    if seen and low == high:
        report.warn(f"replicas.autoscaling: nothing scales while min and max are both {low}.")


def check_rollout(report: Report) -> None:
    """Check the steps of a rollout, and that no option is left without its effect."""
    stack = report.stack
    rollout = stack.rollout
    shown = list(rollout.steps)
    ascending = sorted(set(shown))
    if shown != ascending:
        remedy = f"steps: {ascending}"
        report.refuse(ValueProblem, "rollout.steps", shown, "must be ascending percents.", remedy=remedy)
    if rollout.steps and rollout.strategy == "recreate":
        text = "have no effect with strategy recreate: the old one is gone before the new one serves."
        report.refuse(
            ValueProblem, "rollout.steps", shown, text, remedy="delete the line, or write strategy: surge"
        )
    for name in ("bake_seconds", "max_error_percent"):
        if not rollout.steps and stack.wrote("rollout", name):
            report.refuse(
                ValueProblem,
                f"rollout.{name}",
                getattr(rollout, name),
                "has no effect without steps.",
                remedy=f"delete the line, or add steps: [10, 50] beside {name}",
            )


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What the container takes of the machine's memory.

    ``swap_space`` is in GiB a GPU, ``shared_memory_size_mb`` in MiB. ``notes`` say where they are smaller than the
    defaults because the machine has too little.
    """

    swap_space: int
    shared_memory_size_mb: int
    notes: tuple[str, ...] = ()


def check_host_memory(
    report: Report, machine: MachineType, flags: FlagTable | None, version: str | None
) -> HostMemory:
    """Check shared memory and swap space against the machine's memory; every GPU's worker has its own swap space.

    A value that the stack file has is refused where the machine is too small for it; a default becomes one that it
    allows: half of the memory to share, and as much swap space as vLLM takes without a warning.
    """
    vllm, gpus = report.stack.vllm, report.stack.hardware.accelerator_count
    memory_mib, shared = int(machine.memory_gib * 1024), report.stack.container.shared_memory_size_mb
    swap, smaller = vllm.swap_space, []
    if shared > memory_mib and not report.stack.wrote("container", "shared_memory_size_mb"):
        smaller.append(f"container.shared_memory_size_mb: {memory_mib // 2} (not {shared})")
        shared = memory_mib // 2
    if shared > memory_mib:
        text = f"{machine.machine_type} has {memory_mib} MiB of memory in all."
        key, remedy = "container.shared_memory_size_mb", f"shared_memory_size_mb: {memory_mib // 2} or less"
        report.refuse(ValueProblem, key, shared, text, remedy=remedy)
    has_swap = flags is None or SWAP_SPACE in flags
    if not has_swap:
        if report.stack.wrote("vllm", "swap_space") and vllm.swap_space:
            text = f"vLLM {version} has no swap space any more."
            report.refuse(ValueProblem, "vllm.swap_space", vllm.swap_space, text, remedy="delete the line")
    elif swap * gpus > _SWAP_SHARE * machine.memory_gib and not report.stack.wrote("vllm", "swap_space"):
        swap = int(_SWAP_SHARE_QUIET * machine.memory_gib / gpus)
        smaller.append(f"vllm.swap_space: {swap} (not {vllm.swap_space})")
    elif swap * gpus > _SWAP_SHARE * machine.memory_gib:
        text = (
            f"{vllm.swap_space} GiB a GPU, {vllm.swap_space * gpus} GiB in all, is more than 70 % of the"
            f" {machine.memory_gib:g} GiB of {machine.machine_type}; vLLM refuses to start."
        )
        remedy = f"swap_space: {int(_SWAP_SHARE * machine.memory_gib / gpus)} or less"
        report.refuse(ValueProblem, "vllm.swap_space", vllm.swap_space, text, remedy=remedy)
    notes = (
        (
            f"defaults that follow from the {machine.memory_gib:g} GiB of memory of {machine.machine_type}:"
            f" {', '.join(smaller)}.",
        )
        if smaller
        else ()
    )
    return HostMemory(swap, shared, notes)
