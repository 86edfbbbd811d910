"""Containers of the local Vertex AI: simulated vLLM, a real vLLM on the CPU, or an OpenAI-compatible server.

Owns how a container starts (arguments, failures, log lines) and how it answers over HTTP. Leaves endpoints,
deployments, quotas and logging to :mod:`infra.local.cloud`, which knows only :mod:`infra.local.container.contract`.
"""

from __future__ import annotations

from infra.local.container.contract import (
    Container,
    ContainerRequest,
    ContainerResponse,
    LogLine,
    ObjectReader,
    StartResult,
)

__all__ = [
    "Container",
    "ContainerRequest",
    "ContainerResponse",
    "LogLine",
    "ObjectReader",
    "StartResult",
    "make_container",
]


def make_container(
    request: ContainerRequest, *, backend: str, objects: ObjectReader | None = None
) -> Container:
    """Return a container that is not started yet.

    Args:
        request: image, arguments, environment and machine.
        backend: ``simulated``, ``vllm``, or the base URL of an OpenAI-compatible server.
        objects: reads ``gs://`` objects with the container's rights.

    Raises:
        ValueError: an unknown backend; the text names the choices.
    """
    # Imported here: the local cloud starts in a fraction of a second when it deploys nothing.
    if backend == "simulated":
        from infra.local.container.simulated import SimulatedContainer

        return SimulatedContainer(request, objects)
    if backend == "vllm":
        from infra.local.container.real.container import RealContainer

        return RealContainer(request, objects)
    if backend.startswith(("http://", "https://")):
        from infra.local.container.forward import ForwardedContainer

        return ForwardedContainer(request, objects, backend)
    raise ValueError(
        f"container backend {backend!r} is unknown: use `simulated`, `vllm`, or the http:// or https:// base URL of an "
        "OpenAI-compatible server"
    )
