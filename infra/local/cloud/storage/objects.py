"""Objects' metadata: list, change, delete, compose, copy. Bytes come and go in `transfer`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import Response

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.rest import Call
from infra.local.cloud.storage import rules
from infra.local.cloud.storage.access import Access
from infra.local.cloud.storage.buckets import base_url, etag
from infra.local.cloud.storage.schema import WRITABLE
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
#: Objects that one compose may join. Source: cloud.google.com/storage/docs/composite-objects.
MAX_SOURCES = 32
_LAST = "\U0010ffff"


class Objects:
    """Handlers of objects."""

    def __init__(self, cloud: Cloud, access: Access) -> None:
        self.cloud, self.access, self.objects = cloud, access, cloud.objects

    def list(self, call: Call) -> Json:
        """GET o: prefix, delimiter, offsets, glob, paging. Prefixes count towards a page as items do."""
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.objects.list")
        query = call.query
        answer: Json = {"kind": "storage#objects"}
        if strict.boolean(query, "softDeleted"):
            return answer
        size = strict.page_size(query, "maxResults", default=1000)
        items: list[Json] = []
        prefixes: list[str] = []
        last = ""
        for entry, document in self._entries(bucket["name"], query):
            if len(items) + len(prefixes) == size:
                answer["nextPageToken"] = encode_token(last)
                break
            if document is None:
                prefixes.append(entry)
                # The next page begins behind everything in the folder.
                last = entry + _LAST
            else:
                items.append(view(document, call))
                last = entry
        if prefixes:
            answer["prefixes"] = prefixes
        if items:
            answer["items"] = items
        return answer

    def patch(self, call: Call) -> Json:
        """PATCH: given fields change, null removes; metadata is merged key by key."""
        return self._change(call, whole=False)

    def update(self, call: Call) -> Json:
        """PUT: all changeable fields that aren't given go."""
        return self._change(call, whole=True)

    def delete(self, call: Call) -> Response:
        """DELETE an object."""
        document = self._find(call, "storage.objects.delete")
        rules.check_preconditions(call.query, document)
        self.objects.delete(document)
        return Response(status_code=204)

    async def compose(self, call: Call) -> Json:
        """POST compose: joins up to 32 objects of one bucket."""
        bucket, name = call.path["bucket"], call.path["object"]
        self.access.bucket(call.principal, bucket, "storage.objects.create", "object")
        rules.check_object_name(name)
        sources = call.body.get("sourceObjects") or []
        if not 1 <= len(sources) <= MAX_SOURCES:
            raise rules.invalid(
                f"The number of source components provided ({len(sources)}) must be between 1 and {MAX_SOURCES}."
            )
        documents = []
        for source in sources:
            document = self.access.object(
                call.principal, bucket, source.get("name", ""), "storage.objects.get"
            )
            wanted = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
            if wanted is not None and str(wanted) != document["generation"]:
                raise rules.condition_not_met()
            # Google's client sends null where the caller names no generation.
            if str(source.get("generation") or document["generation"]) != document["generation"]:
                raise rules.no_object(bucket, source["name"])
            documents.append(document)
        given = call.body.get("destination") or {}
        metadata = {key: given[key] for key in WRITABLE if given.get(key) is not None}
        metadata.setdefault("contentType", documents[0].get("contentType", "application/octet-stream"))
        metadata["componentCount"] = sum(int(document.get("componentCount", 1)) for document in documents)
        metadata.setdefault("storageClass", "STANDARD")
        return view(await self._join(call, documents, bucket, name, metadata), call)

    async def rewrite(self, call: Call) -> Json:
        """POST rewriteTo: copies in one step, whatever the size."""
        document = await self._copy(call)
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": document["size"],
            "objectSize": document["size"],
            "done": True,
            "resource": view(document, call),
        }

    async def copy(self, call: Call) -> Json:
        """POST copyTo."""
        return view(await self._copy(call), call)

    async def _copy(self, call: Call) -> Json:
        source = self.access.object(
            call.principal, call.path["bucket"], call.path["object"], "storage.objects.get"
        )
        if call.query.get("sourceGeneration", source["generation"]) != source["generation"]:
            raise rules.no_object(call.path["bucket"], call.path["object"])
        rules.check_preconditions(
            {
                key.replace("Source", ""): value
                for key, value in call.query.items()
                if key.startswith("ifSource")
            },
            source,
        )
        bucket, name = call.path["to_bucket"], call.path["to_object"]
        self.access.bucket(call.principal, bucket, "storage.objects.create", "object")
        rules.check_object_name(name)
        metadata = {key: source[key] for key in (*WRITABLE, "componentCount") if key in source}
        if call.body:
            metadata = {key: call.body[key] for key in WRITABLE if call.body.get(key) is not None}
            metadata.setdefault("contentType", source.get("contentType", "application/octet-stream"))
        metadata.setdefault("storageClass", "STANDARD")
        return await self._join(call, [source], bucket, name, metadata)

    async def _join(
        self, call: Call, sources: Sequence[Json], bucket: str, name: str, metadata: Json
    ) -> Json:
        """Writes the sources' bytes, one after the other, as a new object."""
        self._check_write(call, bucket, name)
        # All are opened before anything else can run: what is overwritten meanwhile is still read to its end.
        with contextlib.ExitStack() as files:
            opened = [files.enter_context(self.objects.path(source).open("rb")) for source in sources]
            blob = self.objects.new_blob()
            try:
                for file in opened:
                    await blob.copy(file)
                if self.objects.bucket(bucket) is None:
                    raise rules.no_bucket()
                self._check_write(call, bucket, name)
            except BaseException:
                blob.discard()
                raise
        return self.objects.commit(blob, bucket, name, metadata)

    def _check_write(self, call: Call, bucket: str, name: str) -> None:
        current = self.objects.get(bucket, name)
        rules.check_preconditions(call.query, current)
        if current is not None:
            self.access.bucket(call.principal, bucket, "storage.objects.delete", "object")

    def _change(self, call: Call, *, whole: bool) -> Json:
        document = self._find(call, "storage.objects.update")
        rules.check_preconditions(call.query, document)
        changed = {key: value for key, value in document.items() if not whole or key not in WRITABLE}
        for key in WRITABLE:
            if key not in call.body:
                continue
            value = call.body[key]
            if key == "metadata" and isinstance(value, dict):
                merged = {} if whole else dict(document.get("metadata") or {})
                merged |= value
                value = {name: text for name, text in merged.items() if text is not None} or None
            if value is None:
                changed.pop(key, None)
            else:
                changed[key] = value
        changed["storageClass"] = rules.check_storage_class(changed.get("storageClass", ""))
        return view(self.objects.put_metadata(changed), call)

    def _find(self, call: Call, permission: str) -> Json:
        document = self.access.object(call.principal, call.path["bucket"], call.path["object"], permission)
        if call.query.get("generation", document["generation"]) != document["generation"]:
            raise rules.no_object(call.path["bucket"], call.path["object"])
        return document

    def _entries(self, bucket: str, query: Any) -> Iterator[tuple[str, Json | None]]:
        """(name, document) of items and (prefix, None) of prefixes, in order, after the page token."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        token = decode_token(query.get("pageToken", ""))
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        trailing = strict.boolean(query, "includeTrailingDelimiter")
        glob = _pattern(query.get("matchGlob", ""))
        seen = ""
        for document in self.objects.objects(bucket, prefix, after=token):
            name = document["name"]
            if name < start or (end and name >= end) or (glob and not glob.fullmatch(name)):
                continue
            if delimiter and delimiter in name[len(prefix) :]:
                cut = name.index(delimiter, len(prefix)) + len(delimiter)
                folder = name[:cut]
                if trailing and name == folder:
                    yield name, document
                if folder != seen:
                    seen = folder
                    yield folder, None
            else:
                yield name, document


def view(document: Json, call: Call) -> Json:
    """The object as clients see it."""
    from urllib.parse import quote

    bucket, name, generation = document["bucket"], document["name"], document["generation"]
    quoted = quote(name, safe="")
    base = base_url(call)
    shown = {key: value for key, value in document.items() if not key.startswith("_")}
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "selfLink": f"{base}/storage/v1/b/{bucket}/o/{quoted}",
        "mediaLink": f"{base}/download/storage/v1/b/{bucket}/o/{quoted}?generation={generation}&alt=media",
        **shown,
        "timeStorageClassUpdated": document["timeCreated"],
        "timeFinalized": document["timeCreated"],
        "etag": etag(document),
    }


def _pattern(glob: str) -> re.Pattern[str] | None:
    if not glob:
        return None
    try:
        return re.compile(_glob(glob))
    except re.error as error:
        raise rules.invalid(f"Invalid matchGlob: '{glob}'.") from error


def _glob(text: str) -> str:
    """A matchGlob as a regular expression: * and ? within a folder, ** across, […] and {a,b}."""
    out, depth, place = "", 0, 0
    while place < len(text):
        char = text[place]
        if text.startswith("**", place):
            out += ".*"
            place += 1
        elif char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "{":
            depth += 1
            out += "(?:"
        elif char == "}" and depth:
            depth -= 1
            out += ")"
        elif char == "," and depth:
            out += "|"
        elif char == "[" and "]" in text[place:]:
            close = text.index("]", place)
            inner = text[place + 1 : close].replace("\\", "\\\\")
            out += "[" + ("^" + inner[1:] if inner.startswith("!") else inner) + "]"
            place = close
        else:
            out += re.escape(char)
        place += 1
    return out
