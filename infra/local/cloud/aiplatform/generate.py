"""Regenerates `data/aiplatform.binpb` from Google's own client library.

    python -m infra.local.cloud.aiplatform.generate           # writes the file
    python -m infra.local.cloud.aiplatform.generate --check   # exit 1 when it is not what would be written

The library's classes carry Google's messages; this keeps those that the emulated methods use, for v1 and v1beta1, as
one FileDescriptorSet. Importing the library takes 3-6 s, reading the file milliseconds: the server reads the file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

from infra.local.cloud.aiplatform.messages import DATA_FILE, field_behavior_pb2

README = DATA_FILE.parent / "README.md"
DISTRIBUTION = "google-cloud-aiplatform"
VERSIONS = ("v1", "v1beta1")

#: What the emulated methods read and answer. Everything these refer to comes along.
ROOTS = (
    "UploadModelRequest", "UploadModelResponse", "UploadModelOperationMetadata", "GetModelRequest",
    "ListModelsRequest", "ListModelsResponse", "ListModelVersionsRequest", "ListModelVersionsResponse",
    "UpdateModelRequest", "DeleteModelRequest", "DeleteModelVersionRequest", "MergeVersionAliasesRequest",
    "DeleteOperationMetadata",
    "CreateEndpointRequest", "CreateEndpointOperationMetadata", "GetEndpointRequest", "ListEndpointsRequest",
    "ListEndpointsResponse", "UpdateEndpointRequest", "UpdateEndpointLongRunningRequest",
    "UpdateEndpointOperationMetadata", "DeleteEndpointRequest", "DeployModelRequest", "DeployModelResponse",
    "DeployModelOperationMetadata", "UndeployModelRequest", "UndeployModelResponse",
    "UndeployModelOperationMetadata", "MutateDeployedModelRequest", "MutateDeployedModelResponse",
    "MutateDeployedModelOperationMetadata",
    "PredictRequest", "PredictResponse", "StreamingPredictRequest", "StreamingPredictResponse",
)  # fmt: skip

#: How Google's generator writes `google.api.field_behavior` into the docstrings of the library.
_BEHAVIOURS = {
    "Required.": field_behavior_pb2.REQUIRED,
    "Output only.": field_behavior_pb2.OUTPUT_ONLY,
    "Input only.": field_behavior_pb2.INPUT_ONLY,
    "Immutable.": field_behavior_pb2.IMMUTABLE,
    "Optional.": field_behavior_pb2.OPTIONAL,
    "Identifier.": field_behavior_pb2.IDENTIFIER,
}
_ATTRIBUTE = re.compile(r"^ {8}(\w+) \(", re.MULTILINE)


def build() -> bytes:
    """The bytes of the data file, the same on every run with the same library."""
    wanted = descriptor_pb2.FileDescriptorSet()
    well_known: dict[str, FileDescriptor] = {}
    files = []
    for version in VERSIONS:
        library = importlib.import_module(f"google.cloud.aiplatform_{version}")
        files.append(_version_file(version, library, well_known))
    for name in sorted(well_known, key=lambda each: (_depth(well_known[each]), each)):
        well_known[name].CopyToProto(wanted.file.add())
    for file in files:
        wanted.file.append(file)
    return wanted.SerializeToString(deterministic=True)


def _version_file(
    version: str, library: Any, well_known: dict[str, FileDescriptor]
) -> descriptor_pb2.FileDescriptorProto:
    package = f"google.cloud.aiplatform.{version}"
    found: dict[str, Descriptor | EnumDescriptor] = {}
    imports: dict[str, FileDescriptor] = {}
    for root in ROOTS:
        _collect(getattr(library, root).pb().DESCRIPTOR, package, found, imports)
    for file in imports.values():
        _with_dependencies(file, well_known)
    result = descriptor_pb2.FileDescriptorProto(
        name=f"google/cloud/aiplatform/{version}.proto", package=package, syntax="proto3"
    )
    result.dependency.extend(sorted(imports))
    for name in sorted(found):
        descriptor = found[name]
        if isinstance(descriptor, EnumDescriptor):
            descriptor.CopyToProto(result.enum_type.add())
        else:
            message = result.message_type.add()
            descriptor.CopyToProto(message)
            _annotate(message, getattr(library, descriptor.name, None))
    return result


def _collect(
    descriptor: Descriptor,
    package: str,
    found: dict[str, Descriptor | EnumDescriptor],
    imports: dict[str, FileDescriptor],
) -> None:
    top: Any = descriptor
    while top.containing_type is not None:
        top = top.containing_type
    if descriptor.file.package != package:
        imports[descriptor.file.name] = descriptor.file
        return
    if top.full_name not in found:
        found[top.full_name] = top
        _fields(top, package, found, imports)


def _fields(
    descriptor: Descriptor,
    package: str,
    found: dict[str, Descriptor | EnumDescriptor],
    imports: dict[str, FileDescriptor],
) -> None:
    for nested in descriptor.nested_types:
        _fields(nested, package, found, imports)
    for field in descriptor.fields:
        if field.message_type is not None:
            _collect(field.message_type, package, found, imports)
        elif field.enum_type is not None:
            around = field.enum_type.containing_type
            if around is None:
                found[field.enum_type.full_name] = field.enum_type
            else:
                _collect(around, package, found, imports)


def _annotate(message: descriptor_pb2.DescriptorProto, python_class: Any) -> None:
    """Puts `google.api.field_behavior` on the fields, and undoes the library's renaming of Python keywords."""
    behaviours = _behaviours(getattr(python_class, "__doc__", "") or "")
    for field in message.field:
        for behaviour in behaviours.get(field.name, ()):
            field.options.Extensions[field_behavior_pb2.field_behavior].append(behaviour)
        if field.name.endswith("_"):
            field.name = field.name.rstrip("_")
            field.ClearField("json_name")
    for nested in message.nested_type:
        _annotate(nested, getattr(python_class, nested.name, None))


def _behaviours(docstring: str) -> dict[str, list[int]]:
    _, _, attributes = docstring.partition("Attributes:")
    pieces = _ATTRIBUTE.split("\n" + attributes)
    result: dict[str, list[int]] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        text = " ".join(body.partition("\n")[2].split())
        found: list[int] = []
        progress = True
        while progress:
            progress = False
            for words, value in _BEHAVIOURS.items():
                if text.startswith(words):
                    found.append(value)
                    text = text[len(words) :].lstrip()
                    progress = True
        result[name] = found
    return result


def _with_dependencies(file: FileDescriptor, into: dict[str, FileDescriptor]) -> None:
    into[file.name] = file
    for dependency in file.dependencies:
        _with_dependencies(dependency, into)


def _depth(file: FileDescriptor) -> int:
    return max((_depth(dependency) + 1 for dependency in file.dependencies), default=0)


def readme(version: str) -> str:
    """The data folder's README for this library version."""
    return (
        "# Data\n\n"
        "`aiplatform.binpb` is a protobuf FileDescriptorSet of Google's own v1 and v1beta1 messages. "
        "It is regenerated with "
        f"`python -m infra.local.cloud.aiplatform.generate` from {DISTRIBUTION}=={version} (Apache-2.0); "
        "a test fails when it is not current.\n"
    )


def main(arguments: list[str]) -> int:
    """Writes the file, or with `--check` says whether it is current."""
    data, text = build(), readme(importlib.metadata.version(DISTRIBUTION))
    if "--check" in arguments:
        current = DATA_FILE.exists() and DATA_FILE.read_bytes() == data and README.read_text() == text
        print("current" if current else f"stale: run python -m {__spec__.name if __spec__ else __name__}")
        return 0 if current else 1
    DATA_FILE.parent.mkdir(exist_ok=True)
    DATA_FILE.write_bytes(data)
    README.write_text(text)
    print(f"{DATA_FILE}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
