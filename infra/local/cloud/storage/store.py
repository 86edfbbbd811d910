"""Buckets and objects: metadata as documents, bytes as files that are complete before the metadata names them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from infra.local.cloud.clock import Clock
from infra.local.cloud.store import Store

Json = dict[str, Any]
BUCKETS, OBJECTS, UPLOADS = "buckets", "objects", "uploads"
#: Objects larger than this are refused: a laptop's disk isn't a data centre. Google's own limit is 5 TiB.
MAX_OBJECT_BYTES = 4 * 2**30
_CHUNK = 2**20
#: Seconds for which a finished resumable upload still answers a client that lost the answer.
_REMEMBER_UPLOADS = 24 * 3600


class _Crc(Protocol):
    def update(self, data: bytes) -> None: ...

    def digest(self) -> bytes: ...


def new_crc32c() -> _Crc:
    """A running CRC32C (Castagnoli), by Google's C code where it is installed, else in Python."""
    try:
        import google_crc32c
    except ImportError:
        from infra.local.cloud.storage.crc32c import Crc32c

        return Crc32c()
    crc: _Crc = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    return crc


class Blob:
    """Bytes being written: a file that gets a name only in `ObjectStore.commit`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO = path.open("wb")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = new_crc32c()

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        self._file.write(data)
        self._md5.update(data)
        self._crc.update(data)
        self.size += len(data)

    async def copy(self, file: BinaryIO) -> None:
        """Appends a whole file, letting other requests run in between."""
        while chunk := file.read(_CHUNK):
            self.write(chunk)
            await asyncio.sleep(0)

    def close(self) -> None:
        """Flushes; the checksums are final."""
        self._file.close()

    def discard(self) -> None:
        """Removes the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    @property
    def md5(self) -> str:
        """Base64 MD5 of what was written."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str:
        """Base64 big-endian CRC32C of what was written."""
        return base64.b64encode(self._crc.digest()).decode()


class ObjectStore:
    """All buckets and objects; also the reader of gs:// addresses for the other services."""

    def __init__(self, store: Store, clock: Clock, directory: Path) -> None:
        self._store, self._clock, self._directory = store, clock, directory
        directory.mkdir(parents=True, exist_ok=True)
        self._remove_orphans()

    # gs:// addresses -------------------------------------------------------------------------------------------

    def exists(self, uri: str) -> bool:
        """Whether there is such an object, or any object below this prefix."""
        bucket, name = split_uri(uri)
        if self.get(bucket, name) is not None:
            return True
        prefix = name.rstrip("/") + "/" if name else ""
        return next(self.objects(bucket, prefix), None) is not None

    def read(self, uri: str) -> bytes:
        """The object's bytes.

        Raises:
            FileNotFoundError: there is no such object.
        """
        bucket, name = split_uri(uri)
        document = self.get(bucket, name)
        if document is None:
            raise FileNotFoundError(f"No such object: {bucket}/{name}")
        return self.path(document).read_bytes()

    def list(self, uri: str) -> list[str]:
        """gs:// addresses of every object that starts with the prefix, sorted."""
        bucket, prefix = split_uri(uri)
        return [f"gs://{bucket}/{document['name']}" for document in self.objects(bucket, prefix)]

    # Buckets ---------------------------------------------------------------------------------------------------

    def bucket(self, name: str) -> Json | None:
        """The bucket's document, or None."""
        return self._store.get(BUCKETS, name)

    def buckets(self) -> Iterator[Json]:
        """Every bucket, by name."""
        for _, document in self._store.items(BUCKETS):
            yield document

    def put_bucket(self, document: Json) -> None:
        """Creates or replaces a bucket."""
        self._store.put(BUCKETS, document["name"], document)

    def delete_bucket(self, name: str) -> None:
        """Forgets an (empty) bucket."""
        self._store.delete(BUCKETS, name)

    # Objects ---------------------------------------------------------------------------------------------------

    def get(self, bucket: str, name: str) -> Json | None:
        """The object's document, or None."""
        return self._store.get(OBJECTS, f"{bucket}/{name}")

    def objects(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Json]:
        """Objects whose name starts with `prefix`, strictly after the name `after`, by code point."""
        for _, document in self._store.items(
            OBJECTS, f"{bucket}/{prefix}", f"{bucket}/{after}" if after else ""
        ):
            yield document

    def path(self, document: Json) -> Path:
        """Where the object's bytes are."""
        return self._directory / str(document["_file"])

    def new_blob(self) -> Blob:
        """An empty blob; `commit` or `discard` it."""
        return Blob(self._directory / f"{uuid.uuid4().hex}.part")

    def commit(self, blob: Blob, bucket: str, name: str, metadata: Json) -> Json:
        """Makes the blob's bytes the object; answers the new document. Atomic, also against SIGKILL."""
        blob.close()
        file = f"{uuid.uuid4().hex}.bin"
        os.replace(blob.path, self._directory / file)
        now = self._clock.now()
        old = self.get(bucket, name)
        document = {
            **metadata,
            "name": name,
            "bucket": bucket,
            "generation": str(self.generation()),
            "metageneration": "1",
            "size": str(blob.size),
            "md5Hash": blob.md5,
            "crc32c": blob.crc32c,
            "timeCreated": self._clock.millis(now),
            "updated": self._clock.millis(now),
            "_file": file,
        }
        self._store.put(OBJECTS, f"{bucket}/{name}", document)
        if old is not None:
            self.path(old).unlink(missing_ok=True)
        return document

    def put_metadata(self, document: Json) -> Json:
        """Stores changed metadata of the same bytes."""
        document = {
            **document,
            "metageneration": str(int(document["metageneration"]) + 1),
            "updated": self._clock.millis(),
        }
        self._store.put(OBJECTS, f"{document['bucket']}/{document['name']}", document)
        return document

    def delete(self, document: Json) -> None:
        """Removes the object; its bytes go after its name, so a crash leaves no name without bytes."""
        self._store.delete(OBJECTS, f"{document['bucket']}/{document['name']}")
        self.path(document).unlink(missing_ok=True)

    def generation(self) -> int:
        """A new generation number: microseconds since the epoch, strictly growing."""
        with self._store.transaction():
            last = int((self._store.get("_sequences", "generation") or {"value": 0})["value"])
            value = max(last + 1, int(self._clock.now() * 1_000_000))
            self._store.put("_sequences", "generation", {"value": value})
        return value

    def clear(self) -> None:
        """Removes all bytes (the documents are the store's)."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True, exist_ok=True)

    # Resumable uploads -----------------------------------------------------------------------------------------

    def upload(self, upload_id: str) -> Json | None:
        """The resumable upload's document, or None."""
        return self._store.get(UPLOADS, upload_id)

    def put_upload(self, upload_id: str, document: Json) -> None:
        """Stores a resumable upload, and forgets finished ones of yesterday."""
        for key, other in list(self._store.items(UPLOADS)):
            if other["result"] is not None and self._clock.now() - other["at"] > _REMEMBER_UPLOADS:
                self.delete_upload(key)
        self._store.put(UPLOADS, upload_id, {**document, "at": self._clock.now()})

    def delete_upload(self, upload_id: str) -> None:
        """Forgets it and its bytes."""
        self._store.delete(UPLOADS, upload_id)
        self.upload_path(upload_id).unlink(missing_ok=True)

    def upload_path(self, upload_id: str) -> Path:
        """The file that collects its bytes."""
        return self._directory / f"{upload_id}.upload"

    def _remove_orphans(self) -> None:
        """Removes files that nothing names: what a killed process had begun."""
        named = {document["_file"] for _, document in self._store.items(OBJECTS)}
        named |= {f"{key}.upload" for key, _ in self._store.items(UPLOADS)}
        for path in self._directory.iterdir():
            if path.name not in named:
                with contextlib.suppress(OSError):
                    path.unlink()


def split_uri(uri: str) -> tuple[str, str]:
    """("bucket", "object/name") of a gs:// address.

    Raises:
        ValueError: it is not one.
    """
    if not uri.startswith("gs://"):
        raise ValueError(f"{uri!r} is not a Cloud Storage address; write gs://BUCKET/OBJECT.")
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name
