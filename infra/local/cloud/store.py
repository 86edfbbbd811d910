"""Durable JSON documents: collections of key -> document in one SQLite file.

SQLite in write-ahead mode: a process killed with SIGKILL loses at most the transaction it was in, never half of one.
Documents come back as fresh copies, so a handler may change what it got and `put` it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.cloud.errors import invalid

Json = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """One page of a collection; `next_page_token` is empty on the last."""

    items: list[Json]
    next_page_token: str


class Store:
    """All persistent state of the local cloud but object bytes.

    Single-threaded by design (every handler runs on the server's one loop); a `put` outside `transaction()` is
    durable when it returns.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._db = sqlite3.connect(directory / "store.sqlite3", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        # NORMAL: survives the death of the process; only a power cut may lose the last transactions.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents (collection TEXT, key TEXT, value TEXT NOT NULL, "
            "PRIMARY KEY (collection, key)) WITHOUT ROWID"
        )
        self._depth = 0

    def close(self) -> None:
        """Closes the file; the store cannot be used afterwards."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together or not at all; may be nested. Do not await inside."""
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._db.execute("COMMIT")

    def get(self, collection: str, key: str) -> Json | None:
        """The document, or None."""
        row = self._db.execute(
            "SELECT value FROM documents WHERE collection=? AND key=?", (collection, key)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, collection: str, key: str, document: Json) -> None:
        """Creates or replaces the document."""
        self._db.execute(
            "INSERT INTO documents VALUES (?,?,?) ON CONFLICT (collection, key) DO UPDATE SET value=excluded.value",
            (collection, key, json.dumps(document, separators=(",", ":"))),
        )

    def delete(self, collection: str, key: str) -> bool:
        """Removes the document; False if there was none."""
        return (
            self._db.execute("DELETE FROM documents WHERE collection=? AND key=?", (collection, key)).rowcount
            > 0
        )

    def delete_prefix(self, collection: str, prefix: str) -> int:
        """Removes every document whose key starts with `prefix` (all of them for ""); answers how many."""
        return self._db.execute(
            "DELETE FROM documents WHERE collection=? AND substr(key,1,?)=?",
            (collection, len(prefix), prefix),
        ).rowcount

    def items(self, collection: str, prefix: str = "", after: str = "") -> Iterator[tuple[str, Json]]:
        """(key, document) pairs in key order (by code point), keys starting with `prefix`, strictly after `after`."""
        start = max(prefix, after)
        for key, value in self._db.execute(
            "SELECT key, value FROM documents WHERE collection=? AND key>=? AND substr(key,1,?)=? AND key!=? "
            "ORDER BY key",
            (collection, start, len(prefix), prefix, after),
        ).fetchall():
            yield key, json.loads(value)

    def count(self, collection: str, prefix: str = "") -> int:
        """How many documents have a key that starts with `prefix`."""
        row = self._db.execute(
            "SELECT COUNT(*) FROM documents WHERE collection=? AND substr(key,1,?)=?",
            (collection, len(prefix), prefix),
        ).fetchone()
        return int(row[0])

    def list(self, collection: str, prefix: str = "", page_size: int = 0, page_token: str = "") -> Page:
        """One page in key order.

        Args:
            collection: name of the collection.
            prefix: only keys that start with it.
            page_size: at most so many (0: all).
            page_token: `next_page_token` of the page before.

        Raises:
            GoogleError: INVALID_ARGUMENT for a token that this store did not make.
        """
        items: list[Json] = []
        last = ""
        for key, document in self.items(collection, prefix, decode_token(page_token)):
            if page_size and len(items) == page_size:
                return Page(items, encode_token(last))
            items.append(document)
            last = key
        return Page(items, "")

    def next_number(self, sequence: str) -> int:
        """1, 2, 3, … for each sequence name, durable."""
        with self.transaction():
            number = int((self.get("_sequences", sequence) or {"value": 0})["value"]) + 1
            self.put("_sequences", sequence, {"value": number})
        return number

    def clear(self, keep: tuple[str, ...] = ()) -> None:
        """Removes every collection but those named."""
        marks = ",".join("?" for _ in keep)
        self._db.execute(f"DELETE FROM documents WHERE collection NOT IN ({marks})", keep)


def encode_token(key: str) -> str:
    """The opaque page token for "after this key"; empty for an empty key."""
    return base64.urlsafe_b64encode(b"k" + key.encode()).decode() if key else ""


def decode_token(token: str) -> str:
    """The key in a page token.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is not one.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        if raw[:1] != b"k":
            raise ValueError(token)
        return raw[1:].decode()
    except (binascii.Error, ValueError) as error:
        raise invalid("The provided page token is invalid.") from error
