"""What the local Vertex AI asks of a container, and what it gets back.

The aiplatform service of the local cloud knows only these types. Every backend (the simulated vLLM, a real vLLM on
the CPU, an OpenAI-compatible server named by the user) implements :class:`Container`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class ContainerRequest:
    """One container to start: the model's container spec, the machine under it, and who it runs as.

    ``shared_memory_size_mb`` is in MiB as in ``ModelContainerSpec.sharedMemorySizeMb``. ``endpoint_id`` and
    ``deployed_model_id`` are only shown (logs, ``AIP_*`` variables); nothing is decided by them.
    """

    image_uri: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 8080
    predict_route: str = "/generate"
    health_route: str = "/ping"
    shared_memory_size_mb: int | None = None
    artifact_uri: str | None = None
    machine_type: str = "n1-standard-4"
    accelerator_type: str | None = None
    accelerator_count: int = 0
    service_account: str | None = None
    endpoint_id: str = ""
    deployed_model_id: str = ""


@dataclass(frozen=True)
class LogLine:
    """One line that the container wrote; ``severity`` is Cloud Logging's name (INFO, WARNING, ERROR)."""

    severity: str
    text: str


@dataclass(frozen=True)
class StartResult:
    """How the start ended: ``ok``, every line that was written, and what Vertex AI would say when it is not ok."""

    ok: bool
    lines: tuple[LogLine, ...]
    error: str = ""


@dataclass
class ContainerResponse:
    """An HTTP answer of the container; ``body`` is an iterator when the answer is a stream."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]


class ObjectReader(Protocol):
    """Reads ``gs://`` objects with the rights of the container's service account.

    A missing right is a :class:`PermissionError`, a missing object a :class:`FileNotFoundError`.
    """

    def exists(self, uri: str) -> bool:
        """Say whether this object, or any object below this prefix, exists."""
        ...

    def read(self, uri: str) -> bytes:
        """Return the object's bytes."""
        ...

    def list(self, uri: str) -> list[str]:
        """Return the full ``gs://`` names of all objects below this prefix."""
        ...


class Container(Protocol):
    """A started (or failed) container. One instance serves one deployed model."""

    async def start(self) -> StartResult:
        """Start, and wait until the health route answers or the process has ended."""
        ...

    async def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """Answer one HTTP request; ``path`` may carry a query string."""
        ...

    async def stop(self) -> None:
        """End every process and connection of the container; safe to call twice."""
        ...
