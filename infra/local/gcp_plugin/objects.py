"""gcp:storage/bucketObject:BucketObject: a file or a text, uploaded."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, ClassVar, Final
from urllib.parse import quote

from infra.local.gcp_plugin.base import GcpResource
from infra.local.gcp_plugin.properties import DELETION_POLICY, Property
from infra.local.gcp_plugin.rest import ApiError, Json
from infra.local.gcp_plugin.uploads import API, upload
from infra.plugin import UNKNOWN, Asset, Context, ResourceError, State
from infra.plugin.resource import Properties

_BINARY: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_BLOCK: Final = 2**20


def same_content(one: Asset, other: Asset) -> bool:
    """Whether two assets hold the same bytes, wherever they are, by the hashes that the engine gives."""
    return one.hash == other.hash if one.hash and other.hash else one == other


class BucketObject(GcpResource):
    """An object. Other content of a file makes a replacement, as in the official plugin; a text changes in place."""

    token = "gcp:storage/bucketObject:BucketObject"
    auto_name = True
    replace_deletes_first = True
    properties = (
        Property("bucket", required=True, replaces=True),
        Property("name", replaces=True),
        Property("source", kind="asset", replaces=True, same=same_content),
        Property("content"),
        Property("contentType", computed=True, replaces=True),
        # Set by a refresh that finds other bytes than were uploaded, so that the next update uploads them again.
        Property("detectMd5hash"),
        DELETION_POLICY,
    )
    computed: ClassVar[Mapping[str, str]] = {
        "crc32c": "string",
        "generation": "integer",
        "md5hash": "string",
        "md5hexhash": "string",
        "mediaLink": "string",
        "outputName": "string",
        "selfLink": "string",
        "storageClass": "string",
    }
    absent = (
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contexts",
        "customerEncryption",
        "eventBasedHold",
        "forceEmptyContentType",
        "kmsKeyName",
        "metadata",
        "retention",
        "sourceMd5hash",
        "temporaryHold",
    )

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        source, content = inputs.get("source"), inputs.get("content")
        if (source is None) == (content is None):
            both = "not both" if source is not None else "neither is"
            return [("source", f"exactly one of source and content has to be given, {both}.")]
        if isinstance(source, Asset) and source.uri:
            return [
                (
                    "source",
                    f"{source.uri!r} is a RemoteAsset, which this local stand-in of the gcp plugin does not fetch; "
                    "give a pulumi.FileAsset or a pulumi.StringAsset.",
                )
            ]
        return []

    def create(self, ctx: Context, inputs: Properties) -> State:
        bucket, name = inputs["bucket"], inputs["name"]
        return State(f"{bucket}-{name}", self._outputs(inputs, self._store(ctx, inputs)))

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        if not state:
            raise ResourceError(
                f"{id}: objects cannot be imported, with the official plugin neither; let the program make it."
            )
        live = self._live(ctx, state)
        if live is None:
            return None
        changed = live.get("md5Hash") != state.get("md5hash")
        values = {
            "bucket": live["bucket"],
            "name": live["name"],
            "contentType": live.get("contentType"),
            "detectMd5hash": live.get("md5Hash") if changed else inputs.get("detectMd5hash"),
        }
        return id, self._outputs(inputs, live), values

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        live = self._live(ctx, state)
        with _content(news) as (content, _):
            stored = live is not None and live.get("md5Hash") == _md5(content)
        return State(id, self._outputs(news, live if live and stored else self._store(ctx, news)))

    def preview_update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        open_ = ("crc32c", "detectMd5hash", "generation", "md5hash", "md5hexhash", "mediaLink")
        return {**state, **news, **dict.fromkeys(open_, UNKNOWN)}

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        try:
            self.api(ctx, API, "DELETE", _path(state))
        except ApiError as e:
            if e.status != 404:
                raise

    def _live(self, ctx: Context, state: Properties) -> Json | None:
        try:
            return self.api(ctx, API, "GET", _path(state))
        except ApiError as e:
            if e.status == 404:
                return None
            raise

    def _store(self, ctx: Context, inputs: Properties) -> Json:
        with _content(inputs) as (content, size):
            metadata = {
                "name": inputs["name"],
                "contentType": inputs.get("contentType") or _type_of(content),
                "md5Hash": _md5(content),
            }
            return upload(self.gcp.rest, ctx, inputs["bucket"], metadata, content, size)

    def _outputs(self, inputs: Properties, live: Json) -> Properties:
        md5 = live.get("md5Hash", "")
        facts = {
            "contentType": live.get("contentType", ""),
            "crc32c": live.get("crc32c", ""),
            "detectMd5hash": md5,
            "generation": int(live.get("generation", 0)),
            "md5hash": md5,
            "md5hexhash": base64.b64decode(md5).hex(),
            "mediaLink": live.get("mediaLink", ""),
            "outputName": live["name"],
            "selfLink": live.get("selfLink", ""),
            "storageClass": live.get("storageClass", ""),
        }
        return self.all_outputs({**inputs, **facts})


def _path(state: Properties) -> str:
    return f"b/{quote(state['bucket'], safe='')}/o/{quote(state['name'], safe='')}"


@contextmanager
def _content(inputs: Properties) -> Iterator[tuple[BinaryIO, int]]:
    """The bytes to upload, and how many."""
    source: Asset | None = inputs.get("source")
    if source is None or not source.path:
        data = (inputs["content"] if source is None else source.text).encode()
        yield io.BytesIO(data), len(data)
        return
    try:
        file = open(source.path, "rb")  # noqa: SIM115  # an OSError of the body must not be taken for one of this line
    except OSError as e:
        raise ResourceError(f"{source.path} cannot be read: {e.strerror}. Put the file there again.") from e
    with file:
        yield file, os.fstat(file.fileno()).st_size


def _md5(content: BinaryIO) -> str:
    content.seek(0)
    digest = hashlib.md5(usedforsecurity=False)
    while block := content.read(_BLOCK):
        digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _type_of(content: BinaryIO) -> str:
    """What the official plugin's client finds out from the first bytes: text, or not."""
    content.seek(0)
    start = content.read(512)
    try:
        start.decode()
    except UnicodeDecodeError as e:
        if e.start < len(start) - 3:  # not a character that is cut off
            return _BINARY
    return _BINARY if b"\0" in start else _TEXT
