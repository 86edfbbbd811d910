"""The plugin process: its port, its end, and what it does when its engine dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from infra.plugin.protos import provider_pb2, provider_pb2_grpc
from infra.plugin.server import engine_address
from infra.plugin.values import to_struct

PATIENCE_SECONDS = 20.0


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["127.0.0.1:1234"], "127.0.0.1:1234"),
        (["--logtostderr", "-v=9", "--tracing", "http://trace", "127.0.0.1:1234"], "127.0.0.1:1234"),
        ([], ""),
        (["-v=9"], ""),
    ],
)
def test_the_engine_address_is_the_last_argument(arguments: list[str], address: str) -> None:
    assert engine_address(arguments) == address


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A plugin process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.plugin.resources", "127.0.0.1:1"],
        env={**os.environ, "PROBE_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_at_once_also_during_a_create(
    plugin: tuple[subprocess.Popen[str], int], tmp_path: Path, number: signal.Signals
) -> None:
    process, port = plugin
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        provider = provider_pb2_grpc.ResourceProviderStub(channel)
        assert provider.GetPluginInfo(empty_pb2.Empty()).version == "1.2.3"
        call = provider.Create.future(
            provider_pb2.CreateRequest(urn="urn:pulumi:a::b::probe:index:Slow::one", properties=to_struct({}))
        )
        wait_for(tmp_path / "started")
        process.send_signal(number)

        assert process.wait(PATIENCE_SECONDS) == 0
        assert call.code() == grpc.StatusCode.UNAVAILABLE


def test_nothing_but_the_port_is_written_to_stdout(plugin: tuple[subprocess.Popen[str], int]) -> None:
    process, _ = plugin
    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=PATIENCE_SECONDS)

    assert (out, err) == ("", "")


def test_the_process_leaves_when_its_parent_is_killed_during_a_create(tmp_path: Path) -> None:
    # The parent starts the plugin as an engine does, has it create, and tells its port.
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "p = subprocess.Popen([sys.executable, '-m', 'tests.plugin.resources', '127.0.0.1:1'],"
            " stdout=subprocess.PIPE, start_new_session=True, text=True)\n"
            "print(p.pid, p.stdout.readline().strip(), flush=True)\n"
            "time.sleep(600)",
        ],
        env={**os.environ, "PROBE_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid, port = map(int, parent.stdout.readline().split())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = provider_pb2_grpc.ResourceProviderStub(channel).Create.future(
            provider_pb2.CreateRequest(urn="urn:pulumi:a::b::probe:index:Slow::one", properties=to_struct({}))
        )
        wait_for(tmp_path / "started")
        parent.kill()
        parent.communicate()

        assert call.code() == grpc.StatusCode.UNAVAILABLE
    assert ends(pid)


def wait_for(path: Path) -> None:
    """Wait until a file exists."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        pause.wait(0.02)


def ends(pid: int) -> bool:
    """Whether a process that is no child of this one ends."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            # A zombie that nobody reaps has ended too.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        pause.wait(0.05)
    return False
