"""Property values between the engine's wire format and plain Python.

The wire knows only JSON; what JSON cannot say is spelled with agreed strings. An unknown value (an output
that a preview cannot know yet) is one of seven strings, one for each type it may turn out to have. Secrets,
outputs, assets, archives and references to resources are objects marked by a signature. Assets are carried;
of the others this provider host tells the engine that it accepts none, so it only has to recognise them in
order to refuse them clearly.

Source of the constants: pulumi/sdk `go/common/resource/plugin/rpc.go` and
`go/common/resource/{properties,sig}.go`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT_SIGNATURE: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
ASSET_SIGNATURE: Final = "c44067f5952c0a294b673a41bacd8c17"
REFUSED_SIGNATURES: Final = {
    "0def7320c3a5731c473e5ecbe6d01bc7": "an archive",
    "5cf8f73096256a8f31e491e813e4eb8e": "a resource",
}

UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_STRINGS: Final = frozenset(
    {
        UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)

# The wire's only number is a double, which holds integers exactly up to here.
LARGEST_INTEGER: Final = 2**53


class Unknown:
    """The type of `UNKNOWN`. It equals only itself and has no truth value, so that no check passes by
    accident.
    """

    _instance: Unknown | None = None

    def __new__(cls) -> Unknown:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        raise TypeError("an unknown value has no truth value; compare with `is UNKNOWN` first")

    def __copy__(self) -> Unknown:
        return self

    def __deepcopy__(self, memo: object) -> Unknown:
        return self

    def __reduce__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()
"""A value that a preview cannot know yet. Compare with `is`."""


@dataclass(frozen=True)
class Asset:
    """A file or a text as a property: one of ``path``, ``text`` and ``uri``, the others empty.

    The engine gives its SHA-256 in hexadecimal as ``hash``; a state keeps the hash and may have left the text
    out. A relative path is relative to the folder that the engine runs in, which is the plugin's too.
    """

    path: str = ""
    text: str = ""
    uri: str = ""
    hash: str = ""

    def __str__(self) -> str:
        return self.path or self.uri or "a text"


class WireError(ValueError):
    """A value that this host does not carry; `path` says where, `str(e)` says what and why."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{path or 'the properties'}: {problem}")


def contains_unknown(value: object) -> bool:
    """Whether `value` is UNKNOWN or holds it at any depth."""
    if value is UNKNOWN:
        return True
    if isinstance(value, Mapping):
        return any(contains_unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(contains_unknown(item) for item in value)
    return False


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Plain properties of a message from the engine. Whole numbers become int.

    Raises:
        WireError: for an archive or a reference to a resource.
    """
    # Sorted: the order of a message's map is arbitrary, and what is made of it should not change from run to
    # run.
    return {key: _from_value(value, key) for key, value in sorted(struct.fields.items())}


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """A message for the engine.

    Raises:
        WireError: for a value that the wire cannot carry, with the path to it.
    """
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        _into_value(struct.fields[_text(key, key)], value, key)
    return struct


def _from_value(value: struct_pb2.Value, path: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if text in UNKNOWN_STRINGS else text
    if kind == "number_value":
        number = value.number_value
        whole = number.is_integer() and abs(number) <= LARGEST_INTEGER
        return int(number) if whole else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_from_value(item, f"{path}[{n}]") for n, item in enumerate(value.list_value.values)]
    if kind == "struct_value":
        return _from_object(value.struct_value, path)
    return None


_ASSET_FIELDS: Final = ("path", "text", "uri", "hash")


def _from_object(struct: struct_pb2.Struct, path: str) -> Any:
    fields = struct.fields
    if SIGNATURE_KEY not in fields:
        return {key: _from_value(value, f"{path}.{key}") for key, value in sorted(fields.items())}
    signature = fields[SIGNATURE_KEY].string_value
    if signature == SECRET_SIGNATURE:
        return _from_value(fields["value"], path)
    if signature == OUTPUT_SIGNATURE:
        return _from_value(fields["value"], path) if "value" in fields else UNKNOWN
    if signature == ASSET_SIGNATURE:
        return Asset(**{key: fields[key].string_value for key in _ASSET_FIELDS if key in fields})
    what = REFUSED_SIGNATURES.get(signature, f"a value of an unsupported kind (signature {signature})")
    raise WireError(
        path, f"{what} is not accepted here; give text, a number, true or false, a list or a map."
    )


def _into_value(target: struct_pb2.Value, value: Any, path: str) -> None:
    if value is UNKNOWN:
        target.string_value = UNKNOWN_STRING
    elif value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, (int, float)):
        target.number_value = _number(value, path)
    elif isinstance(value, str):
        target.string_value = _text(value, path)
    elif isinstance(value, Asset):
        given = {key: text for key in _ASSET_FIELDS if (text := getattr(value, key))}
        _into_value(target, {SIGNATURE_KEY: ASSET_SIGNATURE, **given}, path)
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            if not isinstance(key, str):
                raise WireError(path, f"a map's keys must be text, not {type(key).__name__} ({key!r}).")
            _into_value(target.struct_value.fields[_text(key, path)], item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        target.list_value.SetInParent()
        for n, item in enumerate(value):
            _into_value(target.list_value.values.add(), item, f"{path}[{n}]")
    else:
        raise WireError(path, f"a value of type {type(value).__name__} cannot be sent to the engine.")


def _number(value: float, path: str) -> float:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise WireError(path, f"{value} is beyond 2^53, the largest integer that a property carries exactly.")
    if not math.isfinite(value):
        raise WireError(path, f"{value} is not a finite number.")
    return float(value)


def _text(value: str, path: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as e:
        raise WireError(path, f"the text is not valid Unicode ({e.reason} at character {e.start}).") from None
    return value
