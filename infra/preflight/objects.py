"""Buckets and their objects, by the JSON API of Cloud Storage: what stands below a prefix, and documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from infra.preflight.google.answers import disabled
from infra.preflight.net import Answer, Forbidden, Net, Unread
from infra.preflight.subject import Subject

__all__ = ["Folder", "Gone", "base_of", "list_folder", "list_of", "read_document", "split"]

_PAGE: Final = 1000
_PAGES: Final = 10


class Gone(Exception):
    """Cloud Storage itself says that it is not there."""


def split(uri: str) -> tuple[str, str]:
    """The bucket of a ``gs://`` address and the prefix in it, which ends in a slash; empty for the whole bucket."""
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    return bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def base_of(subject: Subject, bucket: str) -> str:
    """The address of a bucket."""
    return f"{subject.hosts.storage}/b/{quote(bucket, safe='')}"


@dataclass
class Folder:
    """What is directly below a prefix: names without it, with their bytes, and folders."""

    sizes: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


async def list_folder(net: Net, prefix: str, base: str) -> Folder:
    """What is directly below a prefix.

    Raises:
        Unread: Not readable, or not by the caller.
        Gone: No such bucket.
    """
    folder, token = Folder(), ""
    for _ in range(_PAGES):
        params = {"prefix": prefix, "delimiter": "/", "maxResults": str(_PAGE)}
        answer = await net.get(f"{base}/o", params={**params, **({"pageToken": token} if token else {})})
        page = read_document(answer, "storage#objects")
        for item in list_of(page, "items"):
            name, size = (item.get("name"), item.get("size")) if isinstance(item, Mapping) else (None, None)
            # Numbers of 64 bits are text in Google's JSON.
            if not isinstance(name, str) or not isinstance(size, str) or not size.isdecimal():
                raise Unread("the answer is of no objects")
            if name != prefix:  # the folder itself, as the console makes it
                folder.sizes[name.removeprefix(prefix)] = int(size)
        folder.folders.update(str(name).removeprefix(prefix) for name in list_of(page, "prefixes"))
        token = str(page.get("nextPageToken") or "")
        if not token:
            return folder
    raise Unread(f"there are more than {_PAGES * _PAGE} objects")


def read_document(answer: Answer, kind: str) -> Mapping[str, Any]:
    """The document of an answer.

    Raises:
        Gone: Cloud Storage's own 404.
        Unread: A refusal, or another document than the kind that was asked for.
    """
    if answer.ok and isinstance(answer.data, dict) and answer.data.get("kind") == kind:
        return answer.data
    if answer.ok:
        raise Unread("the answer is not Cloud Storage's")
    if answer.gone:
        raise Gone
    refused = Forbidden if answer.status == 403 and answer.message and not disabled(answer) else Unread
    raise refused(f"Cloud Storage answers {answer.status} {answer.message[:200]}".rstrip())


def list_of(document: Mapping[str, Any], key: str) -> list[Any]:
    """A list of a document; absent is empty.

    Raises:
        Unread: Something else stands there.
    """
    found = document.get(key, [])
    if not isinstance(found, list):
        raise Unread("the answer is not Cloud Storage's")
    return found
