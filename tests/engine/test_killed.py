"""kill -9 in the middle of a deployment, then what `make up` and `make down` do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.cloud.testing import CloudProcess
from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import ROOT
from infra.local.stack import environment
from infra.local.stack.commands import _recover
from infra.local.stack.question import ask
from infra.local.stack.report import billable
from infra.local.stack.runs import Stack
from infra.local.stack.server import Server
from tests.engine.support import kill_group

#: Seconds until the operation that is waited for must have begun.
LIMIT = 90


@pytest.fixture
def server(cloud_process: CloudProcess) -> Server:
    """A local cloud whose operations take their time."""
    cloud_process.arguments = ("--stage-seconds", "0.5")
    running = cloud_process.start()
    assert cloud_process.process
    return Server(running.url, cloud_process.process.pid, "simulated")


@pytest.fixture
def stack(engine: Engine, pulumi_home: Path, tmp_path: Path, server: Server) -> Stack:
    """The local stack of this clone, with another backend and another cloud."""
    own = environment.variables(server.url, home=pulumi_home, backend=tmp_path / "state")
    said: list[str] = []
    stack = Stack(engine, environment.child_environment(engine, own), tmp_path / "state", said.append)
    stack.select()
    return stack


@pytest.fixture
def killed(stack: Stack) -> Iterator[Callable[[str], None]]:
    """Deploys until the state says that a resource of this type is being created, then kills all of it."""
    started: list[subprocess.Popen[str]] = []

    def until(kind: str) -> None:
        command = [str(stack.engine.command), "up", "--yes", "--skip-preview", "--stack", "local"]
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(stack.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        deadline = time.monotonic() + LIMIT
        while kind not in [each["resource"]["type"] for each in stack.pending()]:
            assert child.poll() is None, "the deployment ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        kill_group(child)

    yield until
    for child in started:
        kill_group(child)


ENDPOINT = "gcp:vertex/aiEndpoint:AiEndpoint"
MODEL = "vertexserving:index:Model"
DEPLOYMENT = "vertexserving:index:Deployment"


@pytest.mark.parametrize("kind", [ENDPOINT, DEPLOYMENT])
def test_the_next_run_goes_on(stack: Stack, server: Server, killed: Callable[[str], None], kind: str) -> None:
    killed(kind)
    _recover(stack)
    assert stack.pending() == []
    stack.up(refresh=False)
    assert ask(stack.outputs(), print).text
    state = server.state()
    assert [len(state[kind]) for kind in ("endpoints", "models", "deployedModels")] == [1, 1, 1]
    stack.destroy()
    assert billable(server.state()) == {}


def test_the_cloud_is_killed_too(
    stack: Stack, server: Server, cloud_process: CloudProcess, killed: Callable[[str], None]
) -> None:
    """What is lost with a machine on which `make up` runs; what the cloud had begun goes on when it is back."""
    killed(DEPLOYMENT)
    cloud_process.kill()
    cloud_process.start()
    _recover(stack)
    stack.up(refresh=False)
    assert ask(stack.outputs(), print).text
    state = server.state()
    assert [len(state[kind]) for kind in ("endpoints", "models", "deployedModels")] == [1, 1, 1]
    stack.destroy()
    assert billable(server.state()) == {}


@pytest.mark.parametrize("kind", [ENDPOINT, MODEL, DEPLOYMENT])
def test_a_destroy_forgets_nothing(
    stack: Stack,
    server: Server,
    killed: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    killed(kind)
    _recover(stack)
    assert stack.pending() == []
    stack.destroy()
    assert billable(server.state()) == {}
    assert "Traceback" not in capfd.readouterr().out


def test_the_token_is_in_no_file_of_a_killed_run(
    stack: Stack, killed: Callable[[str], None], tmp_path: Path
) -> None:
    killed(MODEL)
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"hf_local" in path.read_bytes()]
