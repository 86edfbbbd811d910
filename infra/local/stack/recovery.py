"""What a killed run was creating and did create: found in the local cloud, so that the engine takes it into its state.

Only what the engine alone would create a second time, or would be refused to: resources of pulumi-gcp with an id that
can be told from their inputs. Grants, APIs and objects can be set twice, and vertexserving finds its own again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Inputs = Mapping[str, Any]


def _endpoint(inputs: Inputs) -> tuple[str, str]:
    name = f"projects/{inputs['project']}/locations/{inputs['location']}/endpoints/{inputs['name']}"
    return name, f"v1/{name}"


def _account(inputs: Inputs) -> tuple[str, str]:
    email = f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com"
    name = f"projects/{inputs['project']}/serviceAccounts/{email}"
    return name, f"v1/{name}"


def _bucket(inputs: Inputs) -> tuple[str, str]:
    return inputs["name"], f"storage/v1/b/{inputs['name']}"


#: Type -> the engine's id of the resource with these inputs, and the path that answers where it exists.
_FOUND_BY: dict[str, Callable[[Inputs], tuple[str, str]]] = {
    "gcp:vertex/aiEndpoint:AiEndpoint": _endpoint,
    "gcp:serviceaccount/account:Account": _account,
    "gcp:storage/bucket:Bucket": _bucket,
}


def created(pending: Iterable[Mapping[str, Any]], exists: Callable[[str], bool]) -> dict[str, str]:
    """URN -> id of what pending operations of a killed run did create.

    Args:
        pending: `pending_operations` of the stack's state.
        exists: Whether a path of the cloud's API answers.
    """
    found = {}
    for operation in pending:
        resource = operation["resource"]
        if operation["type"] == "creating" and (find := _FOUND_BY.get(resource["type"])):
            try:
                id, path = find(resource["inputs"])
            except KeyError:
                continue
            if exists(path):
                found[resource["urn"]] = id
    return found


def needs_a_deployment(pending: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a killed run was creating what only another create of the same can find again.

    Objects cannot be imported by pulumi-gcp, so an object that exists and that no state has would keep the bucket.
    """
    return any(
        operation["type"] == "creating"
        and operation["resource"]["type"].startswith(("vertexserving:", "gcp:storage/bucketObject:"))
        for operation in pending
    )
