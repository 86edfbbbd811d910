"""Times as Google writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["parse_time"]


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time (or a date) in UTC; None where it is none. A time without a zone is one in UTC.

    Google's have up to nanoseconds; what is beyond microseconds is cut.
    """
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
