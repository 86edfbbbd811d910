"""A model that is there already: whether it is this stack's, and making it agree with the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infra.plugin import Context, ResourceError
from infra.plugin.resource import Properties
from infra.provider import content
from infra.provider.failures import redact
from infra.provider.names import stack_labels

if TYPE_CHECKING:
    from infra.provider.rest import Json
    from infra.provider.vertex import Vertex


def own_labels(live: Json, inputs: Mapping[str, Any]) -> dict[str, str]:
    """The labels that are not Google's own."""
    given = inputs.get("labels") or {}
    return {k: v for k, v in (live.get("labels") or {}).items() if not k.startswith("goog-") or k in given}


def must_be_ours(ctx: Context, live: Json, inputs: Properties) -> None:
    """A model is adopted only if an earlier run of this stack uploaded it: destroy will delete it."""
    labels = live.get("labels") or {}
    if any(labels.get(key) != value for key, value in stack_labels(ctx.project, ctx.stack).items()):
        id = str(live["name"]).rpartition("/")[2]
        raise ResourceError(
            f"There is a model with the id {id} that this stack did not upload (its labels: {labels or 'none'}).\n"
            f"  Give this one another modelId, or take that one over with "
            f"`pulumi import vertexserving:index:Model {ctx.name} {live['name']}`."
        )


def agree(vertex: Vertex, live: Json, inputs: Properties) -> Json:
    """Makes display name and labels agree, after making sure that the rest, which is fixed, does."""
    spec, token = content.container_from_api(live.get("containerSpec") or {})
    wanted, found = content.container_of(inputs.get("containerSpec")), dict(spec)
    alike = not spec or content.same_container(wanted, found)
    where = "" if alike else content.difference(wanted, found, "containerSpec")
    if not where and token is not None and token != inputs.get("hfToken"):
        where = "the Hugging Face token differs"
    if not where and (live.get("artifactUri") or None) != (inputs.get("artifactUri") or None):
        where = content.difference(inputs.get("artifactUri"), live.get("artifactUri"), "artifactUri")
    if where:
        name = live["name"]
        id = name.rpartition("/")[2]
        raise ResourceError(
            f"There is another model with the id {id}: {redact(where, inputs.get('hfToken'), token)}.\n"
            f"  Give this one another modelId, or, if nothing needs that one, run "
            f"`gcloud ai models delete {id} --region {inputs['location']} --project {inputs['project']}`."
        )
    labels = {k: v for k, v in (live.get("labels") or {}).items() if k.startswith("goog-")}
    labels.update(inputs.get("labels") or {})
    changed: Json = {}
    if live.get("displayName") != inputs["displayName"]:
        changed["display_name"] = inputs["displayName"]
    if (live.get("labels") or {}) != labels:
        changed["labels"] = labels
    if not changed:
        return live
    # Name and labels belong to the model, whichever version was looked at.
    body = {
        "name": str(live["name"]).partition("@")[0],
        "displayName": inputs["displayName"],
        "labels": labels,
    }
    updated = vertex.update_model(body, list(changed))
    return {**live, **{key: updated[key] for key in ("displayName", "labels") if key in updated}}
