"""Sends one chat request to an OpenAI-compatible server and reads the answer while it comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from infra.bench.load import Answer
from infra.naming import is_loopback

__all__ = ["ChatStream"]

_TOKEN_FIELDS: Final = ("content", "reasoning_content", "reasoning", "tool_calls")
_FRESH_S: Final = 60.0  # a token is asked for anew after it; whoever gives it refreshes it in time


class ChatStream:
    """A sender for :func:`infra.bench.load.load`; ``async with`` opens its connections.

    It sends nothing twice and follows no redirect, so that only the address that was named gets any load.

    Args:
        base_url: As the ``openai`` client takes it: ``/chat/completions`` is appended.
        token: Gives the access token of the moment; None or empty for none.
        fields: Further fields of each request, such as ``max_tokens``.
        timeout: Seconds without a byte after which a request has failed.
    """

    def __init__(
        self,
        base_url: str,
        token: Callable[[], str | None],
        fields: Mapping[str, Any],
        *,
        timeout: float,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._token, self._fields, self._timeout = token, dict(fields), timeout
        self._bearer: dict[str, str] = {}
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._local = is_loopback(base_url)
        self._ssl = httpx.create_ssl_context(trust_env=not self._local)
        # A client a connection: the pool of one client looks through all its connections at every request. With 64,
        # a first token that a server sent after 0.1 s came after 1.2 s (95th percentile, two busy cores), now 0.17 s.
        self._idle: list[httpx.AsyncClient] = []
        self._made: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> ChatStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._made:
            await client.aclose()

    async def __call__(self, prompt: str) -> Answer:
        """Send one prompt as a user's message.

        Returns:
            Its times and tokens, or an error: of the login, the connection, HTTP, or the stream, also of one that ends
            before the answer does. No exception.
        """
        body = {
            "model": "",
            **self._fields,
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        reader, opening = _Reader(), _Opening()
        try:
            headers = await self._headers()
        except Exception as error:  # whatever a login makes of it
            return Answer(error=f"no access token: {type(error).__name__}")
        client = self._idle.pop() if self._idle else self._client()
        extensions = {"trace": opening.trace}
        try:
            async with client.stream(
                "POST", self._url, json=body, headers=headers, extensions=extensions
            ) as answer:
                if answer.status_code != 200:
                    return Answer(error=_refusal(answer.status_code, await answer.aread()))
                async for line in answer.aiter_lines():
                    reader.read(line)
        except httpx.TimeoutException:
            reader.error = reader.error or f"no byte for {self._timeout:g} s"
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            reader.error = reader.error or f"{_broke(error, reader)}: {said}"
        finally:
            self._idle.append(client)
        return replace(reader.answer(), opening=opening.seconds)

    def _client(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(verify=self._ssl, timeout=self._timeout, trust_env=not self._local)
        self._made.append(client)
        return client

    async def _headers(self) -> dict[str, str]:
        async with self._lock:
            if time.monotonic() >= self._until:
                token = await asyncio.to_thread(self._token)  # a refresh asks the network
                self._bearer = {"Authorization": f"Bearer {token}"} if token else {}
                self._until = time.monotonic() + _FRESH_S
            return self._bearer


class _Opening:
    """How long a connection took to open; 0 where an open one was used."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began: float | None = None

    async def trace(self, name: str, _: Mapping[str, Any]) -> None:
        if name == "connection.connect_tcp.started":
            self._began = time.perf_counter()
        elif self._began is not None and name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self.seconds = time.perf_counter() - self._began


class _Reader:
    """Takes the lines of a stream of server-sent events and keeps what counts."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.usage: Mapping[str, Any] = {}
        self.finished = False
        self.error: str | None = None

    def read(self, line: str) -> None:
        data = line[5:].strip() if line.startswith("data:") else ""
        if not data or data == "[DONE]" or self.error:
            return
        now = time.perf_counter()
        try:
            chunk = json.loads(data)
        except ValueError:
            self.error = "a piece of the stream is no JSON"
            return
        if not isinstance(chunk, dict):
            return
        if chunk.get("error") or chunk.get("object") == "error":
            self.error = f"in the stream: {_said(chunk)}"
            return
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") or {}
        if any(delta.get(name) for name in _TOKEN_FIELDS):
            self.first = now if self.first is None else self.first
            self.last = now
        if choice.get("finish_reason"):
            self.finished = True

    def answer(self) -> Answer:
        if self.error is None and not self.finished:
            self.error = "the stream ended before the answer did"
        if self.error is None and self.first is None:
            self.error = "an answer without a token"
        counted = (_count(self.usage, "prompt_tokens"), _count(self.usage, "completion_tokens"))
        return Answer(self.first, self.last, *counted, self.error)


def _broke(error: httpx.HTTPError, reader: _Reader) -> str:
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    return "the connection broke before an answer" if reader.first is None else "the stream broke"


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None


def _refusal(status: int, body: bytes) -> str:
    try:
        said = _said(json.loads(body))
    except ValueError:
        said = ""  # a proxy's page
    return f"HTTP {status}{': ' if said else ''}{said}"


def _said(answer: Any) -> str:
    """The text of an error of Google's or of vLLM's, on one line of 200 characters at most."""
    if isinstance(answer, list) and answer:
        answer = answer[0]
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", "") if isinstance(error, dict) else error
    return " ".join(str(message).split())[:200]
