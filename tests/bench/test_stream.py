"""One request over HTTP: its times against a server whose times are known, its tokens, its errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import RedirectResponse, Response

from infra.bench.load import Answer, Bounds, Loaded, load
from infra.bench.stream import ChatStream

from .conftest import Model, error


def asked(model: Model, token: Callable[[], str | None] = lambda: None, **fields: Any) -> Loaded:
    """One request."""

    async def once() -> Loaded:
        bounds = Bounds(requests=1, seconds=10, timeout=10)
        async with ChatStream(model.url, token, {"max_tokens": 11, **fields}, timeout=5) as send:
            return await load("concurrency", 1, iter(["one two three"]), send, bounds)

    return asyncio.run(once())


def one(model: Model, **fields: Any) -> Answer:
    """One answer, its times without those of the level."""
    (outcome,) = asked(model, **fields).outcomes
    return Answer(outcome.first, outcome.last, outcome.prompt_tokens, outcome.output_tokens, outcome.error)


def test_the_times_are_the_servers(model: Model) -> None:
    model.first, model.each = 0.2, 0.02
    (outcome,) = asked(model).outcomes
    assert outcome.error is None
    assert outcome.first is not None
    assert outcome.last is not None
    assert 0.2 <= outcome.first - outcome.due < 0.3  # not the piece with the role, which comes at once
    assert 0.2 <= outcome.last - outcome.first < 0.35  # ten gaps of 20 ms
    assert outcome.ended >= outcome.last
    assert (outcome.prompt_tokens, outcome.output_tokens) == (13, 11)


def test_what_is_sent(model: Model) -> None:
    asked(model, lambda: "the-token", temperature=0)
    assert model.tokens == ["Bearer the-token"]
    assert model.asked == [
        {
            "model": "",
            "max_tokens": 11,
            "temperature": 0,
            "messages": [{"role": "user", "content": "one two three"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_a_server_that_does_not_count(model: Model) -> None:
    model.usage = False
    answer = one(model)
    assert (answer.prompt_tokens, answer.output_tokens, answer.error) == (None, None, None)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (error(429, "Quota\nexceeded"), "HTTP 429: Quota exceeded"),
        (Response("<html>", 502), "HTTP 502"),
        (Response('[{"error": {"code": 503, "message": "late"}}]', 503), "HTTP 503: late"),
        (Response('{"object": "error", "message": "too long", "code": 400}', 400), "HTTP 400: too long"),
        (RedirectResponse("http://127.0.0.1:1/", 307), "HTTP 307"),
    ],
)
def test_a_refusal_is_an_error_once(model: Model, response: Response, said: str) -> None:
    model.refuse = lambda number: response
    assert one(model).error == said
    assert len(model.asked) == 1  # nothing is sent twice, a redirect is not followed


def frame(choices: Any, **more: Any) -> bytes:
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


TEXT = frame([{"delta": {"content": "x"}}])
END = frame([{"delta": {}, "finish_reason": "stop"}])


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([TEXT], "the stream ended before the answer did"),
        ([END], "an answer without a token"),
        ([], "the stream ended before the answer did"),
        (
            [TEXT, b'data: {"error": {"message": "CUDA out of memory"}}\n\n', END],
            "in the stream: CUDA out of memory",
        ),
        ([TEXT, b"data: {half\n\n", END], "a piece of the stream is no JSON"),
        ([TEXT, END, b"data: [DONE]\n\n"], None),
        ([b": a comment\n\n", TEXT, frame([], usage=None), END], None),
        ([frame([{"delta": {"reasoning_content": "hm"}}]), END], None),
        ([frame([{"delta": {"tool_calls": [{"index": 0}]}}]), END], None),
    ],
)
def test_what_counts_as_an_answer(model: Model, frames: list[bytes], said: str | None) -> None:
    model.frames = frames
    answer = one(model)
    assert answer.error == said
    if said is None:
        assert answer.first is not None


def test_nobody_listens() -> None:
    answer = one(Model(url="http://127.0.0.1:1/v1"))
    assert answer.error is not None
    assert answer.error.startswith("no connection: ")
    assert answer.first is None


def test_a_connection_that_ends_before_an_answer() -> None:
    async def once() -> Answer:
        async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(closes, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server, ChatStream(url, lambda: None, {"max_tokens": 1}, timeout=5) as send:
            return await send("x")

    answer = asyncio.run(once())
    assert answer.error is not None
    assert answer.error.startswith("the connection broke before an answer: ")


def test_a_silent_server(model: Model) -> None:
    model.first = 3.0

    async def once() -> Answer:
        async with ChatStream(model.url, lambda: None, {"max_tokens": 1}, timeout=0.2) as send:
            return await send("x")

    assert asyncio.run(once()).error == "no byte for 0.2 s"


def test_a_login_that_fails_is_an_error_without_its_text(model: Model) -> None:
    def token() -> str:
        raise RuntimeError("ya29.secret")

    (outcome,) = asked(model, token).outcomes
    assert outcome.error == "no access token: RuntimeError"
    assert model.asked == []


def test_the_token_is_asked_for_once_a_minute(model: Model) -> None:
    model.first = model.each = 0
    given: list[int] = []

    def token() -> str:
        given.append(1)
        return "t"

    async def many() -> None:
        async with ChatStream(model.url, token, {"max_tokens": 1}, timeout=5) as send:
            await load("concurrency", 4, iter("abcdefgh"), send, Bounds(requests=8, seconds=10, timeout=10))

    asyncio.run(many())
    assert (len(model.asked), len(given)) == (8, 1)


def test_connections_are_used_again(model: Model) -> None:
    model.first, model.each = 0.02, 0

    async def waves() -> list[Answer]:
        async with ChatStream(model.url, lambda: None, {"max_tokens": 1}, timeout=5) as send:
            found: list[Answer] = []
            for _ in range(3):
                found += await asyncio.gather(*(send("x") for _ in range(4)))
            return found

    answers = asyncio.run(waves())
    assert [answer.error for answer in answers] == [None] * 12
    assert all(0 < answer.opening < 0.5 for answer in answers[:4])
    assert {answer.opening for answer in answers[4:]} == {0}
    assert len(set(model.clients)) == 4
