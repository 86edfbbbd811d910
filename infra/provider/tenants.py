"""Who has what deployed on an endpoint: read from the labels of the models, which every stack of this project sets.

A deployed model has no labels of its own. Its model has: the stack's two, and `vertex-vllm-traffic` where the stack
declares its share. So no stack has to know another's state, and a deployed model of an older version is told too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.plugin import Context
from infra.provider.failures import ApiError, Kind, classify
from infra.provider.names import PROJECT_LABEL, STACK_LABEL, TRAFFIC_LABEL, stack_labels
from infra.provider.retry import CHANGE, Patience
from infra.provider.traffic import Split, Tenant, split_of

if TYPE_CHECKING:
    from infra.provider.vertex import Vertex


@dataclass(frozen=True)
class Tenancy:
    """The tenants of an endpoint.

    Attributes:
        mine: The stack's own, with what it declares now.
        rest: The others.
    """

    mine: Tenant
    rest: tuple[Tenant, ...]


def declared_share(vertex: Vertex, model: str) -> int | None:
    """The share that the stack of a model declares, by the model's label.

    Raises:
        ApiError, Interrupted: the model could not be read.
    """
    return _declared(_labels(vertex, model))


def tenancy(
    ctx: Context, vertex: Vertex, endpoint: Mapping[str, Any], keeper: str, declared: int | None
) -> Tenancy:
    """Who is on an endpoint.

    Args:
        ctx: The engine's call, which names the stack.
        vertex: The service.
        endpoint: The endpoint as Google shows it.
        keeper: A deployed model of the stack itself, there or not yet; nothing is asked about it.
        declared: The share that the stack itself declares.

    Raises:
        ApiError, Interrupted: a model could not be read.
    """
    own = stack_labels(ctx.project, ctx.stack)
    mine = [keeper]
    found: dict[str, tuple[list[str], int | None]] = {}
    for live in endpoint.get("deployedModels", ()):
        id = str(live.get("id"))
        if id == keeper:
            continue
        labels = _labels(vertex, str(live.get("model", "")))
        project, stack = labels.get(PROJECT_LABEL), labels.get(STACK_LABEL)
        if own == {PROJECT_LABEL: project, STACK_LABEL: stack}:
            mine.append(id)
            continue
        name = f"stack {stack} of project {project}" if project and stack else f"deployed model {id}"
        found.setdefault(name, ([], _declared(labels)))[0].append(id)
    rest = tuple(Tenant(tuple(ids), share, name) for name, (ids, share) in found.items())
    return Tenancy(Tenant(tuple(mine), declared, "this stack"), rest)


def move(
    ctx: Context, vertex: Vertex, name: str, wanted: Callable[[Mapping[str, Any]], Split | None]
) -> Mapping[str, Any]:
    """Makes an endpoint's split what a function of the endpoint says, whoever else changes it; answers the endpoint.

    Raises:
        ApiError, Interrupted: Google refused, or went on refusing; the user interrupted.
    """
    patience = Patience(ctx, CHANGE, vertex.pace.scale)
    while True:
        endpoint = vertex.get_endpoint(name)
        if endpoint is None:
            raise ApiError("NOT_FOUND", f"There is no endpoint {name}.")
        split = wanted(endpoint)
        if split is None or split == split_of(endpoint):
            return endpoint
        try:
            vertex.set_traffic(str(endpoint["name"]), split, str(endpoint.get("etag", "")))
        except ApiError as e:
            # Not there: a deployed model that went meanwhile. The next look decides.
            if not patience.again(e):
                raise


def _labels(vertex: Vertex, model: str) -> Mapping[str, str]:
    """The labels of a model; none of one that is not ours to read."""
    try:
        return (vertex.get_model(model.partition("@")[0]) or {}).get("labels") or {}
    except ApiError as e:
        if classify(e) in (Kind.PERMISSION, Kind.INVALID):
            return {}
        raise


def _declared(labels: Mapping[str, str]) -> int | None:
    text = labels.get(TRAFFIC_LABEL, "")
    return int(text) if text.isdecimal() and 1 <= int(text) <= 100 else None
