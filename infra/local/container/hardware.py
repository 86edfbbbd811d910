"""The GPU under a container, for the memory arithmetic."""

from __future__ import annotations

from typing import Final

from infra.fit import Gpu
from infra.local.container.contract import ContainerRequest
from infra.recipes.catalog import catalog

# torch's total over the advertised memory, the lowest seen (T4: 14.56 of 16): for GPUs without a published value.
_USABLE: Final = 0.91
# Streaming multiprocessors: NVIDIA's data sheets.
_MULTIPROCESSORS: Final = {
    "NVIDIA_L4": 58,
    "NVIDIA_TESLA_T4": 40,
    "NVIDIA_TESLA_V100": 80,
    "NVIDIA_TESLA_P100": 56,
    "NVIDIA_TESLA_P4": 20,
    "NVIDIA_TESLA_A100": 108,
    "NVIDIA_A100_80GB": 108,
    "NVIDIA_H100_80GB": 132,
    "NVIDIA_H100_MEGA_80GB": 132,
    "NVIDIA_H200_141GB": 132,
    "NVIDIA_B200": 148,
    "NVIDIA_GB200": 148,
    "NVIDIA_RTX_PRO_6000": 188,
}
# Names as torch prints them.
DEVICE_NAMES: Final = {
    "NVIDIA_L4": "NVIDIA L4",
    "NVIDIA_TESLA_T4": "Tesla T4",
    "NVIDIA_TESLA_V100": "Tesla V100-SXM2-16GB",
    "NVIDIA_TESLA_P100": "Tesla P100-PCIE-16GB",
    "NVIDIA_TESLA_P4": "Tesla P4",
    "NVIDIA_TESLA_A100": "NVIDIA A100-SXM4-40GB",
    "NVIDIA_A100_80GB": "NVIDIA A100-SXM4-80GB",
    "NVIDIA_H100_80GB": "NVIDIA H100 80GB HBM3",
    "NVIDIA_H200_141GB": "NVIDIA H200",
}


def gpu_of(request: ContainerRequest) -> Gpu | None:
    """Return the GPU of the machine, or None on a machine without GPUs."""
    kind = request.accelerator_type
    if not kind or request.accelerator_count < 1:
        return None
    try:
        accelerator = catalog().accelerator(kind)
    except KeyError:
        return None
    major, minor = accelerator.compute_capability
    total = accelerator.usable_gib_low
    if total is None:
        total = (accelerator.memory_gib or 16.0) * _USABLE
    return Gpu(DEVICE_NAMES.get(kind, kind), total, major + minor / 10, _MULTIPROCESSORS.get(kind, 108))
