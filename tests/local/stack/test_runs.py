from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import Problem
from infra.local.stack.commands import chosen_stack_file
from infra.local.stack.report import billable
from infra.local.stack.runs import Interrupted, Stack, end_orphans


@pytest.fixture
def said() -> list[str]:
    return []


def pulumi(folder: Path, script: str) -> Engine:
    """An engine whose `pulumi` is this shell script."""
    folder.mkdir()
    (folder / "pulumi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "pulumi").chmod(0o755)
    return Engine(folder, "3.220.0", "path")


def stack(tmp_path: Path, said: list[str], script: str = "exit 0") -> Stack:
    return Stack(
        pulumi(tmp_path / "bin", script),
        {**os.environ, "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}"},
        tmp_path / "state",
        said.append,
    )


#: The engine as far as a stale lock needs it: where the state is, an empty one, and the lock's end.
ENGINE = """
case "$1" in
    whoami) echo "{\\"url\\": \\"$PULUMI_BACKEND_URL\\"}" ;;
    stack) echo '{"version": 3, "deployment": {}}' ;;
    cancel) rm -f "${PULUMI_BACKEND_URL#file://}"/.pulumi/locks/*/*/*/*.json ;;
esac
"""


def no_cloud() -> Any:
    """A cloud that cannot be asked anything; with settings that name no project, nothing is."""
    return None


def write_lock(tmp_path: Path, pid: int, host: str) -> Path:
    path = tmp_path / "state" / ".pulumi/locks/organization/vertex-vllm/local/1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pid": pid, "hostname": host, "timestamp": "2026-01-01T00:00:00Z"}))
    return path


def write_state(tmp_path: Path, **latest: Any) -> None:
    path = tmp_path / "state" / ".pulumi/stacks/vertex-vllm/local.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))


def test_the_lock_of_a_dead_run_is_taken_away(tmp_path: Path, said: list[str]) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = write_lock(tmp_path, dead.pid, socket.gethostname())
    stack(tmp_path, said, ENGINE).recover({}, no_cloud)
    assert not lock.exists()
    assert (
        f"lock taken away: process {dead.pid} on {socket.gethostname()}, since 2026-01-01T00:00:00" in said[1]
    )


def test_a_number_that_another_program_has_by_now_is_a_dead_run(tmp_path: Path, said: list[str]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    lock = write_lock(tmp_path, other.pid, socket.gethostname())
    stack(tmp_path, said, ENGINE).recover({}, no_cloud)
    assert not lock.exists()
    other.communicate()


def test_a_live_run_is_waited_for(tmp_path: Path, said: list[str]) -> None:
    live = subprocess.Popen(["pulumi", "-c", "read x"], executable="/bin/sh", stdin=subprocess.PIPE)
    assert live.stdin
    lock = write_lock(tmp_path, live.pid, socket.gethostname())
    given_back = threading.Timer(0.5, lock.unlink)
    given_back.start()
    stack(tmp_path, said, ENGINE).recover({}, no_cloud)
    assert not lock.exists()
    assert said[:1] == [f"another pulumi (process {live.pid}) works on this stack; waiting for it (0 s)"]
    live.communicate()


def test_a_dead_run_that_nobody_has_collected_is_dead(tmp_path: Path, said: list[str]) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", "", "pulumi"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    lock = write_lock(tmp_path, zombie.pid, socket.gethostname())
    stack(tmp_path, said, ENGINE).recover({}, no_cloud)
    assert not lock.exists()
    zombie.wait()


def test_what_a_killed_engine_left_running_is_ended(tmp_path: Path, said: list[str]) -> None:
    engine = stack(tmp_path, said).engine
    host = engine.folder / "pulumi-language-python"
    host.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    host.chmod(0o755)
    # Its parent is gone at once, as after a kill: process 1 (or what stands in for it) has it then.
    started = subprocess.run(
        ["/bin/sh", "-c", f"'{host}' >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    orphan = psutil.Process(int(started.stdout))
    if orphan.ppid() != 1:
        pytest.skip("a subreaper has taken the orphan; only one of process 1 counts as lost")
    end_orphans(engine.folder)
    psutil.wait_procs([orphan], timeout=10)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_the_lock_of_another_machine_stays(tmp_path: Path, said: list[str]) -> None:
    lock = write_lock(tmp_path, 1, "elsewhere")
    with pytest.raises(Problem, match="on elsewhere"):
        stack(tmp_path, said, ENGINE).recover({}, no_cloud)
    assert lock.exists()


def test_the_state_is_read_without_the_engine(tmp_path: Path, said: list[str]) -> None:
    kinds = ("pulumi:pulumi:Stack", "pulumi:providers:gcp", "gcp:storage/bucket:Bucket")
    write_state(
        tmp_path, resources=[{"type": kind} for kind in kinds], pending_operations=[{"type": "creating"}]
    )
    found = stack(tmp_path, said)
    assert [each["type"] for each in found.resources()] == ["gcp:storage/bucket:Bucket"]
    assert found.pending() == [{"type": "creating"}]


def test_without_state_there_is_nothing(tmp_path: Path, said: list[str]) -> None:
    found = stack(tmp_path, said)
    assert found.resources() == []
    assert found.pending() == []


def test_a_run_that_fails_says_how_to_go_on(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(Problem, match="make down goes on from there"):
        stack(tmp_path, said, "exit 3").destroy()


def test_an_interrupt_waits_for_the_engine(tmp_path: Path, said: list[str]) -> None:
    # The engine is interrupted by us, takes its time to save, and only then ends.
    script = 'trap "touch saved; exit 1" INT; kill -TERM $PPID; for _ in $(seq 600); do sleep 0.05; done'
    with pytest.raises(Interrupted):
        stack(tmp_path, said, f"cd '{tmp_path}'; {script}").destroy()
    assert (tmp_path / "saved").exists()


def test_a_side_file_that_a_kill_left_empty_is_no_obstacle(tmp_path: Path, said: list[str]) -> None:
    write_state(tmp_path, resources=[])
    side_file = tmp_path / "state" / ".pulumi/stacks/vertex-vllm/local.json.attrs"
    side_file.touch()
    stack(tmp_path, said).select()
    assert not side_file.exists()


def test_a_quiet_command_shows_its_error(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(Problem, match="wrong passphrase"):
        stack(tmp_path, said, "echo 'wrong passphrase' >&2; exit 255").select()


@pytest.mark.parametrize(
    "given",
    [
        "stacks/llama-3.2-1b.l4x1.yaml",
        "llama-3.2-1b.l4x1.yaml",
        "llama-3.2-1b.l4x1",
        "./stacks/llama-3.2-1b.l4x1.yaml",
    ],
)
def test_a_stack_file_is_named_by_its_path_or_its_name(given: str) -> None:
    assert chosen_stack_file(given) == "stacks/llama-3.2-1b.l4x1.yaml"


def test_a_stack_file_outside_the_project_is_said_to_be_there(tmp_path: Path) -> None:
    given = tmp_path / "my model.yaml"
    given.write_text("model: x\n")
    with pytest.raises(Problem) as problem:
        chosen_stack_file(str(given))
    first, remedy = str(problem.value).splitlines()
    assert first.startswith(f"STACK_FILE={given} is outside the project: a stack file lies below /")
    assert remedy.startswith(f"  cp '{given}' ")


def test_without_a_choice_the_stacks_own_file_counts() -> None:
    assert chosen_stack_file("") is None


def test_an_unknown_stack_file_names_the_nearest_first() -> None:
    with pytest.raises(Problem) as problem:
        chosen_stack_file("stacks/llama-3.2-1b.l4x2.yaml")
    lines = str(problem.value).splitlines()
    assert lines[0].startswith("STACK_FILE=stacks/llama-3.2-1b.l4x2.yaml: there is no such file")
    assert lines[1].strip() == "stacks/llama-3.2-1b.l4x1.yaml"
    assert len(lines) > 10


def test_enabled_apis_are_not_left_overs() -> None:
    assert billable({"enabled services": ["p: a"], "models": [], "endpoints": ["e"]}) == {"endpoints": ["e"]}
