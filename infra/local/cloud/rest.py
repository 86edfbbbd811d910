"""How a method of a Google API becomes a route: path template, strict query and body, errors, partial responses."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from infra.local.cloud import fields, payload, strict
from infra.local.cloud.errors import GoogleError, invalid
from infra.local.cloud.identity import Principal

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]
#: Google's front end refuses larger JSON bodies; uploads of objects don't go through here.
MAX_JSON_BYTES = 32 * 1024 * 1024


@dataclass
class Call:
    """One request to one method.

    Attributes:
        cloud: the local cloud.
        request: Starlette's request; `request.state.dedicated_dns` is set for dedicated endpoint hosts.
        path: the template's variables, percent-decoded.
        query: query parameters (system ones too), checked against the method's.
        body: the JSON body, checked if the method has a schema; {} when there is none.
        principal: who calls.
    """

    cloud: Cloud
    request: Request
    path: Mapping[str, str]
    query: Mapping[str, str]
    principal: Principal
    body: Json = field(default_factory=dict)

    def repeated(self, name: str) -> list[str]:
        """All values of a query parameter that may be given more than once."""
        given = self.request.query_params.multi_items()
        return [text for key, text in given if name in (key, strict.camel(key))]


Handler = Callable[[Call], Json | Response | Awaitable[Json | Response]]
ErrorStyle = Callable[[GoogleError], Response]


def standard_error(error: GoogleError) -> Response:
    """Google's usual JSON error envelope."""
    return GoogleJson(error.envelope(), status_code=error.http_status, headers=error.headers)


class GoogleJson(JSONResponse):
    """JSON as Google's front end writes it: UTF-8, indented by two unless `prettyPrint=false`."""

    media_type = "application/json; charset=UTF-8"

    def render(self, content: Any) -> bytes:
        """The body's bytes."""
        return (json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


class Compact(GoogleJson):
    """The same on one line."""

    def render(self, content: Any) -> bytes:
        """The body's bytes."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Method(BaseRoute):
    """A route that matches Google path templates against the still encoded path.

    `{x}` is one segment without ":", `{x+}` one segment that may hold ":" (and encoded slashes, as object names do),
    `{x**}` the rest. A verb follows as in "/v1/{p}:getIamPolicy".
    """

    def __init__(
        self,
        cloud: Cloud,
        method: str,
        template: str,
        handler: Handler,
        *,
        query: Collection[str] | None = (),
        body: Mapping[str, Any] | None = None,
        json_body: bool = True,
        error_style: ErrorStyle = standard_error,
    ) -> None:
        self.cloud, self.method, self.template, self.handler = cloud, method, template, handler
        self.query, self.schema, self.json_body, self.error_style = query, body, json_body, error_style
        # Cloud Storage's JSON API is older than protos over JSON: it takes camelCase only.
        self.proto_names = error_style is standard_error
        self.pattern = re.compile(_regex(template))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full on path and verb, none otherwise (Google answers 404 to a wrong HTTP method)."""
        if scope["type"] != "http" or scope["method"] != self.method:
            return Match.NONE, {}
        found = self.pattern.fullmatch(raw_path(scope))
        if found is None:
            return Match.NONE, {}
        return Match.FULL, {"google_path": {key: unquote(value) for key, value in found.groupdict().items()}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        request = Request(scope, receive, send)
        try:
            response = await self._respond(request)
        except GoogleError as error:
            response = self.error_style(error)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        principal = self.cloud.principal(request)
        query = dict(request.query_params)
        if self.query is not None:
            if self.proto_names:
                query = strict.camel_query(query, self.query)
            strict.check_query(query, self.query)
        call = Call(self.cloud, request, request.scope["google_path"], query, principal)
        if self.json_body and self.method in {"POST", "PUT", "PATCH"}:
            call.body = await read_json(request)
            if self.schema is not None:
                if self.proto_names:
                    call.body = strict.proto_body(call.body, self.schema)
                strict.check_body(call.body, self.schema)
        result = self.handler(call)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, Response):
            return result
        return answer(request, result)


def answer(
    request: Request, content: Json, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer, cut by `fields` and printed as `prettyPrint` says.

    Raises:
        GoogleError: INVALID_ARGUMENT for a `fields` value that is not well formed.
    """
    query = request.query_params
    selection = query.get("fields") or query.get("$fields")
    if selection:
        content = fields.apply(content, fields.parse(selection))
    pretty = (query.get("prettyPrint") or query.get("$prettyPrint") or "true").lower() != "false"
    return (GoogleJson if pretty else Compact)(content, status_code=status, headers=dict(headers or {}))


async def read_json(request: Request) -> Json:
    """The request's JSON object; {} for an empty body.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is too large, not JSON or not an object.
    """
    raw = await read_limited(request, MAX_JSON_BYTES)
    form = payload.form_fields(request, raw)
    if form is not None and not request.url.path.startswith("/_local/"):
        # The front end binds a form's fields as it binds query parameters, and JSON is none of them.
        strict.check_query(form, ())
        return {}
    value = payload.decode_json(raw)
    if not isinstance(value, dict):
        raise invalid('Invalid JSON payload received. Unknown name "": Root element must be a message.')
    return value


async def read_limited(request: Request, limit: int) -> bytes:
    """The body's bytes.

    Raises:
        GoogleError: INVALID_ARGUMENT when there are more than `limit`.
    """
    parts: list[bytes] = []
    size = 0
    async for part in payload.pieces(request):
        size += len(part)
        if size > limit:
            raise GoogleError(
                "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {limit} bytes.", http_status=400
            )
        parts.append(part)
    return b"".join(parts)


def raw_path(scope: Scope) -> str:
    """The path as it came over the wire, less a prefix that the server took off (dedicated hosts by path)."""
    override = scope.get("google_raw_path")
    if override is not None:
        return str(override)
    return bytes(scope.get("raw_path") or scope["path"].encode()).decode("latin-1").split("?", 1)[0]


def _regex(template: str) -> str:
    out = ""
    for part in re.split(r"(\{\w+(?:\+|\*\*)?\})", template):
        found = re.fullmatch(r"\{(\w+)(\+|\*\*)?\}", part)
        if found is None:
            out += re.escape(part)
        else:
            out += f"(?P<{found[1]}>" + {None: "[^/:]+", "+": "[^/]+", "**": ".+"}[found[2]] + ")"
    return out
