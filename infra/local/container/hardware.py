"""The GPU under a container."""

from __future__ import annotations

from infra.fit import Gpu, gpu_of
from infra.local.container.contract import ContainerRequest
from infra.recipes.catalog import catalog


def container_gpu(request: ContainerRequest) -> Gpu | None:
    """Return the GPU of the container's machine, or None when it has none that the catalogue knows."""
    if not request.accelerator_type or request.accelerator_count < 1:
        return None
    try:
        return gpu_of(catalog().accelerator(request.accelerator_type))
    except KeyError:
        return None
