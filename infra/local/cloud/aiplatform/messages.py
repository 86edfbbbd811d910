"""Google's own message definitions: parses requests as Google's JSON front end does, and shapes answers.

Definitions come from `data/aiplatform.binpb` (see `generate.py`) into a descriptor pool of their own, so that a process
that also imports Google's client library has no clash.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from infra.local.cloud.aiplatform.walker import Violations, map_entry, repeated, walk
from infra.local.cloud.errors import invalid
from infra.local.cloud.strict import SYSTEM_PARAMETERS

Json = dict[str, Any]

#: Imported by name: the package has no types.
field_behavior_pb2: Any = importlib.import_module("google.api.field_behavior_pb2")
#: Written by `generate.py`.
DATA_FILE = Path(__file__).parent / "data" / "aiplatform.binpb"

REQUIRED = field_behavior_pb2.REQUIRED
OUTPUT_ONLY = field_behavior_pb2.OUTPUT_ONLY
IMMUTABLE = field_behavior_pb2.IMMUTABLE


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DATA_FILE.read_bytes()).file:
        pool.Add(file)
    return pool


def behaviours(field: FieldDescriptor) -> Collection[int]:
    """The `google.api.field_behavior` values of a field."""
    found: Collection[int] = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return found


class Messages:
    """The messages of one API version, "v1" or "v1beta1"."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.package = f"google.cloud.aiplatform.{version}"

    def descriptor(self, name: str) -> Descriptor:
        """The descriptor of a message by its short name, e.g. "Endpoint"."""
        return _pool().FindMessageTypeByName(f"{self.package}.{name}")

    def type_url(self, name: str) -> str:
        """What "@type" says of a message, e.g. "Endpoint"."""
        return f"type.googleapis.com/{self.package}.{name}"

    def parse(self, name: str, body: Any, at: str = "") -> Json:
        """The request as canonical JSON: camelCase names, enum names, no nulls, no default values.

        Args:
            name: message, e.g. "DeployModelRequest".
            body: decoded JSON.
            at: where the message sits in the request, e.g. "endpoint" when the HTTP body is that field.

        Raises:
            GoogleError: INVALID_ARGUMENT with one line a fault, in Google's words.
        """
        descriptor = self.descriptor(name)
        return self._canonical(descriptor, self._walk(descriptor, body, at))

    def check(self, name: str, body: Any) -> None:
        """Raises as `parse` does, without the cost of a canonical copy (predictions may carry megabytes)."""
        self._walk(self.descriptor(name), body, "")

    @staticmethod
    def _walk(descriptor: Descriptor, body: Any, at: str) -> Json:
        if not isinstance(body, dict):
            raise invalid('Invalid JSON payload received. Unknown name "": Root element must be a message.')
        found: Violations = []
        cleaned = walk(body, descriptor, at, found)
        if found:
            raise invalid("\n".join(text for _, text in found), found)
        return cleaned

    def query(self, name: str, given: Mapping[str, str], extra: Collection[str] = ()) -> Json:
        """The query parameters of a request message as canonical JSON.

        Raises:
            GoogleError: INVALID_ARGUMENT for a parameter the message does not have, or of a wrong type.
        """
        descriptor = self.descriptor(name)
        names = {each: field for field in descriptor.fields for each in (field.name, field.json_name)}
        found: Violations = []
        body: Json = {}
        for key, text in given.items():
            if key in SYSTEM_PARAMETERS or key in extra:
                continue
            field = names.get(key)
            if field is None:
                found.append(
                    (
                        "",
                        f'Invalid JSON payload received. Unknown name "{key}": Cannot bind query parameter. '
                        f"Field '{key}' could not be found in request message.",
                    )
                )
            elif text:
                body[field.name] = text
        cleaned = walk(body, descriptor, "", found)
        if found:
            raise invalid("\n".join(text for _, text in found), found)
        return self._canonical(descriptor, cleaned)

    def render(self, name: str, value: Mapping[str, Any], *, enum_ints: bool = False) -> Json:
        """An answer in this version's shape: fields the version lacks are left out, defaults too."""
        message = message_factory.GetMessageClass(self.descriptor(name))()
        json_format.ParseDict(dict(value), message, ignore_unknown_fields=True, descriptor_pool=_pool())
        shaped = json_format.MessageToDict(message, use_integers_for_enums=enum_ints, descriptor_pool=_pool())
        answer: Json = integral(shaped)
        return answer

    def required(self, name: str, value: Mapping[str, Any], at: str) -> list[tuple[str, str]]:
        """(field, message) of every required field that is missing, at any depth of what is there."""
        return list(_missing(self.descriptor(name), value, at))

    def without_output_only(self, name: str, value: Mapping[str, Any]) -> Json:
        """The value less everything that only the service may set; a caller's values there are ignored."""
        return _strip(self.descriptor(name), value)

    def _canonical(self, descriptor: Descriptor, value: Json) -> Json:
        message = message_factory.GetMessageClass(descriptor)()
        try:
            json_format.ParseDict(value, message, descriptor_pool=_pool())
        except json_format.ParseError as error:
            raise invalid(f"Invalid JSON payload received. {error}") from error
        canonical: Json = integral(json_format.MessageToDict(message, descriptor_pool=_pool()))
        return canonical


def integral(value: Any) -> Any:
    """JSON with 1.0 written as 1, which is how Google prints doubles and `google.protobuf.Value` numbers."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {key: integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [integral(item) for item in value]
    return value


def _singular_messages(field: FieldDescriptor, value: Any, at: str) -> Iterator[tuple[Any, str]]:
    """Every message inside a field's value with its path, whether single, repeated or a map's values."""
    if not repeated(field):
        yield value, at
    elif map_entry(field) is not None:
        for index, item in enumerate(value.values()):
            yield item, f"{at}[{index}].value"
    else:
        for index, item in enumerate(value):
            yield item, f"{at}[{index}]"


def _own_message(field: FieldDescriptor) -> Descriptor | None:
    """The message type of a field whose fields are worth a look (not Google's well-known types)."""
    entry = map_entry(field)
    kind = field.message_type if entry is None else entry.fields_by_name["value"].message_type
    if kind is None or kind.full_name.startswith("google.protobuf."):
        return None
    return kind


def _missing(descriptor: Descriptor, value: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    for field in descriptor.fields:
        path = f"{at}.{field.name}" if at else field.name
        given = value.get(field.json_name)
        if given is None:
            if REQUIRED in behaviours(field):
                yield path, "Required field is not set."
            continue
        kind = _own_message(field)
        if kind is not None:
            for item, where in _singular_messages(field, given, path):
                yield from _missing(kind, item, where)


def _strip(descriptor: Descriptor, value: Mapping[str, Any]) -> Json:
    result: Json = {}
    for field in descriptor.fields:
        given = value.get(field.json_name)
        if given is None or OUTPUT_ONLY in behaviours(field):
            continue
        kind = _own_message(field)
        if kind is None:
            result[field.json_name] = given
        elif not repeated(field):
            result[field.json_name] = _strip(kind, given)
        elif map_entry(field) is not None:
            result[field.json_name] = {key: _strip(kind, item) for key, item in given.items()}
        else:
            result[field.json_name] = [_strip(kind, item) for item in given]
    return result


V1 = Messages("v1")
V1BETA1 = Messages("v1beta1")
MESSAGES: Mapping[str, Messages] = {"v1": V1, "v1beta1": V1BETA1}
