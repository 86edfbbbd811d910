"""Pulumi's gRPC stubs, without the rest of the Pulumi SDK.

`import pulumi.runtime.proto.provider_pb2` first runs `pulumi/__init__.py`, which imports the whole SDK: 450
modules in 0.45 s, where the stubs with grpc take 0.15 s (measured on 2 cores with pulumi 3.272.0). A preview
starts one process for each provider, so that is paid on every preview. The generated files only import each
other, relatively. So this module makes a namespace package of their folder under a name of its own, an
ordinary feature of the import system, and imports from there. In a process that has imported pulumi already,
its own stubs are used. Both ways give the same classes: protobuf keeps one class for each message of its
pool.

`google.rpc.Status` comes from googleapis-common-protos, where every Google client library has it too. The SDK
has a second copy, `pulumi.runtime.proto.status_pb2`, which registers the same message again; a process that
imports both fails with a protobuf TypeError. Only `pulumi.provider` imports that copy, so nothing here or in
a provider may import `pulumi.provider`. tests/plugin/test_protos.py says when this is no longer needed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

_SDK_STUBS = "pulumi.runtime.proto"
_OWN_NAME = "infra.plugin._stubs"


def _package() -> str:
    """The name of a package from which the stubs can be imported, made on the first call."""
    if _SDK_STUBS in sys.modules:
        return _SDK_STUBS
    sdk = importlib.util.find_spec("pulumi")
    folders = [Path(place, "runtime", "proto") for place in (sdk and sdk.submodule_search_locations) or ()]
    folder = next((folder for folder in folders if Path(folder, "provider_pb2.py").is_file()), None)
    if folder is None:
        return _SDK_STUBS
    spec = ModuleSpec(_OWN_NAME, loader=None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[_OWN_NAME] = importlib.util.module_from_spec(spec)
    return _OWN_NAME


if TYPE_CHECKING:
    from google.rpc import status_pb2  # type: ignore[import-untyped]
    from pulumi.runtime.proto import (
        engine_pb2,
        engine_pb2_grpc,
        plugin_pb2,
        provider_pb2,
        provider_pb2_grpc,
    )
else:
    from google.rpc import status_pb2

    _name = _package()
    engine_pb2 = importlib.import_module(f"{_name}.engine_pb2")
    engine_pb2_grpc = importlib.import_module(f"{_name}.engine_pb2_grpc")
    plugin_pb2 = importlib.import_module(f"{_name}.plugin_pb2")
    provider_pb2 = importlib.import_module(f"{_name}.provider_pb2")
    provider_pb2_grpc = importlib.import_module(f"{_name}.provider_pb2_grpc")

__all__ = [
    "engine_pb2",
    "engine_pb2_grpc",
    "plugin_pb2",
    "provider_pb2",
    "provider_pb2_grpc",
    "status_pb2",
]
