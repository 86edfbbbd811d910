"""Field masks: which paths a message has, the part of a resource that is read, the part that is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor

from infra.local.cloud.aiplatform.walker import map_entry, repeated
from infra.local.cloud.errors import invalid

Json = dict[str, Any]


def paths(mask: str, descriptor: Descriptor, field: str) -> list[str]:
    """The mask's paths in camelCase, each checked against the message.

    Args:
        mask: canonical text, e.g. "displayName,labels".
        descriptor: the message it is about.
        field: name of the mask's field in the request, e.g. "update_mask".

    Raises:
        GoogleError: INVALID_ARGUMENT for a path that the message does not have.
    """
    result = []
    for path in filter(None, (part.strip() for part in mask.split(","))):
        if path != "*" and not _exists(path.split("."), descriptor):
            raise invalid(
                f"Invalid value at '{field}' (type.googleapis.com/google.protobuf.FieldMask), "
                f"path '{path}' is not a field of {descriptor.full_name}."
            )
        result.append(path)
    return result


def _exists(parts: Sequence[str], descriptor: Descriptor | None) -> bool:
    if descriptor is None:
        return False
    fields = {each.json_name: each for each in descriptor.fields} | {
        each.name: each for each in descriptor.fields
    }
    field = fields.get(parts[0])
    if field is None:
        return False
    if len(parts) == 1:
        return True
    if repeated(field):
        # Below a map there is one key; below a list nothing can be named.
        return map_entry(field) is not None and len(parts) == 2
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Struct":
        return True
    return _exists(parts[1:], field.message_type)


def select(value: Mapping[str, Any], chosen: Sequence[str]) -> Json:
    """The part of `value` at these paths; all of it for no paths or "*"."""
    if not chosen or "*" in chosen:
        return dict(value)
    result: Json = {}
    for path in chosen:
        source: Any = value
        target = result
        parts = path.split(".")
        for part in parts[:-1]:
            source = source.get(part) if isinstance(source, dict) else None
            if source is None:
                break
            target = target.setdefault(part, {})
        if isinstance(source, dict | Mapping) and parts[-1] in source:
            target[parts[-1]] = source[parts[-1]]
    return result


def read(value: Mapping[str, Any], path: str) -> Any:
    """What is at a path; None when it isn't set."""
    current: Any = value
    for part in path.split("."):
        if not isinstance(current, dict) or part not in current:
            return None
        current = current[part]
    return current


def write(value: Json, path: str, new: Any) -> None:
    """Sets (or with None removes) what is at a path, in place."""
    *parents, last = path.split(".")
    current = value
    for part in parents:
        current = current.setdefault(part, {})
    if new is None:
        current.pop(last, None)
    else:
        current[last] = new
