"""The predefined roles this project meets, and whether one holds a permission; the table itself is roles.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).with_name("roles.json")


@cache
def table() -> dict[str, dict[str, Any]]:
    """Role name -> {title, permissions: patterns with `*`}. Sources stand in the file."""
    loaded: dict[str, dict[str, Any]] = json.loads(_TABLE.read_text())["roles"]
    return loaded


def exists(role: str) -> bool:
    """Whether there is such a role: one of the table, or a well-formed one of a service that isn't served here.

    A role that isn't in the table permits nothing here; a misspelt role of a service that is served is refused.
    """
    found = re.fullmatch(r"roles/([a-zA-Z]+)\.[a-zA-Z]\w*", role)
    served = {name.removeprefix("roles/").split(".")[0] for name in table()}
    return role in table() or (found is not None and found[1] not in served)


@cache
def holds(role: str, permission: str) -> bool:
    """Whether the role contains the permission; a role that isn't known contains none."""
    entry = table().get(role)
    if entry is None:
        return False
    if any(fnmatchcase(permission, pattern) for pattern in entry.get("except", ())):
        return False
    return any(fnmatchcase(permission, pattern) for pattern in entry["permissions"])


def any_holds(roles: Iterable[str], permission: str) -> bool:
    """Whether one of the roles contains the permission."""
    return any(holds(role, permission) for role in roles)
