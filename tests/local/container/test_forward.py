"""Answers that come from another OpenAI-compatible server, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.local.container import Container, ContainerRequest, make_container
from infra.local.container.forward import base_url
from infra.local.container.real.process import free_port
from tests.local.container.conftest import BASE, LLAMA, Reply, ask, container_request, written

seen: list[dict[str, Any]] = []


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "tiny"}, {"id": "other"}]})


async def _chat(request: Request) -> Response:
    body = await request.json()
    seen.append({**body, "authorization": request.headers.get("authorization")})
    if body.get("temperature") == 1.5:
        return JSONResponse({"error": {"message": "too warm"}}, status_code=422, headers={"retry-after": "3"})
    if body.get("stream"):

        async def frames() -> AsyncIterator[bytes]:
            for word in ("one", "two"):
                yield b"data: " + json.dumps({"choices": [{"delta": {"content": word}}]}).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream")
    return JSONResponse({"model": "tiny", "choices": [{"message": {"role": "assistant", "content": "hi"}}]})


async def _completions(request: Request) -> Response:
    body = await request.json()
    seen.append(body)
    return JSONResponse({"model": "tiny", "choices": [{"text": " text"} for _ in range(body.get("n", 1))]})


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    routes = [
        Route("/v1/models", _models),
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/completions", _completions, methods=["POST"]),
    ]
    port = free_port()
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def _with_server(
    use: Callable[[Container], Awaitable[Any]], suffix: str = "", request: ContainerRequest | None = None
) -> Any:
    """Start the server and a container in front of it, run ``use`` on the container, stop both."""

    async def run() -> Any:
        seen.clear()
        async with _server() as url:
            container = make_container(request or container_request(), backend=url + suffix)
            result = await container.start()
            assert result.ok, written(result)
            assert "requests are answered by http://127.0.0.1:" in result.lines[-1].text
            try:
                return await use(container)
            finally:
                await container.stop()

    return asyncio.run(run())


def _post(path: str, body: dict[str, Any]) -> Callable[[Container], Awaitable[Reply]]:
    async def use(container: Container) -> Reply:
        return await ask(container, "POST", path, body, authorization="Bearer a-google-token")

    return use


CHAT: dict[str, Any] = {"model": LLAMA, "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_a_chat_goes_to_the_server_under_its_own_model_name(suffix: str) -> None:
    reply = _with_server(_post("/v1/chat/completions", CHAT), suffix)
    assert reply.json["choices"][0]["message"]["content"] == "hi"
    assert reply.json["model"] == LLAMA
    assert seen[0]["model"] == "tiny"


def test_the_callers_token_stays_here() -> None:
    _with_server(_post("/v1/chat/completions", CHAT))
    assert seen[0]["authorization"] is None


def test_a_key_of_the_servers_own_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_CLOUD_BACKEND_API_KEY", "k")
    _with_server(_post("/v1/chat/completions", CHAT))
    assert seen[0]["authorization"] == "Bearer k"


def test_the_url_may_name_the_model() -> None:
    _with_server(_post("/v1/chat/completions", CHAT), "/v1#other")
    assert seen[0]["model"] == "other"


def test_a_stream_is_passed_on() -> None:
    reply = _with_server(_post("/v1/chat/completions", {**CHAT, "stream": True}))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [event["choices"][0]["delta"]["content"] for event in reply.events[:-1]] == ["one", "two"]
    assert reply.events[-1] == "[DONE]"


def test_errors_of_the_server_come_back_as_they_are() -> None:
    reply = _with_server(_post("/v1/chat/completions", {**CHAT, "temperature": 1.5}))
    assert (reply.status, reply.json) == (422, {"error": {"message": "too warm"}})
    assert reply.headers["retry-after"] == "3"


def test_predictions_become_completions() -> None:
    body = {"instances": [{"prompt": "A", "max_tokens": 3, "raw_response": True}, {"prompt": "B", "n": 2}]}
    reply = _with_server(_post("/generate", body))
    assert reply.json == {
        "predictions": [" text", ["Prompt:\nB\nOutput:\n text", "Prompt:\nB\nOutput:\n text"]]
    }
    assert seen[0] == {"prompt": "A", "max_tokens": 3, "model": "tiny"}


@pytest.mark.parametrize(
    ("request_", "body", "status", "text"),
    [
        (None, {**CHAT, "model": "nobody"}, 404, "The model `nobody` does not exist."),
        (
            container_request(model=BASE),
            {**CHAT, "model": BASE},
            400,
            "default chat template is no longer allowed",
        ),
        (None, {"model": LLAMA}, 400, "'loc': ('body', 'messages')"),
    ],
)
def test_what_vllm_would_refuse_never_reaches_the_server(
    request_: ContainerRequest | None, body: dict[str, Any], status: int, text: str
) -> None:
    reply = _with_server(_post("/v1/chat/completions", body), request=request_)
    assert reply.status == status
    assert text in reply.message
    assert not seen


def test_a_server_that_is_away_fails_the_start() -> None:
    async def run() -> Any:
        container = make_container(container_request(), backend=f"http://127.0.0.1:{free_port()}")
        result = await container.start()
        await container.stop()
        return result

    result = asyncio.run(run())
    assert not result.ok
    assert "cannot be used: All connection attempts failed" in written(result)


def test_a_server_that_goes_away_is_a_bad_gateway() -> None:
    async def run() -> Reply:
        async with _server() as url:
            container = make_container(container_request(), backend=url)
            assert (await container.start()).ok
        try:
            return await ask(container, "POST", "/v1/chat/completions", CHAT)
        finally:
            await container.stop()

    reply = asyncio.run(run())
    assert reply.status == 502
    assert "did not answer" in reply.message


@pytest.mark.parametrize(
    ("given", "url", "model"),
    [
        ("http://h:1", "http://h:1/v1", None),
        ("http://h:1/", "http://h:1/v1", None),
        ("https://h/api/v1/", "https://h/api/v1", None),
        ("http://h/v1#a/b", "http://h/v1", "a/b"),
    ],
)
def test_base_urls(given: str, url: str, model: str | None) -> None:
    assert base_url(given) == (url, model)


@pytest.mark.parametrize("given", ["http://", "http:///v1", "http://h/v1?x=1", "ftp://h"])
def test_base_urls_that_are_none(given: str) -> None:
    with pytest.raises(ValueError, match="is not the base URL of an OpenAI-compatible server: write it as"):
        base_url(given)
