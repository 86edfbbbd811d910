"""GPUs as torch sees them, from the catalogue's accelerators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from infra.fit.types import Gpu

# torch's total over the advertised memory, the lowest published (T4: 14.56 of 16): for GPUs without a value.
_USABLE: Final = 0.91
# accelerator type -> (name as torch prints it, streaming multiprocessors): NVIDIA's data sheets.
_FACTS: Final[Mapping[str, tuple[str, int]]] = {
    "NVIDIA_L4": ("NVIDIA L4", 58),
    "NVIDIA_TESLA_T4": ("Tesla T4", 40),
    "NVIDIA_TESLA_V100": ("Tesla V100-SXM2-16GB", 80),
    "NVIDIA_TESLA_P100": ("Tesla P100-PCIE-16GB", 56),
    "NVIDIA_TESLA_P4": ("Tesla P4", 20),
    "NVIDIA_TESLA_A100": ("NVIDIA A100-SXM4-40GB", 108),
    "NVIDIA_A100_80GB": ("NVIDIA A100-SXM4-80GB", 108),
    "NVIDIA_H100_80GB": ("NVIDIA H100 80GB HBM3", 132),
    "NVIDIA_H100_MEGA_80GB": ("NVIDIA H100 80GB HBM3", 132),
    "NVIDIA_H200_141GB": ("NVIDIA H200", 132),
    "NVIDIA_B200": ("NVIDIA B200", 148),
    "NVIDIA_GB200": ("NVIDIA GB200", 148),
    "NVIDIA_RTX_PRO_6000": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 188),
}
_OTHER_MULTIPROCESSORS: Final = 108


class Accelerator(Protocol):
    """What is known of a kind of GPU; :class:`infra.recipes.catalog.Accelerator` is one."""

    @property
    def accelerator_type(self) -> str: ...
    @property
    def memory_gib(self) -> float | None: ...
    @property
    def usable_gib_low(self) -> float | None: ...
    @property
    def compute_capability(self) -> tuple[int, int]: ...


def gpu_of(accelerator: Accelerator) -> Gpu:
    """Return the GPU of an accelerator: the lowest total that torch or vLLM reported for it.

    Raises:
        ValueError: neither a reported total nor the advertised memory is known.
    """
    kind = accelerator.accelerator_type
    total = accelerator.usable_gib_low
    if total is None:
        if accelerator.memory_gib is None:
            raise ValueError(
                f"the memory of {kind} is not known: add memory_gib to infra/catalog/accelerators.csv"
            )
        total = accelerator.memory_gib * _USABLE
    name, multiprocessors = _FACTS.get(kind, (kind, _OTHER_MULTIPROCESSORS))
    major, minor = accelerator.compute_capability
    known = accelerator.usable_gib_low is not None
    return Gpu(name, total, major + minor / 10, multiprocessors, total_known=known)
