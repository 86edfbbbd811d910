"""A provider served over a real gRPC channel, and an engine that records what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from infra.plugin.engine import CHANNEL_OPTIONS, EngineLog
from infra.plugin.protos import engine_pb2, engine_pb2_grpc, provider_pb2_grpc
from infra.plugin.server import start
from infra.plugin.servicer import Servicer
from tests.plugin.resources import NAME, RESOURCES, VERSION, Add


class RecordingEngine(engine_pb2_grpc.EngineServicer):
    """Keeps the messages that a provider logs."""

    def __init__(self) -> None:
        self.messages: list[engine_pb2.LogRequest] = []

    def Log(self, request: engine_pb2.LogRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.messages.append(request)
        return empty_pb2.Empty()


@pytest.fixture
def engine() -> Iterator[tuple[RecordingEngine, str]]:
    """The recording engine and its address."""
    servicer = RecordingEngine()
    server = grpc.server(ThreadPoolExecutor(4))
    engine_pb2_grpc.add_EngineServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def provider(
    tmp_path: Path, engine: tuple[RecordingEngine, str]
) -> Iterator[provider_pb2_grpc.ResourceProviderStub]:
    """The probe provider behind a channel, with `tmp_path` as its cloud."""
    resources = [resource(tmp_path) for resource in RESOURCES]
    servicer = Servicer(NAME, VERSION, resources, [Add()], about="Ask for more.", engine=EngineLog(engine[1]))
    server, port = start(servicer)
    # The Go client takes error details of 16 MiB; Python's takes 16 KiB unless told.
    options = [*CHANNEL_OPTIONS, ("grpc.max_metadata_size", 16 * 1024 * 1024)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(None)
