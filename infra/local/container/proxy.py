"""What containers with a server behind them share: streams passed on, predictions turned into completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

import httpx

from infra.local.container.api import generate
from infra.local.container.api.errors import RequestRefused, json_response
from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine

TIMEOUT: Final = httpx.Timeout(600.0, connect=10.0)
_KEPT_HEADERS: Final = ("content-type", "retry-after", "x-request-id")


async def predict(
    client: httpx.AsyncClient, body: bytes, engine: Engine, url: str, model: str
) -> ContainerResponse:
    """Turn a prediction into completions, one for each instance, and lay the texts out as Vertex AI does.

    Args:
        client: reaches the server.
        body: the prediction request, Vertex AI's format or vLLM's plain one.
        engine: the container that was asked.
        url: the server's completions route.
        model: the server's model name.

    Raises:
        RequestRefused: an instance is refused.
        httpx.HTTPError: the server does not answer.
    """
    data = generate.parse_body(body)
    texts: list[list[str]] = []
    for instance in generate.instances_of(data, engine):
        sampling = {name: value for name, value in instance.sampling.items() if value not in (None, (), [])}
        answer = await client.post(url, json={**sampling, "model": model, "prompt": instance.prompt})
        if answer.status_code != HTTPStatus.OK:
            return copied(answer, answer.content)
        texts.append(
            [generate.written(instance, choice["text"], engine) for choice in answer.json()["choices"]]
        )
    if generate.is_prediction(data, engine):
        predictions: list[Any] = [text[0] if len(text) == 1 else text for text in texts]
        return json_response({"predictions": predictions})
    return json_response({"text": texts[0]})


def copied(answer: httpx.Response, body: bytes | AsyncIterator[bytes]) -> ContainerResponse:
    """Return a server's answer with the headers that concern its body."""
    headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    return ContainerResponse(answer.status_code, headers, body)


async def streamed(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Pass a stream on as it comes, and close the server's connection when the caller goes away."""
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    finally:
        await answer.aclose()


def bad_gateway(who: str, error: Exception) -> RequestRefused:
    """Return the refusal for a server that does not answer."""
    text = f"{who} did not answer: {error or type(error).__name__}"
    return RequestRefused(text, status=HTTPStatus.BAD_GATEWAY, kind="BadGatewayError")
