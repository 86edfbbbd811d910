"""Rules of a deployed model's resources: kinds, machine, replicas, autoscaling metrics, what may change in place."""

from __future__ import annotations

import copy
from typing import Any

from infra.local.cloud.aiplatform import machines, masks
from infra.local.cloud.aiplatform.container_spec import seconds
from infra.local.cloud.aiplatform.messages import Messages
from infra.local.cloud.aiplatform.names import Fault, Scope, found_errors
from infra.local.cloud.errors import GoogleError, invalid

Json = dict[str, Any]

#: Metrics that autoscaling may follow. Source: documentation of DedicatedResources.
METRICS = frozenset(
    {
        "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
        "aiplatform.googleapis.com/prediction/online/cpu/utilization",
        "aiplatform.googleapis.com/prediction/online/request_count",
        "pubsub.googleapis.com/subscription/num_undelivered_messages",
        "prometheus.googleapis.com/vertex_dcgm_fi_dev_gpu_util",
        "prometheus.googleapis.com/vertex_vllm_gpu_cache_usage_perc",
        "prometheus.googleapis.com/vertex_vllm_num_requests_waiting",
    }
)
_DUTY_CYCLE = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"
#: Metrics whose target is a percentage.
_PERCENT = frozenset({_DUTY_CYCLE, "aiplatform.googleapis.com/prediction/online/cpu/utilization"})
LOGGING_FIELDS = ("disableContainerLogging", "enableContainerLogging")
#: Paths of `mutateDeployedModel`'s mask (field comments of MutateDeployedModelRequest, both versions).
MUTABLE = (
    "dedicatedResources.minReplicaCount",
    "dedicatedResources.maxReplicaCount",
    "dedicatedResources.requiredReplicaCount",
    "dedicatedResources.initialReplicaCount",
    "dedicatedResources.autoscalingMetricSpecs",
    "dedicatedResources.scaleToZeroSpec",
    *LOGGING_FIELDS,
)
#: Longest run of flex-start machines, in seconds (seven days).
_MAX_FLEX_START = 604800.0


def check(deployed: Json, model: str, scope: Scope) -> Json:
    """The dedicated resources with defaults filled in.

    Args:
        deployed: canonical DeployedModel.
        model: the model's full name, for the error text.
        scope: project and region.

    Raises:
        GoogleError: INVALID_ARGUMENT for anything that can never be deployed there.
    """
    for kind, path in (
        ("automaticResources", "automatic_resources"),
        ("sharedResources", "shared_resources"),
    ):
        if kind in deployed:
            raise invalid(f"'{path}' is not supported for Model {model}.")
    if "dedicatedResources" not in deployed:
        raise found_errors([("deployed_model.dedicated_resources", "Required field is not set.")])
    resources: Json = copy.deepcopy(deployed["dedicatedResources"])
    spec = resources.setdefault("machineSpec", {})
    spec.setdefault("machineType", machines.DEFAULT_MACHINE)
    machines.check(spec, scope.location)
    low = int(resources.get("minReplicaCount", 0))
    resources.setdefault("maxReplicaCount", max(low, 1))
    faults = _replica_faults(resources) + _metric_faults(resources)
    if faults:
        raise found_errors([(f"deployed_model.dedicated_resources.{field}", text) for field, text in faults])
    return resources


def _replica_faults(resources: Json) -> list[Fault]:
    low, high = int(resources.get("minReplicaCount", 0)), int(resources["maxReplicaCount"])
    faults: list[Fault] = []
    to_zero = "scaleToZeroSpec" in resources
    if low < 1 and not to_zero:
        faults.append(
            ("min_replica_count", f"The value must be greater than or equal to 1, but it is {low}.")
        )
    if to_zero and low != 0:
        faults.append(
            ("scale_to_zero_spec", f"The value can only be set when min_replica_count is 0, but it is {low}.")
        )
    if high < low:
        faults.append(
            (
                "max_replica_count",
                f"The value must be greater than or equal to min_replica_count, but {high} is less than {low}.",
            )
        )
    initial = int(resources.get("initialReplicaCount", 0))
    if to_zero and not 1 <= initial <= high:
        faults.append(
            (
                "initial_replica_count",
                f"The value must be between 1 and max_replica_count ({high}), but it is {initial}.",
            )
        )
    if initial and not to_zero:
        faults.append(("initial_replica_count", "The value can only be set when min_replica_count is 0."))
    required = int(resources.get("requiredReplicaCount", 0))
    if required and not 1 <= required <= max(low, 1):
        faults.append(
            (
                "required_replica_count",
                f"The value must be between 1 and min_replica_count ({low}), but it is {required}.",
            )
        )
    for field in ("minScaleupPeriod", "idleScaledownPeriod"):
        period = resources.get("scaleToZeroSpec", {}).get(field)
        if period is not None and not 300 <= seconds(period) <= 28800:
            faults.append(
                ("scale_to_zero_spec", f"{field} must be between 300s and 28800s, but it is {period}.")
            )
    longest = resources.get("flexStart", {}).get("maxRuntimeDuration")
    if longest is not None and not 0 < seconds(longest) <= _MAX_FLEX_START:
        faults.append(
            ("flex_start.max_runtime_duration", f"The value must be at most 604800s, but it is {longest}.")
        )
    if resources.get("spot") and "flexStart" in resources:
        faults.append(("flex_start", "Only one of spot and flex_start can be set."))
    return faults


def _metric_faults(resources: Json) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    for index, metric in enumerate(resources.get("autoscalingMetricSpecs", [])):
        at = f"autoscaling_metric_specs[{index}]"
        name, target = metric.get("metricName", ""), int(metric.get("target", 0))
        if name not in METRICS:
            faults.append(
                (
                    f"{at}.metric_name",
                    f"Metric {name!r} is not supported. Supported metrics: {', '.join(sorted(METRICS))}.",
                )
            )
        if name in seen:
            faults.append(
                (f"{at}.metric_name", f"At most one entry is allowed per metric, but {name} is given twice.")
            )
        seen.add(name)
        if name == _DUTY_CYCLE and not resources["machineSpec"].get("acceleratorCount"):
            faults.append(
                (f"{at}.metric_name", "The accelerator duty cycle needs a machine with accelerators.")
            )
        if target < 0 or (name in _PERCENT and target > 100):
            faults.append(
                (f"{at}.target", f"The target must be between 1 and 100 percent, but it is {target}.")
            )
    return faults


def mutated(messages: Messages, current: Json, given: Json, mask: str) -> Json:
    """The deployed model after a mutation.

    Raises:
        GoogleError: INVALID_ARGUMENT for a path that cannot change in place.
    """
    paths = masks.paths(mask, messages.descriptor("DeployedModel"), "update_mask")
    wrong = [path for path in paths if path not in MUTABLE]
    if wrong:
        raise found_errors(
            [
                ("update_mask", f"Field {path!r} cannot be mutated. Mutable fields: {', '.join(MUTABLE)}.")
                for path in wrong
            ]
        )
    changed = copy.deepcopy(current)
    for path in paths:
        masks.write(changed, path, masks.read(given, path))
    return changed


def sends_logs(changed: Json, current: Json, mask: str) -> bool:
    """Whether the container's output goes to Cloud Logging after a mutation."""
    if "enableContainerLogging" in mask:
        return bool(changed.get("enableContainerLogging"))
    if "disableContainerLogging" in mask:
        return not changed.get("disableContainerLogging")
    return bool(current.get("_logging", True))


def stock_out(machine_type: str, accelerator_type: str) -> GoogleError:
    """The operation's error when a region has no such machine left."""
    accelerator = (
        f' Accelerator type: "{accelerator_type.lower().replace("_", "-")}".' if accelerator_type else ""
    )
    return GoogleError(
        "UNAVAILABLE", f'Machine type temporarily unavailable. Machine type: "{machine_type}".{accelerator}'
    )
