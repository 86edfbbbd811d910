"""Bytes in and out: simple, multipart and resumable uploads; downloads with ranges and checksums."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError
from infra.local.cloud.payload import decode_json
from infra.local.cloud.rest import Call, answer
from infra.local.cloud.storage import rules, wire
from infra.local.cloud.storage.access import Access
from infra.local.cloud.storage.buckets import base_url, etag
from infra.local.cloud.storage.errors import media_error
from infra.local.cloud.storage.objects import view
from infra.local.cloud.storage.schema import OBJECT, WRITABLE
from infra.local.cloud.storage.store import MAX_OBJECT_BYTES, Blob

Json = dict[str, Any]
_CHUNK = 2**18
#: Chunks of a resumable upload but the last must be multiples of this. Source: JSON API, resumable uploads.
RESUMABLE_UNIT = 256 * 1024
#: A multipart upload is held in memory once; larger files go resumable, as Google's client does from 8 MiB on.
MAX_MULTIPART_BYTES = 256 * 2**20


class Transfer:
    """Handlers of uploads and downloads."""

    def __init__(self, cloud: Cloud, access: Access) -> None:
        self.cloud, self.access, self.objects = cloud, access, cloud.objects

    # Downloads -------------------------------------------------------------------------------------------------

    def get(self, call: Call) -> Json | Response:
        """GET o/{object}: metadata, or the bytes with alt=media."""
        if call.query.get("alt") == "media":
            try:
                return self.download(call)
            except GoogleError as error:
                return media_error(error)
        document = self._document(call)
        return view(document, call)

    def download(self, call: Call) -> Response:
        """GET the bytes, or one range of them."""
        document = self._document(call)
        size = int(document["size"])
        headers = {
            "x-goog-generation": document["generation"],
            "x-goog-metageneration": document["metageneration"],
            "x-goog-hash": f"crc32c={document['crc32c']},md5={document['md5Hash']}",
            "x-goog-stored-content-encoding": document.get("contentEncoding", "identity"),
            "x-goog-stored-content-length": document["size"],
            "x-goog-storage-class": document["storageClass"],
            "accept-ranges": "bytes",
            "etag": etag(document),
        }
        for header, field in (
            ("cache-control", "cacheControl"),
            ("content-disposition", "contentDisposition"),
            ("content-encoding", "contentEncoding"),
            ("content-language", "contentLanguage"),
        ):
            if document.get(field):
                headers[header] = document[field]
        start, end, status = 0, size, 200
        requested = wire.byte_range(call.request.headers.get("range", ""), size)
        if requested is not None:
            start, end = requested
            if start >= size or start >= end:
                raise GoogleError(
                    "OUT_OF_RANGE",
                    f"The requested range cannot be satisfied: the object has {size} bytes.",
                    http_status=416,
                    headers={"content-range": f"bytes */{size}"},
                )
            status = 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        headers["content-length"] = str(end - start)
        # Opened now: the bytes are read to their end even if the object is overwritten meanwhile.
        file = self.objects.path(document).open("rb")

        async def stream() -> AsyncIterator[bytes]:
            left = end - start
            with file:
                file.seek(start)
                while left > 0:
                    chunk = file.read(min(_CHUNK, left))
                    if not chunk:
                        return
                    left -= len(chunk)
                    yield chunk

        media_type = document.get("contentType", "application/octet-stream")
        response = StreamingResponse(stream(), status, headers)
        # Set here: Starlette would add a charset to text types.
        response.headers["content-type"] = media_type
        return response

    def _document(self, call: Call) -> Json:
        bucket, name = call.path["bucket"], call.path["object"]
        document = self.access.object(call.principal, bucket, name, "storage.objects.get")
        if call.query.get("generation", document["generation"]) != document["generation"]:
            raise rules.no_object(bucket, name)
        rules.check_preconditions(call.query, document, reading=True)
        return document

    # Uploads ---------------------------------------------------------------------------------------------------

    async def begin(self, call: Call) -> Json | Response:
        """POST an upload of any of the three types."""
        self.access.bucket(call.principal, call.path["bucket"], "storage.objects.create", "object")
        kind = call.query.get("uploadType", "media")
        if kind == "media":
            return await self._simple(call)
        if kind == "multipart":
            return await self._multipart(call)
        if kind == "resumable":
            return await self._start(call)
        raise rules.invalid(f"Invalid value for uploadType: '{kind}'. Use media, multipart or resumable.")

    async def _simple(self, call: Call) -> Json:
        metadata = {"name": call.query.get("name", "")}
        content_type = call.request.headers.get("content-type")
        if content_type:
            metadata["contentType"] = content_type
        self._check_target(call, metadata["name"])
        blob = self.objects.new_blob()
        try:
            async for chunk in call.request.stream():
                _write(blob, chunk)
            return self._commit(call, blob, metadata, call.query, wire.hashes(call.request.headers))
        except BaseException:
            blob.discard()
            raise

    async def _multipart(self, call: Call) -> Json:
        header = Message()
        header["content-type"] = call.request.headers.get("content-type", "")
        boundary = header.get_param("boundary")
        if not header.get_content_type().startswith("multipart/") or not isinstance(boundary, str):
            raise rules.invalid(
                "Multipart body is missing its boundary: the content type must be multipart/related."
            )
        raw = bytearray()
        async for chunk in call.request.stream():
            raw += chunk
            if len(raw) > MAX_MULTIPART_BYTES:
                raise rules.invalid(
                    f"Multipart upload of more than {MAX_MULTIPART_BYTES} bytes; use a resumable upload.",
                    "uploadTooLarge",
                )
        parts = wire.parts_of(bytes(raw), boundary.encode())
        if len(parts) != 2:
            raise rules.invalid(
                f"Malformed multipart body: {len(parts)} parts, but metadata and media are needed."
            )
        (_, first), (media_headers, media) = parts
        metadata = _metadata(first)
        metadata["name"] = call.query.get("name") or metadata.get("name", "")
        metadata.setdefault("contentType", media_headers.get("content-type", "application/octet-stream"))
        self._check_target(call, metadata["name"])
        blob = self.objects.new_blob()
        try:
            _write(blob, media)
            return self._commit(call, blob, metadata, call.query, wire.hashes(call.request.headers))
        except BaseException:
            blob.discard()
            raise

    async def _start(self, call: Call) -> Response:
        raw = bytearray()
        async for chunk in call.request.stream():
            raw += chunk
        metadata = _metadata(bytes(raw)) if raw.strip() else {}
        metadata["name"] = call.query.get("name") or metadata.get("name", "")
        if "contentType" not in metadata:
            metadata["contentType"] = call.request.headers.get(
                "x-upload-content-type", "application/octet-stream"
            )
        self._check_target(call, metadata["name"])
        rules.check_preconditions(call.query, self.objects.get(call.path["bucket"], metadata["name"]))
        upload_id = f"local-{uuid.uuid4().hex}"
        conditions = {key: value for key, value in call.query.items() if key.startswith("if")}
        self.objects.put_upload(
            upload_id,
            {
                "bucket": call.path["bucket"],
                "metadata": metadata,
                "conditions": conditions,
                "total": call.request.headers.get("x-upload-content-length"),
                "result": None,
            },
        )
        self.objects.upload_path(upload_id).touch()
        location = (
            f"{base_url(call)}/upload/storage/v1/b/{call.path['bucket']}/o"
            f"?uploadType=resumable&name={quote(metadata['name'], safe='')}&upload_id={upload_id}"
        )
        return Response(status_code=200, headers={"location": location, "x-guploader-uploadid": upload_id})

    async def resume(self, call: Call) -> Response:
        """PUT a chunk, or ask how much there is ("Content-Range: bytes */N")."""
        upload_id, upload = self._upload(call)
        if upload["result"] is not None:
            return answer(call.request, view(upload["result"], call))
        path = self.objects.upload_path(upload_id)
        have = path.stat().st_size if path.exists() else 0
        start, end, total = wire.content_range(call.request.headers.get("content-range", ""))
        if start is not None and start > have:
            raise GoogleError(
                "UNAVAILABLE",
                f"Invalid request: the upload has {have} bytes, but the chunk starts at {start}.",
                http_status=503,
            )
        skip = have - start if start is not None else 0
        received = 0
        with path.open("ab") as file:
            async for chunk in call.request.stream():
                received += len(chunk)
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                file.write(chunk[skip:])
                skip = 0
                if have + received > MAX_OBJECT_BYTES:
                    raise _too_large()
        have = path.stat().st_size
        whole = call.request.headers.get("content-range") is None
        if start is not None and end is not None and received != end - start + 1:
            raise rules.invalid(
                f"Failed to parse Content-Range header: it names {end - start + 1} bytes, but {received} came."
            )
        if whole or (total is not None and have >= total):
            if total is not None and have != total:
                raise rules.invalid(f"Invalid request: {total} bytes were announced, but {have} came.")
            return await self._finish(call, upload_id, upload)
        if received and have % RESUMABLE_UNIT:
            raise rules.invalid(
                f"Invalid request. The number of bytes uploaded is required to be equal or greater than "
                f"{RESUMABLE_UNIT}, except for the final request (it's recommended to be the exact multiple of "
                f"{RESUMABLE_UNIT}). The received request contained {received} bytes, which does not meet this "
                "requirement."
            )
        headers = {"x-guploader-uploadid": upload_id}
        if have:
            headers["range"] = f"bytes=0-{have - 1}"
        return Response(status_code=308, headers=headers)

    def cancel(self, call: Call) -> Response:
        """DELETE a resumable upload."""
        upload_id, _ = self._upload(call)
        self.objects.delete_upload(upload_id)
        return Response(status_code=499)

    async def _finish(self, call: Call, upload_id: str, upload: Json) -> Response:
        blob = self.objects.new_blob()
        try:
            with self.objects.upload_path(upload_id).open("rb") as file:
                await blob.copy(file)
            document = self._stored(
                call,
                blob,
                upload["bucket"],
                upload["metadata"],
                upload["conditions"],
                wire.hashes(call.request.headers),
            )
        except BaseException:
            blob.discard()
            raise
        # Kept for the client that lost the answer and asks again.
        self.objects.put_upload(upload_id, {**upload, "result": document})
        self.objects.upload_path(upload_id).write_bytes(b"")
        return answer(call.request, view(document, call))

    def _upload(self, call: Call) -> tuple[str, Json]:
        upload_id = call.query.get("upload_id", "")
        upload = self.objects.upload(upload_id) if upload_id else None
        if upload is None:
            raise GoogleError(
                "NOT_FOUND", "No such upload: it was never begun here, was cancelled or has expired."
            )
        return upload_id, upload

    def _check_target(self, call: Call, name: str) -> None:
        rules.check_object_name(name)
        if self.objects.get(call.path["bucket"], name) is not None:
            self.access.bucket(call.principal, call.path["bucket"], "storage.objects.delete", "object")

    def _commit(
        self, call: Call, blob: Blob, metadata: Json, conditions: Mapping[str, str], hashes: Mapping[str, str]
    ) -> Json:
        return view(self._stored(call, blob, call.path["bucket"], metadata, conditions, hashes), call)

    def _stored(
        self,
        call: Call,
        blob: Blob,
        bucket_name: str,
        metadata: Json,
        conditions: Mapping[str, str],
        hashes: Mapping[str, str],
    ) -> Json:
        """Checks and commits; from the check of the preconditions on nothing awaits, so it is atomic."""
        bucket = self.objects.bucket(bucket_name)
        if bucket is None:
            raise rules.no_bucket()
        name = metadata["name"]
        rules.check_preconditions(conditions, self.objects.get(bucket_name, name))
        wanted = {"crc32c": metadata.get("crc32c"), "md5": metadata.get("md5Hash")}
        wanted |= {key: value for key, value in hashes.items() if key in wanted}
        for kind, actual in (("crc32c", blob.crc32c), ("md5", blob.md5)):
            given = wanted[kind]
            if given and given != actual:
                label = {"crc32c": "CRC32C", "md5": "MD5 hash"}[kind]
                raise rules.invalid(
                    f'Provided {label} "{given}" doesn\'t match calculated {label} "{actual}".'
                )
        kept = {key: metadata[key] for key in WRITABLE if metadata.get(key) is not None}
        if call.query.get("contentEncoding"):
            kept["contentEncoding"] = call.query["contentEncoding"]
        kept.setdefault("contentType", "application/octet-stream")
        kept["storageClass"] = rules.check_storage_class(kept.get("storageClass") or bucket["storageClass"])
        return self.objects.commit(blob, bucket_name, name, kept)


def _write(blob: Blob, chunk: bytes) -> None:
    blob.write(chunk)
    if blob.size > MAX_OBJECT_BYTES:
        raise _too_large()


def _too_large() -> GoogleError:
    return rules.invalid(
        f"The object has more than {MAX_OBJECT_BYTES} bytes, the most that the local cloud takes.",
        "uploadTooLarge",
    )


def _metadata(raw: bytes) -> Json:
    try:
        metadata = decode_json(raw)
    except GoogleError as error:
        raise rules.invalid("Parse Error: the object's metadata are not JSON.", "parseError") from error
    if not isinstance(metadata, dict):
        raise rules.invalid("Parse Error: the object's metadata are not a JSON object.", "parseError")
    strict.check_body(metadata, OBJECT)
    return metadata
