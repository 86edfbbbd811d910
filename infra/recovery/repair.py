"""The repaired state: pure, from the state of a killed run and what its creates are known to have made."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from infra.recovery.find import Found

__all__ = ["MARK", "pending", "repaired", "unread"]

Json = dict[str, Any]

MARK = "taken into the state by vertex-vllm recover"
"""Init error of a resource that was taken into the state: the engine updates such a one in its next run, whatever its
inputs say, and a recovery that was killed before it read the resource back finds it again."""

#: Made with an update in the next run; the others are read back by their provider.
_FINISHED_BY_UPDATE = "vertexserving:"


def pending(deployment: Mapping[str, Any]) -> list[Json]:
    """The operations that were under way when a run was killed."""
    return list(deployment.get("pending_operations") or ())


def unread(deployment: Mapping[str, Any]) -> list[str]:
    """URNs of resources that were taken into the state and not read back: a recovery was killed in between."""
    return [
        each["urn"]
        for each in deployment.get("resources") or ()
        if any(MARK in error for error in each.get("initErrors") or ())
        and not each["type"].startswith(_FINISHED_BY_UPDATE)
    ]


def repaired(deployment: Mapping[str, Any], found: Sequence[tuple[Json, Found | None]]) -> Json:
    """The state without pending operations, and with what they made.

    Args:
        deployment: `deployment` of `pulumi stack export`; it is not changed.
        found: Each pending create, with what it made.
    """
    result: Json = copy.deepcopy(dict(deployment))
    result.pop("pending_operations", None)
    resources: list[Json] = list(result.get("resources") or ())
    for operation, made in found:
        if made is not None:
            _put(resources, operation["resource"], made)
    result["resources"] = resources
    return result


def _put(resources: list[Json], resource: Mapping[str, Any], made: Found) -> None:
    """Puts a resource where Pulumi wants it: before every other of the same URN, which are then to be deleted."""
    urn = resource["urn"]
    same = [place for place, each in enumerate(resources) if each["urn"] == urn]
    if any(resources[place].get("id") == made.id and not resources[place].get("delete") for place in same):
        return  # an earlier recovery has done it
    entry = {
        **copy.deepcopy(dict(resource)),
        "id": made.id,
        "outputs": {**_echo(resource.get("inputs") or {}), **made.outputs},
        "initErrors": [f"{MARK}: {made.words}"],
    }
    if not same:
        resources.append(entry)
        return
    resources.insert(same[0], entry)
    for each in [each for each in resources if each["urn"] == urn and each is not entry]:
        if each.pop("pendingReplacement", False):
            resources.remove(each)  # deleted already, kept for its replacement only
        else:
            each["delete"] = True


def _echo(inputs: Mapping[str, Any]) -> Json:
    """The inputs as outputs; no output of the provider repeats the token, not even encrypted."""
    return {key: copy.deepcopy(value) for key, value in inputs.items() if key != "hfToken"}
