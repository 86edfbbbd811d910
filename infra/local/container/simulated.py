"""The simulated container: starts as vLLM would, then answers with the built-in responder."""

from __future__ import annotations

from collections.abc import Mapping

from infra.local.container.api.routes import dispatch
from infra.local.container.boot import boot
from infra.local.container.contract import (
    ContainerRequest,
    ContainerResponse,
    ObjectReader,
    StartResult,
)
from infra.local.container.engine import Engine


class SimulatedContainer:
    """A container without a process: :func:`infra.local.container.boot.boot` decides whether it serves."""

    def __init__(self, request: ContainerRequest, objects: ObjectReader | None) -> None:
        self.request = request
        self.objects = objects
        self.engine: Engine | None = None

    async def start(self) -> StartResult:
        """Start; the lines are complete either way."""
        outcome = boot(self.request, self.objects)
        self.engine = outcome.engine
        return StartResult(outcome.engine is not None, outcome.lines, outcome.error)

    async def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """Answer one request; 503 while it does not serve."""
        if self.engine is None:
            return ContainerResponse(503, {"content-type": "text/plain"}, b"the container does not serve\n")
        return await self.respond(self.engine, method, path, headers, body)

    async def respond(
        self, engine: Engine, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """Answer one request of a serving container."""
        return await dispatch(
            method,
            path,
            headers,
            body,
            engine,
            predict_route=self.request.predict_route,
            health_route=self.request.health_route,
        )

    async def stop(self) -> None:
        """Stop serving."""
        self.engine = None
