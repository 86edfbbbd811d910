"""An OpenAI-compatible server whose times are known, and the local cloud of the clients' tests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.bench.results import Level, Price, Run, Workload
from tests.client.conftest import served

__all__ = ["Model", "model", "run_of", "served"]


@dataclass
class Model:
    """What the server does: a role, a pause, then a token each so many seconds.

    ``refuse`` is asked for each request by its number, from 1, and gives a response instead; ``frames`` replaces the
    frames of an answer.
    """

    url: str = ""
    first: float = 0.05
    each: float = 0.01
    usage: bool = True
    refuse: Callable[[int], Response | None] = lambda number: None
    frames: list[bytes] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    clients: list[Any] = field(default_factory=list)
    now: int = 0
    most: int = 0

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.tokens.append(request.headers.get("authorization", ""))
        self.clients.append(request.client)
        refused = self.refuse(len(self.asked))
        return refused or StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.frames is not None:
                for each in self.frames:
                    yield each
                return
            yield _frame({"delta": {"role": "assistant", "content": ""}})
            await asyncio.sleep(self.first)
            for number in range(body["max_tokens"]):
                await asyncio.sleep(self.each if number else 0)
                yield _frame({"delta": {"content": "x"}})
            yield _frame({"delta": {}, "finish_reason": "length"})
            if self.usage:
                prompt = len(body["messages"][0]["content"].split()) + 10
                counted = {"prompt_tokens": prompt, "completion_tokens": body["max_tokens"]}
                yield b"data: " + json.dumps({"choices": [], "usage": counted}).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        finally:
            self.now -= 1


def _frame(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def error(status: int, message: str) -> Response:
    """An error as Google writes it."""
    return JSONResponse({"error": {"code": status, "message": message}}, status)


@pytest.fixture
def model() -> Iterator[Model]:
    """A server of its own for one test."""
    made = Model()
    app = Starlette(routes=[Route("/{base:path}/chat/completions", made.answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    made.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    yield made
    server.should_exit = True
    thread.join(10)


def level_of(value: float = 4, **changes: Any) -> Level:
    """Ten whole answers of 100 tokens in 10 s: first token after 0.1 to 1 s, then one each 20 ms."""
    ttft = tuple(number / 10 for number in range(1, 11))
    made: dict[str, Any] = {
        "kind": "concurrency",
        "value": value,
        "duration": 10.0,
        "ttft": ttft,
        "tpot": (0.02,) * 10,
        "latency": tuple(each + 99 * 0.02 for each in ttft),
        "sent": 10,
        "input_tokens": 2000,
        "output_tokens": 1000,
        "errors": {},
    }
    return Level(**made | changes)


def run_of(*levels: Level, **changes: Any) -> Run:
    """A run of these levels at 3.60 USD an hour."""
    made: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "endpoint": "projects/1/locations/us-central1/endpoints/7",
        "hardware": "g2-standard-12 with 1 x NVIDIA_L4 in us-central1",
        "workload": Workload(input_tokens=200, output_tokens=100, ignore_eos=True),
        "price": Price(usd_per_hour=3.6, source="test"),
        "levels": levels or (level_of(),),
    }
    return Run(**made | changes)
