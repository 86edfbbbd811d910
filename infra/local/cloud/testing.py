"""The local cloud for tests: a server on a free port with a state folder of its own, and its administrator.

    from infra.local.cloud.testing import cloud, cloud_process   # in a conftest.py: pytest fixtures

`cloud` runs in a thread of the test process (fast); `cloud_process` is a real process that can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.cloud.core import CloudConfig
from infra.local.cloud.server import Running, serve

Json = dict[str, Any]
PROJECT, NUMBER, REGION = "local-project", "123456789012", "us-central1"
_ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Admin:
    """What a test does to the cloud that no Google client could: plan faults, set quotas, move the clock."""

    url: str
    http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def call(self, method: str, path: str, body: Any = None, /, **query: str) -> Json:
        """One administrator call, e.g. `call("PUT", "timing", {"mode": "manual"})`; raises on an error answer."""
        response = self.http.request(method, f"/_local/{path}", json=body, params=query)
        response.raise_for_status()
        answer: Json = response.json()
        return answer

    def reset(self) -> None:
        """Forgets everything that exists."""
        self.call("POST", "reset", {})

    def state(self) -> Json:
        """What exists, by kind."""
        return self.call("GET", "state")

    def quota(self, quota_id: str, region: str, limit: int | None) -> None:
        """Overrides one limit (None: takes the override away)."""
        self.call("PUT", "quotas", {quota_id: {region: limit}})

    def stock(self, region: str, machine: str, available: int | None) -> None:
        """Replicas left on a machine or accelerator type (0: stock-out, None: any number)."""
        self.call("PUT", "capacity", {region: {machine: available}})

    def timing(self, **changes: Any) -> None:
        """mode ("timed", "immediate", "manual"), stageSeconds, iamPropagationSeconds."""
        self.call("PUT", "timing", changes)

    def advance_clock(self, seconds: float) -> None:
        """Moves the cloud's clock forward."""
        self.call("PUT", "clock", {"advanceSeconds": seconds})

    def advance(self, name: str = "", stages: int | None = None) -> list[str]:
        """Manual mode: lets operations pass `stages` stages (None: to their end)."""
        body: Json = {"name": name} | ({} if stages is None else {"stages": stages})
        names: list[str] = self.call("POST", "operations:advance", body)["operations"]
        return names

    def fault(
        self,
        path: str,
        *,
        method: str = "",
        nth: int = 1,
        times: int = 1,
        seconds: float = 0,
        after: str = "",
        **action: Any,
    ) -> str:
        """Plans a fault; `action` has the keys that `infra.local.cloud.faults.Fault` describes.

        Args:
            path: regular expression of the path.
            method: HTTP method, "" for any.
            nth: the first match that is struck.
            times: how many matches are.
            seconds: instead of `times`, how long from the first one on.
            after: regular expression of a path that must be asked for first, for example that of a grant.
            action: what happens.
        """
        body = {
            "path": path,
            "method": method,
            "nth": nth,
            "times": times,
            "seconds": seconds,
            "after": after,
        }
        return str(self.call("POST", "faults", {**body, "action": action})["id"])

    def billed(self) -> list[list[str]]:
        """Ids of the deployed models that billed at once, each time that one began to."""
        used = self.gpu_time()["used"]
        return [
            sorted(
                {
                    each["deployedModel"].rpartition("/")[2]
                    for each in used
                    if each["from"] <= begun["from"] and (each["to"] is None or each["to"] > begun["from"])
                }
            )
            for begun in used
        ]

    def held(self) -> list[str]:
        """Ids of the faults that hold a request now."""
        held: list[str] = self.call("GET", "faults")["held"]
        return held

    def release(self, fault: str, *, drop: bool = False) -> None:
        """Lets a held request go: carried out and answered, or its connection dropped."""
        self.call("POST", "faults:release", {"id": fault, "drop": drop})

    def gpu_time(self) -> Json:
        """now, and used: each stretch of time in which GPUs ran (deployedModel, gpus, from, to)."""
        return self.call("GET", "gpus")

    def unmet_faults(self) -> list[Json]:
        """Planned faults that have not struck as often as planned."""
        unmet: list[Json] = self.call("GET", "faults")["unmet"]
        return unmet

    def requests(self, path: str = "", method: str = "") -> list[Json]:
        """The last requests served, oldest first."""
        found: list[Json] = self.call("GET", "requests", path=path, method=method)["requests"]
        return found

    def enable(self, *services: str, project: str = PROJECT) -> None:
        """Enables APIs the way a client does, and waits until they are."""
        for service in services:
            self.http.post(f"/v1/projects/{project}/services/{service}:enable", json={}).raise_for_status()
        deadline = time.monotonic() + 20
        paths = [f"/v1/projects/{project}/services/{service}" for service in services]
        while time.monotonic() < deadline:
            if all(self.http.get(path).json()["state"] == "ENABLED" for path in paths):
                return
            time.sleep(0.005)
        raise AssertionError(f"{services} are not enabled after 20 s; are operations in manual mode?")


@dataclass
class LocalCloud:
    """A running local cloud.

    Attributes:
        url: e.g. "http://127.0.0.1:40123".
        admin: its administrator.
        http: a client with the project owner's rights and `url` as base.
        state_dir: its state folder.
    """

    url: str
    admin: Admin
    http: httpx.Client
    state_dir: Path

    def finished(self, path: str, seconds: float = 20.0) -> Json:
        """Polls an operation, e.g. "/v1/operations/…", until it is done; fails the test if it is not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            operation: Json = self.http.get(path).raise_for_status().json()
            if operation.get("done"):
                return operation
            time.sleep(0.005)
        raise AssertionError(f"{path} is not done after {seconds} s: {operation}")

    def as_account(self, email: str) -> httpx.Client:
        """A client that calls as this service account, with only its grants."""
        return httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer sa:{email}"},
            timeout=30,
            trust_env=False,
        )


@contextlib.contextmanager
def cloud_in_thread(config: CloudConfig | None = None, **options: Any) -> Iterator[LocalCloud]:
    """A local cloud in a thread of this process.

    Args:
        config: all of its settings, or None for a temporary folder and immediate operations.
        options: fields of `CloudConfig` to change when `config` is None, e.g. container="simulated".
    """
    with contextlib.ExitStack() as stack:
        if config is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="local-cloud-")))
            config = CloudConfig(folder, **{"mode": "immediate", **options})
        up = threading.Event()
        box: list[Running] = []
        failure: list[BaseException] = []

        def ready(running: Running) -> None:
            box.append(running)
            up.set()

        def run() -> None:
            try:
                asyncio.run(serve(config, 0, ready))
            except BaseException as error:
                failure.append(error)
            finally:
                up.set()

        thread = threading.Thread(target=run, name="local-cloud", daemon=True)
        thread.start()
        up.wait(30)
        if not box:
            raise RuntimeError("the local cloud did not start") from (failure[0] if failure else None)
        admin = Admin(box[0].url)
        http = httpx.Client(base_url=box[0].url, timeout=30, trust_env=False)
        try:
            yield LocalCloud(box[0].url, admin, http, config.state_dir)
        finally:
            http.close()
            admin.http.close()
            box[0].server.should_exit = True
            thread.join(15)


@dataclass
class CloudProcess:
    """A local cloud in a process of its own, on one folder, that can be killed and started again."""

    state_dir: Path
    arguments: tuple[str, ...] = ("--mode", "immediate")
    port: int = 0
    process: subprocess.Popen[str] | None = None
    url: str = ""

    def start(self) -> LocalCloud:
        """Starts it and waits for its ready line; the port stays the same over restarts."""
        command = [sys.executable, "-m", "infra.local.cloud", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--state", str(self.state_dir), *self.arguments],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "http://" not in line:
            raise RuntimeError(f"the local cloud did not start: {line!r}")
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])
        http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        return LocalCloud(self.url, Admin(self.url), http, self.state_dir)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; answers the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(15)


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    """A fresh local cloud with immediate operations."""
    with cloud_in_thread() as running:
        yield running


@pytest.fixture
def cloud_process(tmp_path: Path) -> Iterator[CloudProcess]:
    """A local cloud in its own process; not started yet."""
    process = CloudProcess(tmp_path / "cloud")
    try:
        yield process
    finally:
        if process.process is not None and process.process.poll() is None:
            process.kill()
