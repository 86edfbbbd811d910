"""The local cloud of this clone as a background process: found, started on a free port, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.local.cloud import cli
from infra.local.cloud.server import read_record, running, wait_until_up
from infra.local.engine.steps import LOCAL, ROOT, Problem, output_tail, write_atomically

STATE = LOCAL / "cloud"
LOG = STATE / "server.log"
PORT = STATE / "port"
USUAL_PORT = cli.DEFAULT_PORT
#: Seconds until a server that was started answers; it imports everything from a cold disk once.
_START_SECONDS = 60
_STOP_SECONDS = 20
_SERVE = (sys.executable, "-m", "infra.local.cloud", "serve")


@dataclass(frozen=True)
class Server:
    """The server that serves this clone's state folder now."""

    url: str
    pid: int
    container: str

    def state(self) -> dict[str, Any]:
        """What exists in the local cloud, by kind."""
        return self._get("_local/state")

    def _get(self, path: str) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
        with opener.open(f"{self.url}/{path}", timeout=30) as answer:
            document: dict[str, Any] = json.load(answer)
        return document


def find() -> Server | None:
    """The server of this clone, None where none runs. It holds its state folder's lock, so it cannot be another's."""
    record = running(STATE.resolve()) if STATE.exists() else None
    if not record or "pid" not in record:
        return None
    return Server(record["url"], record["pid"], record.get("container", "simulated"))


def ensure(container: str, say: Callable[[str], None]) -> Server:
    """The running server with this kind of container; one that runs with another kind is started again.

    Args:
        container: simulated, vllm, or the address of an OpenAI-compatible server.
        say: Told what happens, a line at a time.

    Raises:
        Problem: It does not start; the text has the end of its log.
    """
    server = find()
    if server and server.container != container:
        say(f"the local cloud starts again: its containers were {server.container}, now {container}")
        stop()
        server = None
    if server and wait_until_up(server.url, _START_SECONDS):
        return server
    if server:
        raise Problem(
            f"The local cloud (process {server.pid}, {server.url}) does not answer.\n"
            f"End it (kill -9 {server.pid}) and run make up again. Its log: {LOG}"
        )
    return _start(container)


def _start(container: str) -> Server:
    STATE.mkdir(parents=True, exist_ok=True)
    for port in _ports():
        begun = LOG.stat().st_size if LOG.exists() else 0
        with LOG.open("ab") as log:
            process = subprocess.Popen(
                [*_SERVE, "--port", str(port), "--state", str(STATE), "--container", container],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # outlives this command, and its terminal's Ctrl-C
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            # Not `find`: it would hold the lock that the server is about to take.
            record = read_record(STATE)
            if record.get("pid") == process.pid and wait_until_up(record["url"], deadline - time.monotonic()):
                write_atomically(PORT, f"{record['port']}\n")
                return Server(record["url"], process.pid, container)
            if process.poll() is not None:
                break
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
            raise Problem(f"The local cloud did not answer within {_START_SECONDS} s. Its log: {LOG}")
        if port and not _is_free(port):  # somebody took it meanwhile
            continue
        said = output_tail(LOG.read_bytes()[begun:], 2000).decode(errors="replace").strip()
        raise Problem(f"The local cloud did not start:\n{said}\nIts log: {LOG}")
    raise AssertionError("port 0 is always free")


def stop() -> bool:
    """Stops this clone's server; whether one ran."""
    server = find()
    if not server:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while find():
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGKILL)
            deadline += _STOP_SECONDS
        time.sleep(0.05)
    return True


def _ports() -> list[int]:
    """The port of last time, so that addresses stay; the usual one; any. Those that are taken now are left out."""
    saved = 0
    with contextlib.suppress(OSError, ValueError):
        saved = int(PORT.read_text())
    known = [port for port in dict.fromkeys((saved, USUAL_PORT)) if 0 < port < 65536 and _is_free(port)]
    return [*known, 0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
