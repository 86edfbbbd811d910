"""Images for a chat: a file becomes a data URL, an address stays one."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

from infra.client.errors import BadTarget

__all__ = ["DEDICATED_BYTES", "SHARED_BYTES", "image_part"]

SHARED_BYTES: Final = int(1.5 * 2**20)
DEDICATED_BYTES: Final = 10 * 2**20
"""Longest request by kind of endpoint (Vertex AI's documentation, choose an endpoint type)."""

_KINDS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
)
"""Formats by their first bytes: position, bytes, name after ``image/``. A file's name says little of what is in it."""


def image_part(image: str, *, dedicated: bool) -> dict[str, Any]:
    """One image as a content part of a chat message.

    Args:
        image: Path of a file, or an address that the server itself fetches (http, https, gs, data).
        dedicated: Kind of the endpoint, which limits the size of a request.

    Raises:
        BadTarget: It cannot be read, is no image, or is too large for one request.
    """
    if image.lower().startswith(("http://", "https://", "gs://", "data:")):
        return {"type": "image_url", "image_url": {"url": image}}
    try:
        data = Path(image).expanduser().read_bytes()
    except OSError as error:
        raise BadTarget(f"The image {image} cannot be read: {error.strerror or error}.") from None
    kind = next((name for at, begin, name in _KINDS if data[at : at + len(begin)] == begin), None)
    if kind is None:
        raise BadTarget(
            f"{image} is no image that vLLM reads (PNG, JPEG, GIF, WebP, BMP or TIFF by its first bytes)."
        )
    text = base64.b64encode(data).decode()
    limit = DEDICATED_BYTES if dedicated else SHARED_BYTES
    if len(text) > limit:
        other = "" if dedicated else "; a dedicated endpoint takes 10 MB"
        raise BadTarget(
            f"{image} is {len(text) / 2**20:.1f} MB in a request, and a {'dedicated' if dedicated else 'shared'} "
            f"endpoint takes {limit / 2**20:g} MB. Make it smaller, or give its URL{other}."
        )
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{text}"}}
