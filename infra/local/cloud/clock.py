"""Time as the local cloud sees it: the machine's clock plus an offset that tests move instead of sleeping."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since the epoch, and Google's timestamp text."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Seconds since the epoch, offset included."""
        return time.time() + self.offset

    def timestamp(self, at: float | None = None) -> str:
        """RFC 3339 UTC with microseconds, e.g. "2026-08-22T10:00:00.123456Z"."""
        moment = datetime.fromtimestamp(self.now() if at is None else at, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def millis(self, at: float | None = None) -> str:
        """RFC 3339 UTC with milliseconds, the form of Cloud Storage."""
        return self.timestamp(at)[:-4] + "Z"
