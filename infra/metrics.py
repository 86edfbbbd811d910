"""The metrics that a deployment can scale on, under Vertex AI's names. Pure and light, for stack files and provider.

Source: Google's page on autoscaling of prediction nodes and the reference of DedicatedResources; those that version v1
of the API takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CPU_UTILIZATION", "DUTY_CYCLE", "METRICS"]

DUTY_CYCLE: Final = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"
CPU_UTILIZATION: Final = "aiplatform.googleapis.com/prediction/online/cpu/utilization"

METRICS: Final[Mapping[str, bool]] = {
    # name -> whether its target is a percentage
    DUTY_CYCLE: True,
    CPU_UTILIZATION: True,
    "aiplatform.googleapis.com/prediction/online/request_count": False,
    "prometheus.googleapis.com/vertex_dcgm_fi_dev_gpu_util": True,
    "prometheus.googleapis.com/vertex_vllm_gpu_cache_usage_perc": True,
    "prometheus.googleapis.com/vertex_vllm_num_requests_waiting": False,
}
