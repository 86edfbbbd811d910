"""Exceptions of a resource turned into the gRPC statuses that the engine understands."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

import grpc

from infra.plugin.protos import provider_pb2, status_pb2
from infra.plugin.resource import PartialFailure, ResourceError
from infra.plugin.values import WireError, to_struct


@dataclass(frozen=True)
class Failure(grpc.Status):
    """What a call is aborted with.

    After an update or a delete, the engine takes INTERNAL and UNKNOWN to mean that nobody knows whether
    anything was changed, and every other code to mean that nothing was.
    """

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...] = ()


def failure_of(error: Exception, provider: str, doing: str) -> Failure:
    """The failure to abort with; `doing` is the operation and its object, for the text about a bug."""
    if isinstance(error, PartialFailure):
        try:
            return _partial(error)
        except WireError as e:
            return _bug(e, provider, doing)
    if isinstance(error, ResourceError):
        return Failure(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    if isinstance(error, WireError):
        return Failure(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    return _bug(error, provider, doing)


def is_bug(error: Exception) -> bool:
    """Whether the exception is none that a resource is meant to raise."""
    return not isinstance(error, (PartialFailure, ResourceError, WireError))


def traceback_of(error: Exception) -> str:
    """The whole traceback, for the debug log."""
    return "".join(traceback.format_exception(error))


def _partial(error: PartialFailure) -> Failure:
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.id,
        properties=to_struct(error.outputs),
        reasons=error.reasons,
        inputs=to_struct(error.inputs) if error.inputs is not None else None,
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(detail)
    metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    return Failure(grpc.StatusCode.UNKNOWN, str(error), metadata)


def _bug(error: Exception, provider: str, doing: str) -> Failure:
    first_line = (str(error).splitlines() or [""])[0]
    return Failure(
        grpc.StatusCode.INTERNAL,
        f"This is a bug in the provider {provider}, {doing}: {type(error).__name__}: {first_line} "
        "(`pulumi up --debug` shows where; please report it)",
    )
