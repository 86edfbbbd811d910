"""Error bodies as vLLM writes them, by version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from infra.local.container.contract import ContainerResponse
from infra.local.container.dialect import Dialect

JSON = {"content-type": "application/json"}


class RequestRefused(Exception):
    """A request that vLLM refuses.

    ``kind`` is the error type of the body (``BadRequestError`` for checks in the server's code, ``Bad Request`` for
    a body that does not validate in newer versions), ``param`` the field at fault where vLLM names one.
    """

    def __init__(
        self,
        message: str,
        *,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        kind: str = "BadRequestError",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param


def error_body(refused: RequestRefused, dialect: Dialect) -> dict[str, Any]:
    """Return the JSON body of a refusal: nested under ``error`` from vLLM 0.10, flat before."""
    fields: dict[str, Any] = {
        "message": refused.message,
        "type": refused.kind,
        "param": refused.param if dialect.names_params else None,
        "code": int(refused.status),
    }
    return {"error": fields} if dialect.nested_errors else {"object": "error", **fields}


def error_response(refused: RequestRefused, dialect: Dialect) -> ContainerResponse:
    """Return the refusal as an HTTP answer."""
    return json_response(error_body(refused, dialect), status=int(refused.status))


def json_response(body: Any, *, status: int = 200) -> ContainerResponse:
    """Return compact JSON, as Starlette's JSONResponse writes it."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return ContainerResponse(status, dict(JSON), text.encode())


def http_error(status: HTTPStatus) -> ContainerResponse:
    """Return an answer of the web framework itself (no such route, wrong method): never vLLM's error body.

    vLLM's handler is for FastAPI's exceptions; the router raises Starlette's. Seen on 0.32, same code since 0.9.
    """
    return json_response({"detail": status.phrase}, status=int(status))


def invalid_body(errors: Sequence[Mapping[str, Any]], dialect: Dialect) -> RequestRefused:
    """Turn pydantic's errors into the refusal that vLLM sends for a body that does not validate."""
    plain = next((cause for error in errors if isinstance(cause := _cause(error), FieldError)), None)
    if plain is not None and dialect.checks_answer_plainly:
        return RequestRefused(str(plain), param=plain.parameter)
    shown = [{key: value for key, value in error.items() if key != "url"} for error in errors]
    for error in shown:
        error["loc"] = ("body", *error["loc"])
    if not dialect.counts_validation_errors:
        kind = HTTPStatus.BAD_REQUEST.phrase if dialect.since("0.9.0") else "BadRequestError"
        return RequestRefused(str(shown), kind=kind, param=_param(shown))
    lines = []
    for error in shown:
        entry = dict(error)
        if "input" in entry:
            entry["input"] = _summary(entry["input"])
        entry["loc"] = ".".join(str(part) for part in error["loc"])
        lines.append(f"  {entry}")
    label = "error" if len(shown) == 1 else "errors"
    message = f"{len(shown)} validation {label}:\n" + "\n".join(lines)
    return RequestRefused(message, kind=HTTPStatus.BAD_REQUEST.phrase, param=_param(shown))


def _param(errors: Sequence[Mapping[str, Any]]) -> str | None:
    for error in errors:
        cause = _cause(error)
        if isinstance(cause, FieldError):
            return cause.parameter
    return ".".join(str(part) for part in errors[0]["loc"]) if errors else None


def _cause(error: Mapping[str, Any]) -> object:
    return error.get("ctx", {}).get("error")


def _summary(value: object) -> object:
    """Shorten the refused value: newer versions describe containers and cut text at 200 characters."""
    if isinstance(value, str):
        return value if len(value) <= 200 else value[:200] + "...[truncated]"
    if isinstance(value, (list, tuple, dict)):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)


class FieldError(ValueError):
    """A check on a request field; newer versions name the field in the text and in ``param``."""

    def __init__(
        self, text: str, parameter: str | None = None, value: object = None, *, named: bool = True
    ) -> None:
        extras = [f"parameter={parameter}"] if parameter is not None else []
        if value is not None:
            extras.append(f"value={value}")
        super().__init__(f"{text} ({', '.join(extras)})" if named and extras else text)
        self.parameter = parameter

    def __repr__(self) -> str:
        """Read like the ValueError that old versions raise: pydantic's error list shows it."""
        return f"ValueError({str(self)!r})"
