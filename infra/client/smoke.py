"""One prediction on each route that is enabled, through the addresses that clients use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infra.client.advice import advice, message_of
from infra.client.endpoint import Endpoint
from infra.client.rest import http_client
from infra.client.token import Token

if TYPE_CHECKING:
    import httpx
    from openai import OpenAI

__all__ = ["FAIL", "PASS", "SKIP", "Result", "smoke"]

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"

BEGINNING: Final = "A car is"
QUESTION: Final = "What is a car?"
MAX_TOKENS: Final = 16
PATIENCE_S: Final = 120.0
"""16 tokens take a second on a GPU, and less than a minute from a vLLM on two cores."""


@dataclass(frozen=True)
class Result:
    """How one route answered.

    Attributes:
        route: ``predict``, ``rawPredict``, ``chat/completions``, or the last one streamed.
        status: PASS, FAIL or SKIP.
        said: What the model wrote, or what is wrong and what to do, or why the route was not asked.
        seconds: How long it took; 0 where it was not asked.
    """

    route: str
    status: str
    said: str
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        return {
            "route": self.route,
            "status": self.status,
            "said": self.said,
            "seconds": round(self.seconds, 3),
        }


class _Off(Exception):
    """The route is not enabled; ``str(e)`` says why."""


class _Wrong(Exception):
    """An answer that is none, or an error in its place."""

    def __init__(self, status: int | None, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


def smoke(endpoint: Endpoint, token: Token) -> Iterator[Result]:
    """Ask each route once, one after the other, and say how it answered as soon as it has.

    A model without a chat template has no chat. Streaming is documented for dedicated endpoints only.

    Raises:
        NoAnswer: There are no credentials.
    """
    from infra.client.chat import openai_client

    token.get()  # so that it is one error that there are none, not one a route
    routes: dict[str, Callable[[], str]] = {
        "predict": lambda: _predictions(http, token, endpoint.predict_url),
        "rawPredict": lambda: _predictions(http, token, endpoint.raw_predict_url),
        "chat/completions": lambda: _chat(openai),
        "chat/completions, streamed": lambda: _streamed(openai, endpoint),
    }
    with (
        http_client(local=endpoint.local, timeout_s=PATIENCE_S) as http,
        openai_client(endpoint, token).with_options(timeout=PATIENCE_S) as openai,
    ):
        for route, ask in routes.items():
            yield _result(route, ask, endpoint, token)


def _result(route: str, ask: Callable[[], str], endpoint: Endpoint, token: Token) -> Result:
    begun = time.monotonic()
    try:
        said = ask()
    except _Off as reason:
        return Result(route, SKIP, str(reason))
    except _Wrong as wrong:
        seconds = time.monotonic() - begun
        said = advice(
            endpoint,
            wrong.status,
            wrong.said,
            seconds=seconds,
            max_tokens=MAX_TOKENS,
            fixed_token=token.fixed,
        )
        return Result(route, FAIL, said, seconds)
    return Result(route, PASS, said, time.monotonic() - begun)


def _predictions(http: httpx.Client, token: Token, url: str) -> str:
    import httpx

    body = {"instances": [{"prompt": BEGINNING, "max_tokens": MAX_TOKENS, "raw_response": True}]}
    try:
        response = http.post(url, json=body, headers={"authorization": f"Bearer {token.get()}"})
    except httpx.TransportError as error:
        raise _Wrong(None, str(error) or type(error).__name__) from None
    if not response.is_success:
        raise _Wrong(response.status_code, message_of(response.content))
    try:
        (text,) = response.json()["predictions"]
    except (ValueError, KeyError, TypeError):
        raise _Wrong(
            response.status_code, f"not one prediction, but {message_of(response.content)}"
        ) from None
    return _written(text, response.status_code)


def _chat(openai: OpenAI) -> str:
    with _said():
        answer = openai.chat.completions.create(
            model="", messages=[{"role": "user", "content": QUESTION}], max_tokens=MAX_TOKENS
        )
        return _written(answer.choices[0].message.content if answer.choices else None, 200)


def _streamed(openai: OpenAI, endpoint: Endpoint) -> str:
    if not endpoint.dedicated:
        raise _Off("Vertex AI documents streaming for dedicated endpoints only")
    text, finished = "", False
    with (
        _said(),
        openai.chat.completions.create(
            model="", messages=[{"role": "user", "content": QUESTION}], max_tokens=MAX_TOKENS, stream=True
        ) as stream,
    ):
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finished = finished or choice.finish_reason is not None
    if not finished:
        raise _Wrong(None, "the stream ended before the answer did")
    return _written(text, 200)


class _said:
    """Turns what OpenAI's client raises into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from openai import APIConnectionError, APIError, APIStatusError

        if isinstance(error, APIStatusError):
            said = message_of(error.response.content)
            if error.status_code == 400 and "chat template" in said:
                raise _Off("the model has no chat template (vllm.chat_template of the stack file)") from None
            raise _Wrong(error.status_code, said) from None
        if isinstance(error, APIConnectionError):
            raise _Wrong(None, str(error.__cause__ or error)) from None
        if isinstance(error, APIError | json.JSONDecodeError):
            raise _Wrong(None, str(error) or type(error).__name__) from None


def _written(text: Any, status: int) -> str:
    """The text that a model wrote; none is an error."""
    if not isinstance(text, str) or not text:
        raise _Wrong(status, f"an answer without a text: {text!r}")
    return text
