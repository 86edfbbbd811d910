"""Which path answers what, by the server that was started."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from infra.local.container.api import chat, completions, generate, metrics, models
from infra.local.container.api.errors import RequestRefused, error_response, http_error, json_response
from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine


async def dispatch(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    engine: Engine,
    *,
    predict_route: str,
    health_route: str,
) -> ContainerResponse:
    """Answer one request: the container's own routes, or 404 and 405 as its web framework answers."""
    route = urlsplit(path).path
    allowed = _methods(route, engine, predict_route, health_route)
    if not allowed:
        return http_error(HTTPStatus.NOT_FOUND)
    if method.upper() not in allowed:
        return http_error(HTTPStatus.METHOD_NOT_ALLOWED)
    if engine.api_keys and route.startswith("/v1") and not _authorised(headers, engine):
        return json_response({"error": "Unauthorized"}, status=int(HTTPStatus.UNAUTHORIZED))
    if method.upper() == "GET":
        return _get(route, engine)
    try:
        if route == "/v1/chat/completions":
            return await chat.handle(body, engine)
        if route == "/v1/completions":
            return await completions.handle(body, engine)
        if route == "/tokenize":
            return models.tokenize(body, engine)
        return await generate.handle(body, engine)
    except RequestRefused as refused:
        return error_response(refused, engine.dialect)


def _methods(route: str, engine: Engine, predict_route: str, health_route: str) -> tuple[str, ...]:
    if route == "/health" or (engine.vertex and route in ("/ping", health_route)):
        return ("GET", "POST") if route == "/ping" and not engine.vertex else ("GET",)
    if engine.openai:
        if route == "/ping" and engine.dialect.since("0.7.3"):
            return ("GET", "POST")
        if route in ("/v1/models", "/version", "/metrics"):
            return ("GET",)
        if route in ("/v1/chat/completions", "/v1/completions", "/tokenize"):
            return ("POST",)
    if route == "/generate" and not (engine.openai and not engine.vertex):
        return ("POST",)
    if engine.vertex and route == predict_route:
        return ("POST",)
    return ()


def _get(route: str, engine: Engine) -> ContainerResponse:
    if route == "/v1/models":
        return models.listing(engine)
    if route == "/version":
        return models.version(engine)
    if route == "/metrics":
        return metrics.handle(engine)
    return ContainerResponse(200, {"content-length": "0"}, b"")


def _authorised(headers: Mapping[str, str], engine: Engine) -> bool:
    given = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
    return any(hmac.compare_digest(given.encode(), f"Bearer {key}".encode()) for key in engine.api_keys)
