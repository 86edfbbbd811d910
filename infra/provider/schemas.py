"""The resources in the package schema, by which `pulumi import` writes code; made from the inputs' descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.provider.fields import Flag, Items, Kind, Record, Table, Whole


def resource_schema(
    about: str, inputs: Record, outputs: Mapping[str, str], secret: str = ""
) -> dict[str, Any]:
    """A resource in Pulumi's package schema.

    Args:
        about: What it is.
        inputs: Its inputs; all but the secret one are outputs too.
        outputs: Further outputs, each with its type.
        secret: The input that is a secret and no output.
    """
    properties = {key: _type(kind) for key, kind in inputs.properties.items()}
    if secret:
        properties[secret]["secret"] = True
    echoed = {key: value for key, value in properties.items() if key != secret}
    return {
        "description": about,
        "inputProperties": properties,
        "requiredInputs": sorted(inputs.required),
        "properties": {**echoed, **{key: {"type": type} for key, type in outputs.items()}},
    }


def _type(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Whole):
        return {"type": "integer"}
    if isinstance(kind, Flag):
        return {"type": "boolean"}
    if isinstance(kind, Items):
        return {"type": "array", "items": _type(kind.item)}
    if isinstance(kind, Table):
        return {"type": "object", "additionalProperties": _type(kind.value)}
    if isinstance(kind, Record):  # a map of its own, so that the provider has no types beside its resources
        return {"type": "object", "additionalProperties": {"$ref": "pulumi.json#/Any"}}
    return {"type": "string"}
