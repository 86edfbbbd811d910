"""Machine types, accelerators and regions: which go together, and what a replica takes from which quota.

The tables are the catalogue's (`infra/catalog/*.csv`, each row with its source); texts of refusals that have a public
record are Google's, the others follow their style (the README's table says which).
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.cloud.errors import GoogleError, invalid

Json = dict[str, Any]
_CATALOGUE = Path(__file__).resolve().parents[3] / "catalog"
DEFAULT_MACHINE = "n1-standard-2"
#: CPU machine families of online prediction; the number in the name is the vCPU count.
_CPU_MACHINE = re.compile(
    r"(?:n1|n2|n2d|e2|c2|c2d|c3|c3d|c4|n4|m1)-(?:standard|highmem|highcpu|ultramem|megamem)-(\d+)"
)
#: a3-highgpu-8g replicas may take 1, 2 or 4 of its GPUs and share the machine.
_SHARED_COUNTS = {"a3-highgpu-8g": (1, 2, 4, 8)}


@dataclass(frozen=True)
class Machine:
    """One machine type; `counts` maps an accelerator type to the counts it may have (none for CPU machines)."""

    machine_type: str
    vcpus: int
    counts: Mapping[str, tuple[int, ...]]
    gpu_always: bool


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (_CATALOGUE / name).open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


@functools.cache
def _machines() -> Mapping[str, Machine]:
    vcpus: dict[str, int] = {}
    counts: dict[str, dict[str, list[int]]] = {}
    for row in _rows("machines.csv"):
        name = row["machine_type"]
        vcpus[name] = int(row["vcpus"])
        accelerators = counts.setdefault(name, {})
        if row["accelerator_type"]:
            accelerators.setdefault(row["accelerator_type"], []).append(int(row["accelerator_count"]))
    return {
        name: Machine(
            name,
            vcpus[name],
            {kind: _SHARED_COUNTS.get(name, tuple(sorted(some))) for kind, some in accelerators.items()},
            gpu_always=bool(accelerators) and _CPU_MACHINE.fullmatch(name) is None,
        )
        for name, accelerators in counts.items()
    }


@functools.cache
def _regions() -> Mapping[str, frozenset[str]]:
    """Region -> accelerator types (and "CPU") that it serves."""
    found: dict[str, set[str]] = {}
    for row in _rows("regions.csv"):
        served = found.setdefault(row["region"], set())
        if row["serving"] == "yes":
            served.add(row["accelerator_type"])
    return {region: frozenset(served) for region, served in found.items()}


@functools.cache
def _quota_ids() -> Mapping[tuple[str, bool], str]:
    """(accelerator type or "CPU", spot) -> quota id."""
    return {
        (row["accelerator_type"], row["provisioning"] == "spot"): row["quota_id"]
        for row in _rows("quotas.csv")
    }


def regions() -> list[str]:
    """Every region of online prediction."""
    return sorted(_regions())


def machine(machine_type: str) -> Machine | None:
    """A machine type of online prediction, or None."""
    known = _machines().get(machine_type)
    if known is not None:
        return known
    match = _CPU_MACHINE.fullmatch(machine_type)
    return Machine(machine_type, int(match[1]), {}, gpu_always=False) if match else None


def check(spec: Json, region: str) -> Machine:
    """The machine of a machineSpec, if the combination exists in the region.

    Raises:
        GoogleError: INVALID_ARGUMENT that names the combination.
    """
    name = spec.get("machineType") or DEFAULT_MACHINE
    accelerator = spec.get("acceleratorType", "")
    count = int(spec.get("acceleratorCount", 0))
    found = machine(name)
    if found is None:
        raise invalid(f'Machine type "{name}" is not supported.')
    if accelerator.startswith("TPU_") or spec.get("tpuTopology"):
        raise _tpu()
    if count and not accelerator:
        raise invalid(f"accelerator_type must be set when accelerator_count is {count}.")
    if not accelerator:
        if found.gpu_always:
            needed, counts = next(iter(found.counts.items()))
            raise invalid(
                f'Machine type "{name}" requires accelerator_type "{needed}" and accelerator_count {_join(counts)}.'
            )
        return found
    if accelerator not in found.counts:
        raise invalid(f'Accelerator "{accelerator}" is not supported for machine type "{name}"')
    if count not in found.counts[accelerator]:
        raise invalid(
            f'Accelerator count {count} is not supported for accelerator "{accelerator}" on machine type "{name}". '
            f"Supported accelerator counts: {_join(found.counts[accelerator])}."
        )
    if spec.get("gpuPartitionSize") and count != 1:
        raise invalid(f"accelerator_count must be 1 when gpu_partition_size is set, but it is {count}.")
    if accelerator not in _regions().get(region, frozenset()):
        where = (
            ", ".join(sorted(each for each, served in _regions().items() if accelerator in served)) or "none"
        )
        raise invalid(
            f'Accelerator "{accelerator}" is not supported in region "{region}". Regions that support it: {where}.'
        )
    return found


def _tpu() -> GoogleError:
    return GoogleError("UNIMPLEMENTED", "The local cloud has no TPU machines; use a GPU machine type.")


def _join(counts: tuple[int, ...]) -> str:
    return " or ".join(map(str, counts))


def needs(resources: Json, replicas: int) -> dict[str, int]:
    """Quota id -> units that so many replicas take: GPUs and vCPUs, of the spot quotas for spot machines."""
    spec = resources.get("machineSpec", {})
    name = spec.get("machineType") or DEFAULT_MACHINE
    found = machine(name)
    accelerator, count = spec.get("acceleratorType", ""), int(spec.get("acceleratorCount", 0))
    spot = bool(resources.get("spot")) or "flexStart" in resources
    nodes = replicas * max(int(spec.get("multihostGpuNodeCount", 1)), 1)
    vcpus = found.vcpus if found else 0
    if found and accelerator and name in _SHARED_COUNTS and count:
        vcpus = vcpus * count // max(_SHARED_COUNTS[name])
    taken = {(accelerator, spot): count * nodes, ("CPU", spot): vcpus * nodes}
    return {_quota_ids()[key]: units for key, units in taken.items() if units and key in _quota_ids()}
