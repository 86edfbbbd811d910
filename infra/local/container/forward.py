"""A container whose words come from an OpenAI-compatible server that the user names.

It starts like the simulated one (arguments, memory, log lines). What the simulated container would refuse before a
model is asked (an unknown model name, an image for a text model, a chat without a template) is refused here too; the
rest goes to the server with its own model name, and its answers, streams and errors come back as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from infra.local.container.api import chat, completions, context
from infra.local.container.api.errors import RequestRefused, error_response
from infra.local.container.api.schema import ChatRequest, CompletionRequest, read
from infra.local.container.contract import (
    ContainerRequest,
    ContainerResponse,
    LogLine,
    ObjectReader,
    StartResult,
)
from infra.local.container.engine import Engine
from infra.local.container.proxy import TIMEOUT, bad_gateway, copied, predict, streamed
from infra.local.container.simulated import SimulatedContainer


def base_url(backend: str) -> tuple[str, str | None]:
    """Return the base URL with ``/v1``, and the model name if the URL carries one.

    The URL may be given with or without ``/v1`` and a slash at its end; ``#NAME`` names the server's model.

    Raises:
        ValueError: not an http or https URL with a host.
    """
    parts = urlsplit(backend)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(
            f"container backend {backend!r} is not the base URL of an OpenAI-compatible server: write it as "
            "http://127.0.0.1:11434/v1, or http://127.0.0.1:11434/v1#MODEL to name one of its models"
        )
    url = backend.partition("#")[0].rstrip("/")
    return (url if parts.path.rstrip("/") else url + "/v1"), parts.fragment or None


class ForwardedContainer(SimulatedContainer):
    """A simulated start, and another server's answers.

    Its model is the one that the URL names (``#NAME``), else the first of its ``/v1/models``. The key in the
    environment variable ``LOCAL_CLOUD_BACKEND_API_KEY`` is sent as a bearer token; the caller's own Google token never
    leaves the local cloud.
    """

    def __init__(
        self,
        request: ContainerRequest,
        objects: ObjectReader | None,
        backend: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(request, objects)
        self.url, self.model = base_url(backend)
        api_key = os.environ.get("LOCAL_CLOUD_BACKEND_API_KEY")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT, headers=headers, transport=transport, trust_env=False
        )

    async def start(self) -> StartResult:
        """Start like vLLM, then ask the server for its models; a server that is away fails the start."""
        result = await super().start()
        if not result.ok:
            return result
        try:
            self.model = self.model or await self._first_model()
        except (httpx.HTTPError, ValueError) as error:
            self.engine = None
            text = f"local cloud: the server {self.url} cannot be used: {error or type(error).__name__}"
            lines = (*result.lines, LogLine("ERROR", text))
            return StartResult(False, lines, "Model server exited unexpectedly.")
        note = LogLine(
            "INFO", f"local cloud: requests are answered by {self.url} with its model {self.model}"
        )
        return StartResult(True, (*result.lines, note))

    async def _first_model(self) -> str:
        answer = await self._client.get(f"{self.url}/models")
        answer.raise_for_status()
        models = answer.json().get("data") or []
        if not models:
            raise ValueError(f"{self.url}/models lists no model")
        return str(models[0]["id"])

    async def respond(
        self, engine: Engine, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """Answer one request; chat, completions and predictions go to the server."""
        route = urlsplit(path).path
        if method.upper() != "POST" or (not engine.openai and route.startswith("/v1")):
            return await super().respond(engine, method, path, headers, body)
        try:
            if route == "/v1/chat/completions":
                return await self._post("/chat/completions", self._chat(body, engine), engine)
            if route == "/v1/completions":
                return await self._post("/completions", self._completion(body, engine), engine)
            if route in ("/generate", self.request.predict_route):
                return await predict(self._client, body, engine, f"{self.url}/completions", self.model or "")
        except RequestRefused as refused:
            return error_response(refused, engine.dialect)
        except httpx.HTTPError as error:
            return error_response(bad_gateway(f"the server {self.url}", error), engine.dialect)
        return await super().respond(engine, method, path, headers, body)

    def _chat(self, body: bytes, engine: Engine) -> dict[str, Any]:
        request = read(ChatRequest, body, engine.dialect)
        context.check_model(request.model, engine)
        chat.prepare(request, engine)
        chat.tool_mode(request, engine)
        return {**json.loads(body), "model": self.model}

    def _completion(self, body: bytes, engine: Engine) -> dict[str, Any]:
        request = read(CompletionRequest, body, engine.dialect)
        context.check_model(request.model, engine)
        completions.prompts_of(request, engine)
        return {**json.loads(body), "model": self.model}

    async def _post(self, path: str, body: dict[str, Any], engine: Engine) -> ContainerResponse:
        request = self._client.build_request("POST", self.url + path, json=body)
        answer = await self._client.send(request, stream=True)
        if not body.get("stream") or answer.status_code != HTTPStatus.OK:
            content = await answer.aread()
            await answer.aclose()
            return copied(answer, _renamed(content, engine.served_names[0]))
        return copied(answer, streamed(answer))

    async def stop(self) -> None:
        """Close the connections to the server."""
        await super().stop()
        await self._client.aclose()


def _renamed(content: bytes, name: str) -> bytes:
    """Put the served name in place of the server's model name, in an answer that carries one."""
    try:
        data = json.loads(content)
    except ValueError:
        return content
    if not isinstance(data, dict) or "model" not in data:
        return content
    return json.dumps({**data, "model": name}, ensure_ascii=False).encode()
