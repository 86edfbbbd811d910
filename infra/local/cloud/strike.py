"""What a planned fault does to the answer of one request; see `faults`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.local.cloud.errors import GoogleError, unauthenticated
from infra.local.cloud.faults import Fault
from infra.local.cloud.rest import ErrorStyle

Json = dict[str, Any]
GARBLED = b"\x1f\x8b)]}' this is no JSON"


async def strike(
    fault: Fault,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    raw: Send,
    style: ErrorStyle,
    held: Callable[[str], Awaitable[bool]],
) -> None:
    """Answers a request that drew a fault.

    Args:
        fault: the fault.
        app: what would have served the request.
        scope, receive, send: the request.
        raw: the server's own `send`, whose connection can be dropped.
        style: the error envelope of the service.
        held: waits until the request that the fault with this id holds is let go; whether it is to be dropped.
    """
    action = fault.action
    if action.get("delaySeconds"):
        receive = await _received(receive)
        await asyncio.sleep(float(action["delaySeconds"]))
    if action.get("reset") == "before":
        _transport(raw).abort()
    elif action.get("reset") == "after":
        await app(scope, receive, _swallow)
        _transport(raw).abort()
    elif "hold" in action:
        await _hold(fault, app, scope, await _received(receive), send, raw, held)
    elif "proxy" in action:
        await HTMLResponse(_page(action["proxy"]), action["proxy"])(scope, receive, send)
    elif "status" in action:
        await style(_error(action["status"]))(scope, receive, send)
    elif "body" in action or action.get("answerDelaySeconds"):
        messages = await _served(app, scope, receive)
        await asyncio.sleep(float(action.get("answerDelaySeconds") or 0))
        await _answer(messages, action.get("body", ""), send, raw)
    else:
        await app(scope, receive, send)


async def _hold(
    fault: Fault,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    raw: Send,
    held: Callable[[str], Awaitable[bool]],
) -> None:
    """Serves a request that waits for the administrator; its client may be dead by then."""
    answer = await _served(app, scope, receive) if fault.action["hold"] == "after" else None
    if await held(fault.id):
        _transport(raw).abort()
        return
    for message in await _served(app, scope, receive) if answer is None else answer:
        await send(message)


async def _served(app: ASGIApp, scope: Scope, receive: Receive) -> list[Message]:
    """Carries a request out, and keeps its answer."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages


def operation_fault(fault: Fault) -> Json:
    """What an operation remembers of the fault planned for it: kind, stage, and the error or how it is lost."""
    action = fault.action
    record: Json = {"id": fault.key, "stage": "", "met": False}
    if planned := action.get("operationError"):
        error = GoogleError(planned["code"], planned.get("message") or "Internal error occurred.")
        return {
            **record,
            "kind": "error",
            "stage": planned.get("stage") or "",
            "status": error.status(),
            "lines": planned.get("lines") or [],
        }
    if "operationStuck" in action:
        return {**record, "kind": "stuck", "stage": action["operationStuck"].get("stage") or ""}
    return {**record, "kind": "lost", "dropped": action["operationLost"] == "dropped"}


def _error(planned: Json) -> GoogleError:
    headers = {}
    if "retryAfterSeconds" in planned:
        seconds = planned["retryAfterSeconds"]
        as_date = planned.get("retryAfterAs") == "date"
        headers["retry-after"] = formatdate(time.time() + seconds, usegmt=True) if as_date else str(seconds)
    message, details = planned.get("message"), planned.get("details") or ()
    if planned["code"] == "UNAUTHENTICATED" and not message:
        expired = unauthenticated("ACCESS_TOKEN_EXPIRED")
        message, details = expired.message, expired.details
        headers["www-authenticate"] = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
    text = message or "Planned fault of the local cloud."
    return GoogleError(planned["code"], text, details, headers=headers)


def _page(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    return (
        f"<html>\r\n<head><title>{status} {phrase}</title></head>\r\n<body>\r\n<center><h1>{status} {phrase}</h1>"
        "</center>\r\n<hr><center>proxy</center>\r\n</body>\r\n</html>\r\n"
    )


async def _answer(messages: list[Message], how: str, send: Send, raw: Send) -> None:
    """The kept answer: whole, cut off after the first half of its body, or with a body that is no JSON."""
    start = next(each for each in messages if each["type"] == "http.response.start")
    body = b"".join(each.get("body", b"") for each in messages if each["type"] == "http.response.body")
    if how == "garbled":
        kept = [(key, value) for key, value in start["headers"] if key.lower() != b"content-length"]
        status = 200 if start["status"] == 204 else start["status"]  # one that has a body
        start = {
            **start,
            "status": status,
            "headers": [*kept, (b"content-length", str(len(GARBLED)).encode())],
        }
        body = GARBLED
    await send(start)
    if how == "truncated":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        _transport(raw).close()
    else:
        await send({"type": "http.response.body", "body": body})


async def _received(receive: Receive) -> Receive:
    """The request once all of it has come: a client that hangs up then no longer keeps it from being served."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return again


async def _swallow(_message: Message) -> None:
    return


def _transport(send: Send) -> Any:
    """The connection. `send` is a bound method of uvicorn's request cycle, which holds it.

    Raises:
        ConnectionResetError: there is none, as when the application is called without a server.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("planned fault: connection reset")
    return transport
