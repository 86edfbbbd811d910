"""The plugin process: start-up, the port handed to the engine, the end.

The engine starts a plugin with its own address as the last argument, reads one line from the plugin's stdout,
the port, and connects. It ends a plugin with SIGINT, and waits up to 5 s before it kills it. An engine that
is killed itself ends nothing: its plugins would wait for ever, in the middle of a create they would go on
creating. So the process watches its parent and leaves when that is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import NoReturn

import grpc

from infra.plugin.engine import CHANNEL_OPTIONS, EngineLog
from infra.plugin.protos import provider_pb2_grpc
from infra.plugin.resource import Function, Resource
from infra.plugin.servicer import Configure, Servicer

MAX_CALLS = 256
"""Calls in progress at once, each on a thread made when first needed. More than any engine runs in parallel,
so that a Cancel never waits behind slow creates."""

PARENT_CHECK_SECONDS = 0.5


def serve(
    name: str,
    version: str,
    resources: Iterable[Resource],
    functions: Iterable[Function] = (),
    configure: Configure | None = None,
    about: str = "",
) -> NoReturn:
    """Serve a provider until the engine ends or kills this process. Never returns.

    Args:
        name: The package's name, the first part of its tokens.
        version: The package's version, without a `v`.
        resources: The resource types.
        functions: The functions.
        configure: Called once with the provider's configuration (keys without namespace); raises
        ResourceError.
        about: A sentence added to the error about a resource type or function that the provider has not.
    """
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    engine = EngineLog(engine_address(sys.argv[1:]))
    _server, port = start(Servicer(name, version, resources, functions, configure, about, engine))
    try:
        print(port, flush=True)
    except BrokenPipeError:  # the engine died while this process started
        os._exit(1)
    wait_for_death_of(parent)
    os._exit(1)


def start(servicer: Servicer) -> tuple[grpc.Server, int]:
    """Start a server for the servicer on a free loopback port; returns both. For `serve` and for tests."""
    server = grpc.server(ThreadPoolExecutor(MAX_CALLS), options=CHANNEL_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def engine_address(arguments: list[str]) -> str:
    """The engine's address: the last argument, after flags such as `-v=9` or `--tracing URL`; empty if
    absent.

    It is absent when the plugin is started by hand, to be debugged with `PULUMI_DEBUG_PROVIDERS=name:port`.
    """
    last = arguments[-1] if arguments else ""
    return "" if last.startswith("-") else last


def wait_for_death_of(parent: int) -> None:
    """Return when the process is no longer a child of `parent`."""
    never = threading.Event()
    while os.getppid() == parent:
        never.wait(PARENT_CHECK_SECONDS)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    # Not sys.exit: that waits for the threads of calls in progress, and the engine has already decided.
    os._exit(0)
