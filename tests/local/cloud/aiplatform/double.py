"""A container that needs no vLLM: echoes what it is sent, fails as the model's environment says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from infra.local.container.contract import ContainerRequest, ContainerResponse, LogLine, StartResult


class Double:
    """Environment: START=exit|hang, PREDICT=STATUS, SLOW=seconds."""

    #: Requests of every container that was made, newest last; cleared by the fixture.
    made: ClassVar[list[ContainerRequest]] = []
    #: Pieces of streams that were sent before the client went away.
    streamed: ClassVar[list[int]] = []
    closed: ClassVar[list[str]] = []
    #: Bodies that came to the predict route.
    bodies: ClassVar[list[bytes]] = []

    def __init__(self, request: ContainerRequest) -> None:
        self.request = request
        self.running = False
        Double.made.append(request)

    async def start(self) -> StartResult:
        """Starts as START says."""
        how = self.request.env.get("START", "")
        if how == "hang":
            await asyncio.sleep(3600)
        if how == "exit":
            line = LogLine("ERROR", "api_server.py: error: unrecognized arguments: --no-such-flag")
            return StartResult(False, (line,), "Model server exited unexpectedly.")
        self.running = True
        return StartResult(True, (LogLine("INFO", "Application startup complete."),))

    async def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """Answers predictions, chat completions (streamed or not), and echoes everything else."""
        assert self.running
        if "SLOW" in self.request.env:
            await asyncio.sleep(float(self.request.env["SLOW"]))
        status = int(self.request.env.get("PREDICT", "200"))
        if status != 200:
            return ContainerResponse(status, {"content-type": "application/json"}, b'{"detail":"no"}')
        content: Any = json.loads(body) if headers.get("content-type") == "application/json" and body else {}
        if path == "/v1/chat/completions":
            return self._chat(content)
        if path == self.request.predict_route and "instances" in content:
            Double.bodies.append(body)
            answer = {"predictions": [{"echo": each} for each in content["instances"]]}
            if "parameters" in content:
                answer["predictions"].append(content["parameters"])
            return _json(answer)
        return ContainerResponse(200, {"content-type": "text/plain", "x-path": path}, b"raw:" + body)

    def _chat(self, content: dict[str, Any]) -> ContainerResponse:
        text = f"You said: {json.dumps(content['messages'][-1]['content'])}"
        if content.get("stream"):
            return ContainerResponse(200, {"content-type": "text/event-stream"}, self._stream(text, content))
        return _json(
            {
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "double",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            }
        )  # fmt: skip

    async def _stream(self, text: str, content: dict[str, Any]) -> AsyncIterator[bytes]:
        pieces = text.split(" ") * int(content.get("n") or 1)
        try:
            for index, word in enumerate(pieces):
                Double.streamed.append(index)
                chunk = {
                    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "double",
                    "choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}],
                }  # fmt: skip
                yield f"data: {json.dumps(chunk)}\n\n".encode()
                await asyncio.sleep(0.001)
            yield b"data: [DONE]\n\n"
        finally:
            Double.closed.append("stream")

    async def stop(self) -> None:
        """Stops."""
        self.running = False


def _json(content: Any) -> ContainerResponse:
    return ContainerResponse(200, {"content-type": "application/json"}, json.dumps(content).encode())
