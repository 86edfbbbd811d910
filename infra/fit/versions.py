"""How vLLM's memory accounting changed between releases, as data.

Read out of vLLM's wheels and checked against published start-up logs; ``tests/fit`` holds some of those logs. A row
is valid from its version until the next row of its table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.versions import version_key


@dataclass(frozen=True)
class Era:
    """One stretch of versions that account alike.

    ``reserved`` charges what the allocator holds beyond the activation peak (up to 0.6.3: see :data:`RESERVED`);
    ``device_charged`` charges the CUDA context and everything else on the GPU; ``sampler`` is the peak of sampling in
    units of 4 bytes x sequences x vocabulary; ``triton_filter`` keeps 4 bytes x min(SMs, sequences) x vocabulary;
    ``graphs_charged`` takes CUDA graphs out of the budget; ``resident`` is sampler state that counts against it.
    """

    since: str
    reserved: bool = False
    device_charged: bool = False
    sampler: float = 9.5
    triton_filter: bool = False
    graphs_charged: bool = False
    resident: float = 0.0
    utilization: float = 0.9


V0_ERAS: Final = (
    Era("0.0", reserved=True),
    Era("0.6.4", device_charged=True),
    Era("0.6.5"),
)
# The second model runner is the default for ever more architectures from 0.22 and for all from 0.29.
V1_ERAS: Final = (
    Era("0.0", device_charged=True),
    Era("0.9.1"),
    Era("0.17.0", sampler=3.5, triton_filter=True),
    Era("0.20.0", sampler=3.5, triton_filter=True, graphs_charged=True, utilization=0.92),
    Era("0.22.0", sampler=1.5, utilization=0.92),
    Era("0.26.0", sampler=0.5, utilization=0.92),
    Era("0.27.0", sampler=0.5, resident=1.031, utilization=0.92),
    Era("0.29.0", sampler=0.5, resident=1.031, graphs_charged=True, utilization=0.92),
    Era("0.33.0", sampler=3.5, resident=1.031, graphs_charged=True, utilization=0.92),
)

# What torch reserves beyond its allocated peak: a tenth of it, 0.15 to 0.3 GiB in logs; so at most 0.3 GiB.
RESERVED: Final = (0.1, 0.3)
# Memory outside torch that start-up adds, GiB per GPU: medians of published logs.
# (engine, first version, tensor parallel from, Hopper or later) -> GiB
NON_TORCH: Final[tuple[tuple[str, str, int, bool | None, float], ...]] = (
    ("V0", "0.0", 1, None, 0.08),
    ("V0", "0.0", 2, None, 0.35),
    ("V1", "0.0", 1, None, 0.13),
    ("V1", "0.18.0", 1, None, 0.25),
    ("V1", "0.0", 2, None, 0.55),
    ("V1", "0.17.0", 2, True, 2.1),
)
# CUDA context and libraries before vLLM takes its snapshot: charged where ``device_charged``, and always in the way
# of an allocation. 0.51 GiB in the H100 logs, 0.44-0.73 elsewhere.
CONTEXT: Final = 0.5
# Workspace of cuBLAS, MiB: PyTorch's source, matches every activation row.
CUBLAS_HOPPER: Final = 32.0
CUBLAS: Final = 8.125
# CUDA graphs outside or inside the budget, GiB: 0.5-1.1 in 0.19 logs for 26-46 layers, 1.5-1.9 for 80 layers.
GRAPHS_PER_LAYER: Final = 0.022


def era(version: str, engine: str) -> Era:
    """Return the accounting of a version's engine (``V0`` or ``V1``)."""
    rows = V0_ERAS if engine == "V0" else V1_ERAS
    wanted = version_key(version)
    return [row for row in rows if version_key(row.since) <= wanted][-1]


def engine(version: str, capability: float, *, vision_cross_attention: bool = False) -> str:
    """Return ``V0`` or ``V1``: V1 is the default from 0.8 on GPUs of capability 8 and later, alone from 0.11.

    Llama 3.2 Vision (cross attention) stays on V0 until vLLM drops it in 0.11.
    """
    wanted = version_key(version)
    if wanted >= version_key("0.11.0"):
        return "V1"
    if wanted < version_key("0.8.0") or capability < 8.0 or vision_cross_attention:
        return "V0"
    return "V1"


def non_torch(version: str, engine_name: str, tensor_parallel: int, hopper: bool) -> float:
    """Return the non-torch memory in GiB; the last row that applies wins."""
    found = 0.0
    for name, since, parallel, needs_hopper, gib in NON_TORCH:
        applies = (
            name == engine_name and version_key(version) >= version_key(since) and tensor_parallel >= parallel
        )
        if applies and (needs_hopper is None or needs_hopper == hopper):
            found = gib
    return found
