"""The container that is a real vLLM process on the CPU.

The machine stays simulated: whether the model would fit its GPU, may be downloaded and takes these arguments is
decided as in the simulated container. When it would start, a real vLLM starts with a shrunk model and answers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from infra.local.container.api.errors import RequestRefused, error_response
from infra.local.container.arguments import parse
from infra.local.container.boot import EXITED
from infra.local.container.contract import (
    ContainerRequest,
    ContainerResponse,
    LogLine,
    ObjectReader,
    StartResult,
)
from infra.local.container.engine import Engine
from infra.local.container.hub import find_model
from infra.local.container.images import vllm_version
from infra.local.container.launch import plan_launch
from infra.local.container.proxy import TIMEOUT, bad_gateway, copied, predict, streamed
from infra.local.container.real import environment
from infra.local.container.real.flags import RealArguments, real_arguments
from infra.local.container.real.process import ServerProcess, free_port
from infra.local.container.real.shrink import CannotShrink, write_model
from infra.local.container.simulated import SimulatedContainer

# A start takes about 90 s on two cores; other work beside it makes it longer.
START_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.5
_HOP_HEADERS: Final = frozenset(
    {"host", "content-length", "connection", "authorization", "transfer-encoding"}
)


class RealContainer(SimulatedContainer):
    """Starts, asks and ends a real vLLM; :meth:`stop` ends its whole process group."""

    def __init__(self, request: ContainerRequest, objects: ObjectReader | None) -> None:
        super().__init__(request, objects)
        self.server: ServerProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> StartResult:
        """Start vLLM and wait until it answers, or return why it did not."""
        verdict = await super().start()
        if not verdict.ok:
            return verdict
        notes: list[LogLine] = []
        try:
            arguments, port = self._prepare(notes)
        except (CannotShrink, environment.EnvironmentFailed) as error:
            self.engine = None
            return StartResult(False, (*verdict.lines, LogLine("ERROR", f"local cloud: {error}")), EXITED)
        command = (
            str(environment.python()),
            "-m",
            "vllm.entrypoints.cli.main",
            "serve",
            *arguments.arguments,
        )
        self.server = ServerProcess(command, self._environment())
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT, trust_env=False
        )
        await self.server.start()
        ready = await self._wait()
        lines = (*notes, *(LogLine(_severity(line), line) for line in list(self.server.lines)))
        if ready:
            return StartResult(True, lines)
        await self.stop()
        return StartResult(False, lines, EXITED)

    def _prepare(self, notes: list[LogLine]) -> tuple[RealArguments, int]:
        if not environment.is_ready():
            raise environment.EnvironmentFailed(
                f"the real vLLM is not installed in {environment.folder()}: run `python -m "
                "infra.local.container.real.environment` (6 GB), or use CONTAINER=simulated"
            )
        launch = plan_launch(self.request)
        options = parse(launch, vllm_version(self.request.image_uri))
        card = find_model(options.model, self.request.env, self.objects).card
        self._folder = tempfile.TemporaryDirectory(prefix="local-vllm-")
        model = write_model(card, Path(self._folder.name) / card.id.replace("/", "--"))
        port = free_port()
        arguments = real_arguments(options, model, port)
        first = f"local cloud: a real vLLM {environment.VLLM_VERSION} on the CPU, with a shrunk {card.id}"
        notes.append(LogLine("INFO", first))
        notes += [LogLine("INFO", f"local cloud: left out {flag}: {why}") for flag, why in arguments.left_out]
        return arguments, port

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "USER") if name in os.environ}
        own = {name: value for name, value in self.request.env.items() if "TOKEN" not in name}
        fixed = {
            "PATH": f"{environment.folder() / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return {**own, **kept, **fixed}

    async def _wait(self) -> bool:
        assert self.server is not None
        assert self._client is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + START_SECONDS
        while self.server.running and loop.time() < end:
            try:
                answer = await self._client.get("/health", timeout=5.0)
                if answer.status_code == HTTPStatus.OK:
                    return True
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def respond(
        self, engine: Engine, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """Pass a request on; Vertex AI's prediction route, which upstream vLLM lacks, becomes completions."""
        assert self._client is not None
        route = urlsplit(path).path
        try:
            if (
                method.upper() == "POST"
                and engine.vertex
                and route in ("/generate", self.request.predict_route)
            ):
                return await predict(self._client, body, engine, "/v1/completions", engine.served_names[0])
            kept = {name: value for name, value in headers.items() if name.lower() not in _HOP_HEADERS}
            request = self._client.build_request(method, path, headers=kept, content=body)
            answer = await self._client.send(request, stream=True)
        except RequestRefused as refused:
            return error_response(refused, engine.dialect)
        except httpx.HTTPError as error:
            return error_response(bad_gateway("the vLLM process", error), engine.dialect)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return copied(answer, streamed(answer))
        content = await answer.aread()
        await answer.aclose()
        return copied(answer, content)

    async def stop(self) -> None:
        """End the process group and remove the shrunk model."""
        await super().stop()
        if self.server is not None:
            await self.server.stop()
        if self._client is not None:
            await self._client.aclose()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _severity(line: str) -> str:
    if "ERROR" in line or "Traceback" in line:
        return "ERROR"
    return "WARNING" if "WARNING" in line or "Warning" in line else "INFO"
