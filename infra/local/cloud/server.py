"""The server process: one per state folder, on 127.0.0.1 only, stopped in order by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import uvicorn

from infra.local.cloud.app import build
from infra.local.cloud.core import Cloud, CloudConfig

Json = dict[str, Any]
HOST = "127.0.0.1"
LOCK, RECORD = "server.lock", "server.json"
#: Seconds that requests under way get at shutdown.
GRACE = 3


class AlreadyRunning(Exception):
    """Another process serves this state folder; `record` is its {pid, port, url} where it could be read."""

    def __init__(self, state_dir: Path, record: Json) -> None:
        self.record = record
        where = f"process {record['pid']} at {record['url']}" if record else "another process"
        super().__init__(
            f"The state folder {state_dir} is already served by {where}. Use that server, stop it "
            f"(kill {record.get('pid', 'PID')}), or choose another folder with --state."
        )


@dataclass
class Running:
    """A server that is up."""

    url: str
    port: int
    cloud: Cloud
    server: uvicorn.Server


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling, which raises the signal again and so ends the process before clean-up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `serve`."""
        yield


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes any free one.

    Raises:
        OSError: the port is taken; the message says so and what to do.
    """
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that say TCP; without it a kept-alive
    # answer waits 40 ms for a delayed acknowledgement.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno,
            f"Port {port} of {HOST} cannot be used ({error.strerror}). Choose another with --port, or --port 0 "
            "for any free one.",
        ) from error
    sock.listen(256)
    return sock


@contextlib.contextmanager
def lock(state_dir: Path) -> Iterator[IO[str]]:
    """Holds the state folder; the kernel lets go of it however the process ends.

    Raises:
        AlreadyRunning: somebody else holds it.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / LOCK).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(state_dir, read_record(state_dir)) from error
        yield handle


def read_record(state_dir: Path) -> Json:
    """{pid, port, url, started} of the server that last served the folder; {} if there was none."""
    try:
        record: Json = json.loads((state_dir / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record


def running(state_dir: Path) -> Json | None:
    """The record of the server that serves the folder now, or None."""
    try:
        with lock(state_dir):
            return None
    except AlreadyRunning as error:
        return error.record


async def serve(config: CloudConfig, port: int = 0, ready: Callable[[Running], None] | None = None) -> None:
    """Serves until told to stop (SIGTERM, SIGINT, or `server.should_exit`).

    Args:
        config: state folder and behaviour.
        port: TCP port on 127.0.0.1; 0 for any free one.
        ready: called once, when requests are answered.

    Raises:
        AlreadyRunning: another process serves the folder.
        OSError: the port is taken.
    """
    with lock(config.state_dir), contextlib.closing(listen(port)) as sock:
        actual = int(sock.getsockname()[1])
        url = f"http://{HOST}:{actual}"
        cloud = Cloud(config)
        server = _Server(
            uvicorn.Config(
                build(cloud),
                log_level="warning",
                access_log=False,
                lifespan="on",
                server_header=False,
                # Google keeps idle connections for minutes; a short limit races with pooled clients.
                timeout_keep_alive=240,
                timeout_graceful_shutdown=GRACE,
            )
        )
        record = {
            "pid": os.getpid(),
            "port": actual,
            "url": url,
            "started": cloud.clock.timestamp(),
            "container": config.container,
        }
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if server.started:
            _write(config.state_dir / RECORD, record)
            if ready is not None:
                ready(Running(url, actual, cloud, server))
        await task
        if read_record(config.state_dir).get("pid") == os.getpid():
            (config.state_dir / RECORD).unlink(missing_ok=True)


def _write(path: Path, document: Json) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(document) + "\n")
    os.replace(part, path)


def wait_until_up(url: str, seconds: float) -> bool:
    """Whether the server answers its health route within so many seconds."""
    import http.client

    host, _, port = url.removeprefix("http://").partition(":")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(host, int(port), timeout=1)
            connection.request("GET", "/_local/health")
            if connection.getresponse().status == 200:
                return True
        time.sleep(0.02)
    return False
