"""The last requests served, for tests and for people: what, who, which status. No bodies: they hold tokens."""

from __future__ import annotations

from collections import deque
from typing import Any

Json = dict[str, Any]
#: How many requests are remembered.
LENGTH = 5000


class RequestLog:
    """A ring of request records; not durable."""

    def __init__(self) -> None:
        self._records: deque[Json] = deque(maxlen=LENGTH)
        self._number = 0

    def add(self, record: Json) -> None:
        """Appends one record, numbered."""
        self._number += 1
        self._records.append({"n": self._number, **record})

    def all(self, path: str = "", method: str = "") -> list[Json]:
        """Records whose path contains `path` and whose method is `method`, oldest first."""
        return [
            record
            for record in self._records
            if path in record["path"] and method.upper() in ("", record["method"])
        ]

    def clear(self) -> None:
        """Forgets them."""
        self._records.clear()
