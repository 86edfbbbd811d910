"""How a resource that is imported by its project's number should name the project: as the program does, if possible."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from infra.plugin import Context
from infra.provider.failures import ApiError
from infra.provider.names import Name

# Those that Google's own Pulumi provider reads, in its order.
_VARIABLES = ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")


def spelling(
    ctx: Context,
    name: Name,
    kind: str,
    look: Callable[[str], Mapping[str, Any] | None],
    environ: Mapping[str, str] = os.environ,
) -> str:
    """The project's id if it is known to belong to the number in a name, else what the name has.

    Google shows numbers, programs have ids, and which belong together only Google knows: it finds one resource under
    both names, and answers with the number.

    Args:
        ctx: The engine's call.
        name: The name that was asked for.
        kind: The collection in a name, for example "models".
        look: Gets a resource by its full name, or None.
        environ: The environment.

    Raises:
        Interrupted: the user interrupted the run.
    """
    variables = (environ.get(variable) for variable in _VARIABLES)
    id = ctx.config.get("project") or next(filter(None, variables), "")
    if not name.project.isdigit() or not id or id.isdigit():
        return name.project
    tail = f"/locations/{name.location}/{kind}/{name.id}"
    try:
        found = look(f"projects/{id}{tail}")
    except ApiError as e:
        ctx.debug(f"whether project {id} has the number {name.project}: {e}")
        return name.project
    return id if found and found.get("name") == f"projects/{name.project}{tail}" else name.project
