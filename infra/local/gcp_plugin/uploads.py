"""Resumable uploads to Cloud Storage, in chunks: of an object of any size only one chunk is in memory.

Source: cloud.google.com/storage/docs/performing-resumable-uploads. Google's own client, which the official plugin
uses, does the same from 16 MiB on and sends what is smaller in one request.
"""

from __future__ import annotations

import re
import time
from typing import BinaryIO, Final
from urllib.parse import quote, urlsplit

from infra.local.gcp_plugin.rest import Json, Rest, as_json
from infra.plugin import Context, ResourceError

API: Final = "Cloud Storage"

CHUNK_BYTES = 16 * 2**20
"""Default of Google's Go client; a multiple of 256 KiB, as every chunk but the last has to be."""

_STALLED: Final = 10
"""Answers in a row that say that nothing more has arrived."""

_TELL_SECONDS: Final = 2.0

_RANGE: Final = re.compile(r"bytes=0-(\d+)")


def upload(rest: Rest, ctx: Context, bucket: str, metadata: Json, content: BinaryIO, size: int) -> Json:
    """Stores an object; there is no part of it before all of it has arrived. The object as the service shows it.

    A chunk that is sent again after a lost connection does no harm: what has arrived is not stored twice.

    Args:
        rest: The way to the API.
        ctx: Gets the progress; interrupting the run ends the upload.
        bucket: The bucket.
        metadata: The object's `name`, `contentType` and `md5Hash`; the service refuses other bytes than these.
        content: The bytes, seekable.
        size: How many.

    Raises:
        ApiError: when the service refuses it.
        ResourceError: when it is interrupted, or the service takes no more.
    """
    session = _begin(rest, ctx, bucket, metadata, size)
    at = stalled = 0
    told = time.monotonic()
    while True:
        if ctx.cancelled.is_set():
            raise ResourceError(
                f"Interrupted while {metadata['name']} was being uploaded: {at} of {size} bytes; nothing is stored."
            )
        content.seek(at)
        chunk = content.read(CHUNK_BYTES)
        last = at + len(chunk) - 1
        headers = {"Content-Range": f"bytes {at}-{last}/{size}" if chunk else f"bytes */{size}"}
        response = rest.answer(ctx, API, "PUT", session, headers=headers, content=chunk)
        if response.status_code != 308:
            return as_json(f"PUT {session}", response)
        arrived = _RANGE.fullmatch(response.headers.get("range", ""))
        now = int(arrived[1]) + 1 if arrived else 0
        stalled = stalled + 1 if now <= at else 0
        at = now
        if stalled == _STALLED:
            raise ResourceError(
                f"{metadata['name']} cannot be uploaded: the service takes no more than {at} of {size} bytes. Has "
                "the file changed meanwhile? Run `pulumi up` again."
            )
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            ctx.status(f"uploaded {at / 1e6:.0f} of {size / 1e6:.0f} MB")


def _begin(rest: Rest, ctx: Context, bucket: str, metadata: Json, size: int) -> str:
    """The address that the bytes are sent to."""
    base = urlsplit(rest.settings.endpoint(API))
    origin = f"{base.scheme}://{base.netloc}"
    url = f"{origin}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
    response = rest.answer(
        ctx,
        API,
        "POST",
        url,
        params={"alt": "json", "uploadType": "resumable", "name": metadata["name"]},
        json=metadata,
        headers={"X-Upload-Content-Type": metadata["contentType"], "X-Upload-Content-Length": str(size)},
    )
    session = str(response.headers.get("location", ""))
    if not session.startswith(f"{origin}/"):  # the token goes there
        raise ResourceError(
            f"POST {url} names {session or 'no address'} for the bytes, which is not on {origin}."
        )
    return session
