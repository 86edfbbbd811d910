"""Checks JSON against a message definition and says every fault in the words of Google's JSON front end."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Json = dict[str, Any]
#: (field path, text) of each fault.
Violations = list[tuple[str, str]]

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: ("TYPE_INT32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: ("TYPE_INT64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: ("TYPE_UINT32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: ("TYPE_UINT64", 0, 2**64 - 1),
}
_FLOATS = {FieldDescriptor.TYPE_DOUBLE: "TYPE_DOUBLE", FieldDescriptor.TYPE_FLOAT: "TYPE_FLOAT"}
_ANY_JSON = {"google.protobuf.Value"}
_OBJECTS = {"google.protobuf.Struct", "google.protobuf.Any"}
_LISTS = {"google.protobuf.ListValue"}
_DURATION = re.compile(r"-?\d{1,12}(\.\d{1,9})?s")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def repeated(field: Any) -> bool:
    """Whether a FieldDescriptor is a list or a map (its typing stubs differ between protobuf versions)."""
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)


def map_entry(field: FieldDescriptor) -> Descriptor | None:
    """The entry message of a map field; None for any other field."""
    kind = field.message_type
    return kind if kind is not None and kind.GetOptions().map_entry else None


def walk(value: Json, descriptor: Descriptor, at: str, found: Violations) -> Json:
    """The message with nulls left out and single values of repeated fields in lists; faults go to `found`."""
    result: Json = {}
    names = {each: field for field in descriptor.fields for each in (field.name, field.json_name)}
    oneofs: dict[str, str] = {}
    for key, item in value.items():
        field = names.get(key)
        if field is None:
            found.append((at, _unknown(key, at, "Cannot find field.")))
            continue
        if item is None and (field.message_type is None or field.message_type.full_name not in _ANY_JSON):
            continue
        if field.containing_oneof is not None:
            oneof = field.containing_oneof.name
            if oneof in oneofs:
                where = at or descriptor.name
                found.append(
                    (
                        at,
                        f"Invalid value at '{where}' (oneof), oneof field '{oneof}' is already set. "
                        f"Cannot set '{field.json_name}'",
                    )
                )
                continue
            oneofs[oneof] = key
        cleaned = _field(item, field, key, at, found)
        if cleaned is not None:
            result[field.json_name] = cleaned
    return result


def _field(value: Any, field: FieldDescriptor, key: str, at: str, found: Violations) -> Any:
    path = f"{at}.{field.name}" if at else field.name
    if repeated(field):
        entry = map_entry(field)
        if entry is not None:
            return _map(value, field, entry, key, at, path, found)
        items = value if isinstance(value, list) else [value]
        return [_single(item, field, key, at, f"{path}[{index}]", found) for index, item in enumerate(items)]
    if isinstance(value, list) and not (
        field.message_type is not None and field.message_type.full_name in _ANY_JSON | _LISTS
    ):
        found.append((at, _unknown(key, at, "Proto field is not repeating, cannot start list.")))
        return None
    return _single(value, field, key, at, path, found)


def _map(
    value: Any, field: FieldDescriptor, kind: Descriptor, key: str, at: str, path: str, found: Violations
) -> Any:
    entry = kind.fields_by_name["value"]
    if isinstance(value, list):
        found.append((at, _unknown(key, at, f"Cannot bind a list to map for field '{field.name}'.")))
        return None
    if not isinstance(value, dict):
        found.append((path, _wrong(path, f"type.googleapis.com/{kind.full_name}", value)))
        return None
    return {
        name: _single(item, entry, "value", path, f"{path}[{index}].value", found)
        for index, (name, item) in enumerate(value.items())
    }


def _single(value: Any, field: FieldDescriptor, key: str, at: str, path: str, found: Violations) -> Any:
    if field.message_type is not None:
        return _message(value, field, field.message_type, path, found)
    if isinstance(value, dict):
        found.append(
            (path, f"Invalid value at '{path}' ({_kind(field)}), Starting an object on a scalar field")
        )
        return None
    if isinstance(value, list):
        found.append((at, _unknown(key, at, "Proto field is not repeating, cannot start list.")))
        return None
    cleaned = _scalar(value, field)
    if cleaned is None:
        found.append((path, _wrong(path, _kind(field), value)))
    return cleaned


def _message(value: Any, field: FieldDescriptor, descriptor: Descriptor, path: str, found: Violations) -> Any:
    name = descriptor.full_name
    kind = f"type.googleapis.com/{name}"
    if name in _ANY_JSON:
        return value
    if name == "google.protobuf.FieldMask":
        return _mask(value, path, kind, found)
    if name == "google.protobuf.Duration":
        if isinstance(value, str) and _DURATION.fullmatch(value):
            return value
        reason = f"Field '{field.json_name}', Illegal duration format; duration must end with 's'"
        found.append((path, f"Invalid value at '{path}' ({kind}), {reason}"))
        return None
    if name == "google.protobuf.Timestamp":
        if isinstance(value, str) and _TIMESTAMP.fullmatch(value):
            return value
        reason = f"Field '{field.json_name}', Invalid time format: Failed to parse input"
        found.append((path, f"Invalid value at '{path}' ({kind}), {reason}"))
        return None
    fits = isinstance(value, list) if name in _LISTS else isinstance(value, dict)
    if not fits:
        found.append((path, _wrong(path, kind, value)))
        return None
    return value if name in _OBJECTS | _LISTS else walk(value, descriptor, path, found)


def _mask(value: Any, path: str, kind: str, found: Violations) -> str | None:
    """Field masks are text; the documentation's samples also write {"paths": [...]}."""
    if isinstance(value, dict) and set(value) == {"paths"} and isinstance(value["paths"], list):
        value = ",".join(map(str, value["paths"]))
    if not isinstance(value, str):
        found.append((path, _wrong(path, kind, value)))
        return None
    # json_format takes camelCase only; Google takes both.
    return ",".join(re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), part) for part in value.split(","))


def _scalar(value: Any, field: FieldDescriptor) -> Any:
    """The value as json_format wants it; None when it does not fit the field's type."""
    kind = field.type
    if kind in _INTEGERS:
        return _integer(value, *_INTEGERS[kind][1:])
    if kind in _FLOATS:
        if isinstance(value, bool):
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            return None
    if kind == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(value) if isinstance(value, str) else _only(value, bool)
    if field.enum_type is not None:
        known = {each.number for each in field.enum_type.values} | {
            each.name for each in field.enum_type.values
        }
        return (
            value if isinstance(value, int | str) and not isinstance(value, bool) and value in known else None
        )
    if kind == FieldDescriptor.TYPE_BYTES:
        return value if isinstance(value, str) and _is_base64(value) else None
    return _only(value, str)


def _only(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None


def _integer(value: Any, low: int, high: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _kind(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return f"type.googleapis.com/{field.enum_type.full_name}"
    if field.type in _INTEGERS:
        return _INTEGERS[field.type][0]
    others = {
        FieldDescriptor.TYPE_BOOL: "TYPE_BOOL",
        FieldDescriptor.TYPE_STRING: "TYPE_STRING",
        FieldDescriptor.TYPE_BYTES: "TYPE_BYTES",
    }
    return others.get(field.type) or _FLOATS[field.type]


def _unknown(key: str, at: str, why: str) -> str:
    where = f" at '{at}'" if at else ""
    return f'Invalid JSON payload received. Unknown name "{key}"{where}: {why}'


def _wrong(path: str, kind: str, value: Any) -> str:
    shown = (
        json.dumps(value, ensure_ascii=False) if not isinstance(value, dict | list) else "a message or list"
    )
    return f"Invalid value at '{path}' ({kind}), {shown}"
