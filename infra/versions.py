"""The order of vLLM's version numbers. Pure; what changed in which version is decided by those who compare."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["version_key"]


_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:\.post(\d+))?")


def version_key(version: str) -> tuple[int, int, int, int]:
    """Turn ``0.8.5.post1`` into something that compares: major, minor, patch, post-release.

    ``v0.9`` is 0.9.0; what follows the number (``rc1``, ``+cu121``) does not count.

    >>> version_key("0.8.5") < version_key("0.8.5.post1") < version_key("0.10")
    True

    Raises:
        ValueError: it does not begin with a version.
    """
    match = _VERSION.match(version)
    if match is None:
        raise ValueError(f"{version!r} is not a vLLM version such as 0.8.5")
    major, minor, patch, post = (int(part or 0) for part in match.groups())
    return (major, minor, patch, post)
