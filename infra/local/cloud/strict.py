"""Refuses what Google's JSON front end refuses: unknown fields, unknown query parameters, wrong JSON types."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from infra.local.cloud.errors import GoogleError, invalid

#: Query parameters every Google API takes. Source: discovery documents, `parameters` at the top level.
SYSTEM_PARAMETERS = frozenset(
    {
        "$.xgafv", "$alt", "$callback", "$fields", "$key", "$outputDefaults", "$prettyPrint", "$req", "$userProject",
        "access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "quotaUser",
        "uploadType", "upload_protocol", "userIp", "userProject",
    }
)  # fmt: skip


_KINDS = {str: "TYPE_STRING", bool: "TYPE_BOOL", int: "TYPE_INT64"}


class Any_:
    """Schema mark: any JSON value."""


ANY = Any_()
#: A schema is a type (str, int, bool, float), ANY, [schema] for lists, {"*": schema} for maps, {field: schema} for
#: messages. int also takes Google's int64 text.
Schema = Any


def check_query(given: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Raises for the query parameters that a method does not have, in Google's words."""
    violations = [
        (
            "",
            f"Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' "
            "could not be found in request message.",
        )
        for name in given
        if name not in allowed and name not in SYSTEM_PARAMETERS
    ]
    if violations:
        raise invalid("\n".join(text for _, text in violations), violations)


def camel(name: str) -> str:
    """The JSON name of a proto field: `page_size` is `pageSize`."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def proto_body(value: Any, schema: Schema) -> Any:
    """The body as protos over JSON have it: `dry_run` under its JSON name `dryRun`, fields that are null left out.

    Google's front end takes both names everywhere, and `google-cloud-logging` sends both. A field given twice keeps
    its own spelling, so that `check_body` refuses it.
    """
    if isinstance(schema, list):
        if isinstance(value, list):
            return [proto_body(item, schema[0]) for item in value]
        return proto_body(value, schema[0])
    if not isinstance(schema, dict) or not isinstance(value, dict):
        return value
    if "*" in schema:
        return {key: proto_body(item, schema["*"]) for key, item in value.items()}
    names = {key: key if key in schema or camel(key) in value else camel(key) for key in value}
    return {
        name: proto_body(value[key], schema.get(name, ANY))
        for key, name in names.items()
        if value[key] is not None or name not in schema
    }


def camel_query(given: Mapping[str, str], allowed: Collection[str]) -> dict[str, str]:
    """The query parameters under the names that the method knows them by."""
    return {
        key if key in allowed or camel(key) not in allowed else camel(key): text
        for key, text in given.items()
    }


def check_body(body: Any, schema: Mapping[str, Schema]) -> None:
    """Raises for fields that `schema` lacks and for values of a wrong JSON type; all of them at once."""
    violations: list[tuple[str, str]] = []
    _walk(body, dict(schema), "", violations)
    if violations:
        raise invalid("\n".join(text for _, text in violations), violations)


def _walk(value: Any, schema: Schema, path: str, found: list[tuple[str, str]]) -> None:
    if value is None or schema is ANY:
        return
    if isinstance(schema, list):
        # Google's parser takes a single value for a repeated field.
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            _walk_item(item, schema[0], f"{path}[{index}]", found)
    elif isinstance(schema, dict):
        if not isinstance(value, dict):
            found.append(_wrong_type(path, value, "message"))
        elif "*" in schema:
            for key, item in value.items():
                if item is None and not isinstance(schema["*"], dict):
                    continue  # How labels, metadata and limits are taken away.
                _walk_item(item, schema["*"], f"{path}[{key}]", found)
        else:
            for key, item in value.items():
                if key in schema:
                    _walk(item, schema[key], f"{path}.{key}" if path else key, found)
                else:
                    found.append(_unknown(path, key))
    elif not _fits(value, schema):
        found.append(_wrong_type(path, value, _KINDS[schema]))


def _walk_item(value: Any, schema: Schema, path: str, found: list[tuple[str, str]]) -> None:
    """An element of a list or a map, which a field may not leave out by being null."""
    if value is None and schema is not ANY:
        kind = _KINDS.get(schema, "message") if isinstance(schema, type) else "message"
        found.append((path, f"Invalid value at '{path}' ({kind}), null"))
    else:
        _walk(value, schema, path, found)


def _fits(value: Any, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"-?[0-9]{1,19}", value) else None
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, kind)


def _unknown(path: str, key: str) -> tuple[str, str]:
    where = f" at '{path}'" if path else ""
    return path, f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.'


def _wrong_type(path: str, value: Any, kind: str) -> tuple[str, str]:
    if isinstance(value, str):
        shown = f'"{value}"'
    elif isinstance(value, dict | list):
        field = path.rsplit(".", 1)[-1]
        return path, (
            f'Invalid JSON payload received. Unknown name "{field}": Proto field is not repeating, cannot start list.'
            if isinstance(value, list)
            else f"Invalid value at '{path}' ({kind}), Starting an object on a scalar field"
        )
    else:
        shown = str(value).lower()
    return path, f"Invalid value at '{path}' ({kind}), {shown}"


def page_size(
    query: Mapping[str, str], name: str = "pageSize", default: int = 100, maximum: int = 1000
) -> int:
    """The page size a list call asked for, capped as Google caps it.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is not a number or negative.
    """
    text = query.get(name, "")
    if not text:
        return default
    try:
        size = int(text)
    except ValueError as error:
        raise _bad_parameter(name, text) from error
    if size < 0:
        raise invalid(f"Invalid value for {name}: {size}; it must not be negative.")
    return min(size or default, maximum)


def boolean(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """A boolean query parameter.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is neither true nor false.
    """
    text = query.get(name, "")
    if not text:
        return default
    if text.lower() not in {"true", "false"}:
        raise _bad_parameter(name, text, "TYPE_BOOL")
    return text.lower() == "true"


def _bad_parameter(name: str, text: str, kind: str = "TYPE_INT32") -> GoogleError:
    message = f"Invalid value at '{name}' ({kind}), \"{text}\""
    return invalid(message, [(name, message)])
