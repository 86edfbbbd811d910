"""The level that a container's line says of itself, before the one that Cloud Logging gives it.

Cloud Logging knows no levels of a container: what it writes to stderr is ERROR, all else INFO (Vertex AI's
documentation, online prediction logging). uvicorn's good news and progress bars go to stderr, vLLM's own errors to
stdout.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

OWN: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""As vLLM and uvicorn write them in front of a line, the mildest first."""

# Before the level newer versions of vLLM name the process: `(EngineCore pid=132) ERROR 11-26 …`, perhaps coloured.
# No backslash stands in what follows, for Cloud Logging's strings would take it as their own.
_FRONT: Final = "([^ ]*[(][^)]*pid=[0-9]+[)][^ ]* )?"
BAR: Final = "[0-9]%( Completed)? ?[|]"
"""The pattern of progress bars."""


def begins(levels: Sequence[str]) -> str:
    """The pattern of lines that say one of these levels of themselves."""
    return f"^{_FRONT}({'|'.join(levels)})[: ]"


def own_level(text: str) -> str:
    """What a line says of itself, one of `OWN`; empty where it says nothing."""
    found = re.match(begins(OWN), text)
    return found[2] if found else ""


def severity(text: str, given: str) -> str:
    """The severity of a line that Cloud Logging gives another: its own level; a progress bar is no error."""
    return own_level(text) or ("INFO" if given == "ERROR" and re.search(BAR, text) else given)
