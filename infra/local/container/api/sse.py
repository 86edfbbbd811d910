"""Server-sent events as vLLM writes them: one ``data:`` line a frame, ``[DONE]`` last."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from infra.local.container.contract import ContainerResponse

DONE: Final = b"data: [DONE]\n\n"
HEADERS: Final = {"content-type": "text/event-stream; charset=utf-8"}


def frame(body: dict[str, Any]) -> bytes:
    """Return one frame."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def stream(bodies: Iterable[dict[str, Any]]) -> ContainerResponse:
    """Return an answer that sends each body as a frame and ends with ``[DONE]``."""

    async def frames() -> AsyncIterator[bytes]:
        for body in bodies:
            yield frame(body)
        yield DONE

    return ContainerResponse(200, dict(HEADERS), frames())
