"""The ASGI application: routes of all services behind what every request passes (faults, request log, hosts)."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError, method_not_found
from infra.local.cloud.faults import Fault
from infra.local.cloud.operations import planned_fault
from infra.local.cloud.requestlog import RequestLog
from infra.local.cloud.rest import ErrorStyle, raw_path, read_limited, standard_error
from infra.local.cloud.storage.errors import storage_error
from infra.local.cloud.strike import operation_fault, strike

Json = dict[str, Any]

#: Service packages in matching order; each has routes(cloud). aiplatform's paths are the widest, so it is last.
SERVICES = (
    "storage", "serviceusage", "resourcemanager", "cloudquotas", "iam", "cloudlogging", "monitoring", "aiplatform"
)  # fmt: skip
#: Query parameters that a client may post instead of writing them into the URL, in bytes.
MAX_FORM_BYTES = 2**20
_DEDICATED_PATH = re.compile(r"/dedicated/([^/]+)(/.*)")
_DEDICATED_HOST = re.compile(r"([\w-]+\.[\w-]+\.prediction\.vertexai\.goog)(?::\d+)?")


def build(cloud: Cloud) -> ASGIApp:
    """The application of one local cloud."""
    from infra.local.cloud import admin

    log = RequestLog()
    routes: list[BaseRoute] = admin.routes(cloud, log)
    for name in SERVICES:
        module = f"infra.local.cloud.{name}"
        if find_spec(f"{module}.routes") is not None:
            routes += import_module(f"{module}.routes").routes(cloud)
        elif find_spec(module) is not None and hasattr(import_module(module), "routes"):
            routes += import_module(module).routes(cloud)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await cloud.start()
        try:
            yield
        finally:
            await cloud.stop()

    async def nothing(request: Request, _error: Exception) -> Response:
        return style(request.url.path)(method_not_found())

    async def broken(request: Request, _error: Exception) -> Response:
        return style(request.url.path)(GoogleError("INTERNAL", "Internal error encountered."))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, GoogleError)
        return style(request.url.path)(error)

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: nothing, 405: nothing, GoogleError: refused, Exception: broken},
    )
    app.router.redirect_slashes = False
    return Front(app, cloud, log)


def style(path: str) -> ErrorStyle:
    """The error envelope of the service that owns the path."""
    return (
        storage_error
        if re.match(r"/(upload/|download/|resumable/upload/)?storage/", path)
        else standard_error
    )


class Front:
    """Wraps the application: hosts of dedicated endpoints, planned faults, request log."""

    def __init__(self, app: ASGIApp, cloud: Cloud, log: RequestLog) -> None:
        self._app, self._cloud, self._log = app, cloud, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._host(scope)
        path = scope["path"]
        if path.startswith("/_local/"):
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        receive = await self._override(scope, receive)
        record = {
            "method": scope["method"],
            "path": path,
            "query": scope["query_string"].decode("latin-1"),
            "caller": _who(scope),
            "dedicated_dns": scope["state"].get("dedicated_dns", ""),
        }
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        fault = self._cloud.faults.draw(scope["method"], path)
        token = planned_fault.set(_taker(fault, record))
        try:
            if fault is None:
                await self._app(scope, receive, counted)
            else:
                record["fault"] = fault.id
                held = self._cloud.faults.hold
                await strike(fault, self._app, scope, receive, counted, send, style(path), held)
        finally:
            planned_fault.reset(token)
            record |= {"status": status, "ms": round((time.monotonic() - started) * 1000, 1)}
            self._log.add(record)

    def _host(self, scope: Scope) -> None:
        """Sets `state.dedicated_dns` for a dedicated endpoint, by Host header or by path /dedicated/{dns}/…."""
        scope.setdefault("state", {})
        host = next((value.decode() for key, value in scope["headers"] if key == b"host"), "")
        found = _DEDICATED_HOST.fullmatch(host)
        if found:
            scope["state"]["dedicated_dns"] = found[1]
        by_path = _DEDICATED_PATH.fullmatch(scope["path"])
        if by_path:
            scope["state"]["dedicated_dns"] = by_path[1]
            rest = _DEDICATED_PATH.fullmatch(raw_path(scope))
            scope["google_raw_path"] = rest[2] if rest else by_path[2]
            scope["path"] = by_path[2]
            # Starlette's own routes match on raw_path less root_path.
            scope["raw_path"] = str(scope["google_raw_path"]).encode("latin-1")

    async def _override(self, scope: Scope, receive: Receive) -> Receive:
        """Undoes `X-HTTP-Method-Override`, with which Google's Python client posts a GET whose URL is too long."""
        headers = dict(scope["headers"])
        method = headers.get(b"x-http-method-override", b"").decode("latin-1").upper()
        if scope["method"] != "POST" or method not in {"GET", "PUT", "PATCH", "DELETE"}:
            return receive
        if method == "GET":
            request = Request(scope, receive)
            try:
                form = await read_limited(request, MAX_FORM_BYTES)
            except (GoogleError, ClientDisconnect):
                # Whoever serves the request reads what is left of it.
                return receive
            scope["query_string"] = b"&".join(filter(None, (scope["query_string"], form.strip())))
            receive = _empty
        scope["method"] = method
        return receive


async def _empty() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _taker(fault: Fault | None, record: Json) -> Callable[[], Json | None]:
    """What Operations.create asks for the planned fault: hands it out once, and notes that it was asked."""
    left = [operation_fault(fault)] if fault and fault.on_operation else []

    def take() -> Json | None:
        record["operation"] = True
        return left.pop() if left else None

    return take


def _who(scope: Scope) -> str:
    """The caller for the request log; never a token that could be somebody's real one."""
    for key, value in scope["headers"]:
        if key == b"authorization":
            token: str = value.decode("latin-1").partition(" ")[2].strip()
            if token in {"local", "expired"} or token.startswith("sa:"):
                return token
            return "unknown token"
    return "local"
