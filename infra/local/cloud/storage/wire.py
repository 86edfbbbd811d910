"""What the headers and bodies of uploads and downloads say: hashes, multipart parts, ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.local.cloud.storage import rules


def hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """{"crc32c": …, "md5": …} of an X-Goog-Hash header."""
    pairs = (
        part.strip().partition("=") for part in headers.get("x-goog-hash", "").split(",") if part.strip()
    )
    return {name: value for name, _, value in pairs}


def parts_of(raw: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    """(headers, body) of each part of a multipart/related body."""
    found = []
    # Google's Python client (googleapiclient) ends lines with a bare line feed, and the real service takes it.
    end = b"\r\n" if raw.lstrip(b"\r\n").startswith(b"--" + boundary + b"\r\n") else b"\n"
    for part in (end + raw).split(end + b"--" + boundary)[1:]:
        if part.startswith(b"--"):
            break
        head, separator, body = part.removeprefix(end).partition(end + end)
        if not separator:
            raise rules.invalid("Malformed multipart body: a part has no empty line after its headers.")
        headers = {}
        for line in head.decode("latin-1").splitlines():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        found.append((headers, body))
    return found


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, end) of "bytes=a-b", "bytes=a-" or "bytes=-n"; None for none (or several, which are ignored)."""
    found = re.fullmatch(r"bytes=(\d{0,19})-(\d{0,19})", header.strip())
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    end = int(found[2]) + 1 if found[2] else size
    return int(found[1]), min(end, size)


def content_range(header: str) -> tuple[int | None, int | None, int | None]:
    """(start, end, total) of "bytes a-b/n"; None where it says "*"."""
    if not header:
        return None, None, None
    found = re.fullmatch(r"bytes (?:(\d{1,19})-(\d{1,19}|\*)|\*)/(\d{1,19}|\*)", header.strip())
    if found is None:
        raise rules.invalid(f"Failed to parse Content-Range header '{header}'.")
    return (
        int(found[1]) if found[1] else None,
        int(found[2]) if found[2] and found[2] != "*" else None,
        int(found[3]) if found[3] != "*" else None,
    )
