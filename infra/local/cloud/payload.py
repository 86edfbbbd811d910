"""Bodies of requests: gzip undone, JSON decoded as strictly as Google's front end does."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from infra.local.cloud.errors import GoogleError, invalid

#: Nesting that the front end takes. Source: protobuf's JSON parser, JsonStreamParser::kDefaultMaxRecursionDepth.
MAX_DEPTH = 100
_PIECE = 2**20
_GZIP = 31  # zlib's window bits for gzip with its header
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_FORM = "application/x-www-form-urlencoded"


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body piece by piece, decompressed where it is gzip; a piece has at most a mebibyte more than what came.

    Raises:
        GoogleError: INVALID_ARGUMENT for another encoding, or for bytes that are not gzip.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        async for piece in request.stream():
            yield piece
        return
    if encoding != "gzip":
        raise invalid(f"Unsupported content encoding '{encoding}'; send gzip or the bytes as they are.")
    unpacker = zlib.decompressobj(_GZIP)
    came = False
    try:
        async for packed in request.stream():
            came = came or bool(packed)
            while packed and not unpacker.eof:
                yield unpacker.decompress(packed, _PIECE)
                packed = unpacker.unconsumed_tail
    except zlib.error as error:
        raise invalid(f"The request body is not gzip, as its Content-Encoding says: {error}.") from error
    if came and not unpacker.eof:
        raise invalid("The request body is not gzip, as its Content-Encoding says: it ends too early.")


def decode_json(body: bytes) -> Any:
    """The decoded JSON body of a request; an empty body is an empty message.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is not JSON, is nested deeper than `MAX_DEPTH`, or has half a
            character (a lone surrogate).
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except ValueError as error:
        raise _not_json(body, error) from error
    except RecursionError as error:
        raise _too_deep() from error
    # Counting brackets is cheap, and most bodies have too few of them to be deep.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    if _SURROGATE.search(body):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise invalid("Invalid JSON payload received. Missing low surrogate.") from error
    return value


def form_fields(request: Request, body: bytes) -> dict[str, str] | None:
    """The fields of a body that is sent as an HTML form (what `curl -d` does unless told otherwise); None for JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM or not body.strip():
        return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _check_depth(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level for item in _items(each) if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep()


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _too_deep() -> GoogleError:
    return invalid(
        f"Invalid JSON payload received. Message too deep. Max recursion depth of {MAX_DEPTH} reached."
    )


def _no_constant(name: str) -> Any:
    """NaN and Infinity, which Python takes, are not JSON."""
    raise ValueError(f"{name} is not JSON")


def _not_json(body: bytes, error: Exception) -> GoogleError:
    text = body.decode("utf-8", "replace")
    at = error.pos if isinstance(error, json.JSONDecodeError) else 0
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].split("\n", 1)[0][:80]
    what = "Unexpected end of string. Expected a value." if at >= len(text.rstrip()) else "Unexpected token."
    return invalid(f"Invalid JSON payload received. {what}\n{line}\n{' ' * min(at - start, 80)}^")
