"""Messages to the user, through the engine's Log call, and the context that a resource gets."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from infra.plugin.protos import engine_pb2, engine_pb2_grpc

CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 400 * 1024 * 1024)]
"""The message size that the Pulumi SDK itself allows; gRPC's own default, 4 MiB, is below a large stack's
state.
"""

LOG_TIMEOUT_SECONDS = 10.0


class EngineLog:
    """The engine's Log service. Its address may change: a debugger attaches an engine later. Thread-safe."""

    def __init__(self, address: str = "") -> None:
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._address = address

    def attach(self, address: str) -> None:
        """Talk to the engine at this address from now on."""
        with self._lock:
            if address == self._address:
                return
            if self._channel is not None:
                self._channel.close()
            self._channel, self._address = None, address

    def send(
        self, severity: engine_pb2.LogSeverity.ValueType, message: str, urn: str, ephemeral: bool = False
    ) -> None:
        """Send one message. If it does not arrive it is lost: that must not fail what it talks about."""
        channel = self._open()
        if channel is None:
            return
        request = engine_pb2.LogRequest(
            severity=severity, message=message, urn=urn, streamId=0, ephemeral=ephemeral
        )
        try:
            engine_pb2_grpc.EngineStub(channel).Log(request, timeout=LOG_TIMEOUT_SECONDS)
        except (grpc.RpcError, ValueError):  # ValueError: the channel was closed by attach() meanwhile
            return

    def _open(self) -> grpc.Channel | None:
        with self._lock:
            if self._channel is None and self._address:
                self._channel = grpc.insecure_channel(self._address, options=CHANNEL_OPTIONS)
            return self._channel


@dataclass(frozen=True)
class CallContext:
    """The `Context` of one call. Its fields are described there."""

    log: EngineLog
    urn: str = ""
    preview: bool = False
    config: Mapping[str, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    timeout: float | None = None

    @property
    def stack(self) -> str:
        return _urn_part(self.urn, 0).removeprefix("urn:pulumi:")

    @property
    def project(self) -> str:
        return _urn_part(self.urn, 1)

    @property
    def name(self) -> str:
        return _urn_part(self.urn, 3)

    def status(self, message: str) -> None:
        self.log.send(engine_pb2.INFO, message, self.urn, ephemeral=True)

    def info(self, message: str) -> None:
        self.log.send(engine_pb2.INFO, message, self.urn)

    def warn(self, message: str) -> None:
        self.log.send(engine_pb2.WARNING, message, self.urn)

    def error(self, message: str) -> None:
        self.log.send(engine_pb2.ERROR, message, self.urn)

    def debug(self, message: str) -> None:
        self.log.send(engine_pb2.DEBUG, message, self.urn)


def resource_type(urn: str) -> str:
    """The type token in a URN, without the types of its parents."""
    return _urn_part(urn, 2).rpartition("$")[2]


def _urn_part(urn: str, index: int) -> str:
    # The last part, the name, may itself contain "::".
    parts = urn.split("::", 3)
    return parts[index] if len(parts) == 4 else ""
