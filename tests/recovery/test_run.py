"""The steps of a recovery: what it refuses, what it changes in which order, what is left when it is killed itself."""

from __future__ import annotations

import copy
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from infra.cli import recover as command
from infra.cli.app import app
from infra.cli.common import Exit
from infra.client import NoAnswer
from infra.recovery import EngineFailed, InUse, Recovered, StackEngine, locks, recover, run, strays
from infra.recovery.locks import Lock

Json = dict[str, Any]
BUCKET = "gcp:storage/bucket:Bucket"


class FakeEngine(StackEngine):
    """An engine that keeps its state here; `dies` names the call in which its user is killed."""

    def __init__(self, backend: str, state: Json) -> None:
        super().__init__("pulumi", "dev", Path(), {})
        object.__setattr__(self, "at", backend)
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "did", [])
        object.__setattr__(self, "dies", "")

    at: str
    state: Json
    did: list[str]
    dies: str

    def _note(self, text: str) -> None:
        if self.dies == text.split()[0]:
            raise KeyboardInterrupt
        self.did.append(text)

    def backend(self) -> str:
        return self.at

    def export(self) -> Json:
        return copy.deepcopy(self.state)

    def write(self, document: Json) -> None:
        self._note("write")
        object.__setattr__(self, "state", copy.deepcopy(document))

    def cancel(self) -> None:
        self._note("cancel")
        for path in Path(self.at.removeprefix("file://").partition("?")[0]).rglob("*.json"):
            path.unlink()

    def read_back(self, urns: Any) -> None:
        urns = sorted(urns)
        self._note(f"read {' '.join(urns)}")
        for each in self.state["deployment"]["resources"]:
            if each["urn"] in urns:
                each.pop("initErrors", None)

    def updating(self) -> bool:
        return bool(self.did) is False


class FakeCloud:
    """A cloud with one bucket, `b`."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers

    def bucket(self, name: str) -> Json | None:
        if not self.answers:
            raise NoAnswer("storage.googleapis.com answers 403: no")
        return {"name": name} if name == "b" else None


def pending_state() -> Json:
    creating = [
        {"type": "creating", "resource": {"urn": f"urn:{name}", "type": BUCKET, "inputs": {"name": name}}}
        for name in ("b", "lost")
    ]
    updating = {"type": "updating", "resource": {"urn": "urn:old", "type": BUCKET, "id": "o"}}
    old = {"urn": "urn:old", "type": BUCKET, "id": "o", "inputs": {"name": "o"}}
    return {"version": 3, "deployment": {"resources": [old], "pending_operations": [*creating, updating]}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PLUGINS_END_S", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def write_lock(folder: Path, pid: int, host: str) -> Path:
    path = folder / ".pulumi/locks/organization/vertex-vllm/dev/1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"pid": pid, "hostname": host, "username": "ada", "timestamp": "2026-01-01T00:00:00.1Z"}
    path.write_text(json.dumps(content))
    return path


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def recovered(
    engine: FakeEngine, tmp_path: Path, said: list[str] | None = None, *, may: bool = False, cloud: Any = None
) -> Recovered:
    google: Any = cloud or FakeCloud()
    return recover(
        engine,
        project="vertex-vllm",
        config={},  # names no project: no strays are looked for
        cloud=lambda: google,
        backups=tmp_path / "backups",
        say=(said if said is not None else []).append,
        may=lambda _: may,
        may_delete=lambda _: False,
    )


def test_a_killed_run_is_put_in_order(tmp_path: Path, folder: Path) -> None:
    lock = write_lock(folder, dead_process(), socket.gethostname())
    engine = FakeEngine(f"file://{folder}?metadata=skip", pending_state())
    before, said = engine.export(), list[str]()
    result = recovered(engine, tmp_path, said)
    assert (result.lock, result.operations, result.strays) == (True, 3, 0)
    assert engine.did == ["cancel", "write", "read urn:b urn:old"]
    deployment = engine.state["deployment"]
    assert [each["urn"] for each in deployment["resources"]] == ["urn:old", "urn:b"]
    assert "pending_operations" not in deployment
    assert result.backup is not None
    assert json.loads(result.backup.read_text()) == before
    assert stat.S_IMODE(result.backup.stat().st_mode) == 0o600
    text = "\n".join(said)
    assert f"of ada on {socket.gethostname()}, since 2026-01-01T00:00:00, which was killed" in text
    assert f"creating {BUCKET} urn:b: bucket exists (b)" in text
    assert f"creating {BUCKET} urn:lost: nothing that a destroy would have to remove" in text
    assert f"updating {BUCKET} urn:old: begun; the next run repeats it" in text
    assert str(result.backup) in text
    assert not lock.exists()


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path, folder: Path) -> None:
    engine = FakeEngine(f"file://{folder}", pending_state())
    recovered(engine, tmp_path)
    engine.did.clear()
    assert recovered(engine, tmp_path) == Recovered()
    assert engine.did == []


@pytest.mark.parametrize("dies", ["cancel", "write", "read"])
def test_a_recovery_that_is_killed_is_repeated(tmp_path: Path, folder: Path, dies: str) -> None:
    write_lock(folder, dead_process(), socket.gethostname())
    engine = FakeEngine(f"file://{folder}", pending_state())
    before = engine.export()
    object.__setattr__(engine, "dies", dies)
    with pytest.raises(KeyboardInterrupt):
        recovered(engine, tmp_path)
    if dies != "read":
        assert engine.state == before
    object.__setattr__(engine, "dies", "")
    recovered(engine, tmp_path)
    resources = engine.state["deployment"]["resources"]
    assert [each["urn"] for each in resources] == ["urn:old", "urn:b"]
    assert not any(each.get("initErrors") for each in resources)
    assert engine.did[-1].startswith("read urn:b")


def test_a_live_run_is_left_alone(
    tmp_path: Path, folder: Path, process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    live = process("pulumi", "up")
    lock = write_lock(folder, live.pid, socket.gethostname())
    engine = FakeEngine(f"file://{folder}", pending_state())
    with pytest.raises(
        InUse, match=rf"at work on the stack dev: process {live.pid} of ada .* \(kill {live.pid}\)"
    ):
        recovered(engine, tmp_path, may=True)
    assert (engine.did, lock.exists()) == ([], True)


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process with these words on its command line, which lives until the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [words[0], "-c", "read x", "sh", *words[1:]]
        started.append(subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for each in started:
        each.communicate()


def test_another_program_that_has_the_number_by_now_is_no_run(
    tmp_path: Path, folder: Path, process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Not even one that works in a folder, or on a file, with pulumi in its name."""
    other = process("python", "/home/ada/pulumi/vertex-vllm/Pulumi.yaml")
    write_lock(folder, other.pid, socket.gethostname())
    assert recovered(FakeEngine(f"file://{folder}", pending_state()), tmp_path).lock is True


@pytest.mark.parametrize("hidden", ["shown without its command line", "not shown"])
def test_a_process_that_may_not_be_looked_at_needs_a_word(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    """Another user's, on macOS or where /proc is mounted with hidepid."""

    class Process:
        def __init__(self, pid: int) -> None:
            if hidden == "not shown":
                raise psutil.NoSuchProcess(pid)

        def cmdline(self) -> list[str]:
            raise psutil.AccessDenied

    def kill(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr(os, "kill", kill)
    lock = write_lock(folder, 7, socket.gethostname())
    engine = FakeEngine(f"file://{folder}", pending_state())
    with pytest.raises(InUse, match=r"process 7 of ada .*cannot be watched from here.*--yes"):
        recovered(engine, tmp_path)
    assert (engine.did, lock.exists()) == ([], True)
    assert recovered(engine, tmp_path, may=True).lock is True


def test_in_a_bucket_another_machine_may_have_this_ones_name(tmp_path: Path) -> None:
    text = json.dumps({"pid": dead_process(), "hostname": socket.gethostname(), "username": "ada"})

    class Bucket(FakeCloud):
        def objects(self, bucket: str, prefix: str) -> list[str]:
            return [text]

    engine = FakeEngine("gs://states", pending_state())
    with pytest.raises(InUse, match=r"has no such process; another may have the name, too.*--yes"):
        recovered(engine, tmp_path, cloud=Bucket())
    assert engine.did == []
    assert recovered(engine, tmp_path, may=True, cloud=Bucket()).lock is True


def test_the_lock_of_a_relative_folder_is_found(tmp_path: Path) -> None:
    """`pulumi whoami` says it as it was given; it is below the folder where pulumi runs."""
    write_lock(tmp_path / "state", 7, "elsewhere")
    engine = FakeEngine("file://./state", pending_state())
    object.__setattr__(engine, "root", tmp_path)
    with pytest.raises(InUse, match="process 7 of ada on elsewhere"):
        recovered(engine, tmp_path)


def test_a_type_that_nobody_knows_is_not_said_to_be_nothing(tmp_path: Path, folder: Path) -> None:
    state, said = pending_state(), list[str]()
    for operation, kind in zip(
        state["deployment"]["pending_operations"],
        ("gcp:compute/instance:Instance", "gcp:projects/service:Service"),
        strict=False,
    ):
        operation["resource"]["type"] = kind
    recovered(FakeEngine(f"file://{folder}", state), tmp_path, said)
    text = "\n".join(said)
    assert (
        "creating gcp:compute/instance:Instance urn:b: recover does not know this type, so it may exist"
        in text
    )
    assert "pulumi import gcp:compute/instance:Instance" in text
    assert (
        "creating gcp:projects/service:Service urn:lost: nothing that a destroy would have to remove" in text
    )


def test_a_stray_that_cannot_be_deleted_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [strays.Stray("dashboard", name, "") for name in ("a", "b")]
    monkeypatch.setattr(strays, "strays", lambda *_, **__: (found, []))
    said: list[str] = []

    class Refuses:
        def remove(self, stray: Any) -> None:
            if stray.name == "a":
                raise NoAnswer("monitoring.googleapis.com answers 403: no\n  more")

    cloud: Any = Refuses()
    assert run.sweep(cloud, {}, "p", "dev", [], said.append, lambda _: True) == 1
    assert said[2:] == [
        "not deleted: dashboard a: monitoring.googleapis.com answers 403: no",
        "deleted: dashboard b",
    ]


def test_a_lock_of_another_machine_needs_a_word(tmp_path: Path, folder: Path) -> None:
    write_lock(folder, 7, "elsewhere")
    engine = FakeEngine(f"file://{folder}", pending_state())
    with pytest.raises(InUse, match=r"process 7 of ada on elsewhere.*recover --stack dev --yes"):
        recovered(engine, tmp_path)
    assert engine.did == []
    assert recovered(engine, tmp_path, may=True).lock is True


def test_pulumi_cloud_says_that_an_update_is_in_progress(tmp_path: Path) -> None:
    engine = FakeEngine("https://app.pulumi.com/ada", pending_state())
    with pytest.raises(InUse, match="somebody unknown"):
        recovered(engine, tmp_path)
    assert recovered(engine, tmp_path, may=True).lock is True


def test_a_service_whose_address_pulumi_does_not_tell_is_asked_too(tmp_path: Path) -> None:
    """`pulumi whoami` has an empty address for a service whose console it does not know."""

    class Own(FakeEngine):
        def cancel(self) -> None:
            self._note("cancel")

    engine = Own("", pending_state())
    with pytest.raises(InUse, match="somebody unknown"):
        recovered(engine, tmp_path)
    assert recovered(engine, tmp_path, may=True).lock is True


def test_a_backend_whose_locks_cannot_be_read(tmp_path: Path) -> None:
    engine = FakeEngine("s3://bucket", pending_state())
    with pytest.raises(InUse, match="s3://bucket, whose locks cannot be read"):
        recovered(engine, tmp_path)
    recovered(engine, tmp_path, may=True)
    assert engine.did[:2] == ["cancel", "write"]


def test_without_an_answer_of_the_cloud_no_state_is_written(tmp_path: Path, folder: Path) -> None:
    engine = FakeEngine(f"file://{folder}", pending_state())
    before = engine.export()
    with pytest.raises(NoAnswer):
        recovered(engine, tmp_path, cloud=FakeCloud(answers=False))
    assert engine.state == before


def test_a_state_that_somebody_writes_meanwhile_stays(tmp_path: Path, folder: Path) -> None:
    engine = FakeEngine(f"file://{folder}", pending_state())

    class Busy(FakeCloud):
        def bucket(self, name: str) -> Json | None:
            engine.state["deployment"]["resources"].append({"urn": "urn:more", "type": BUCKET})
            return super().bucket(name)

    with pytest.raises(InUse, match="written meanwhile"):
        recovered(engine, tmp_path, cloud=Busy())
    assert engine.did == []


# Locks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "folder"),
    [
        ("file:///a/b?metadata=skip", Path("/a/b")),
        ("file:///a%20b", Path("/a b")),
        ("file://~", Path.home()),
        ("file://~/state", Path.home() / "state"),
        ("gs://bucket", None),
        ("https://app.pulumi.com/ada", None),
    ],
)
def test_the_folder_of_a_backend(backend: str, folder: Path | None) -> None:
    assert locks.folder_of(backend) == folder


def test_locks_in_a_bucket() -> None:
    asked = []

    def listed(bucket: str, prefix: str) -> list[str]:
        asked.append((bucket, prefix))
        return [
            '{"pid": 7, "hostname": "ci", "username": "ada", "timestamp": "2026-01-01T00:00:00Z"}',
            "broken",
        ]

    found = locks.in_bucket("gs://states/team", "p", "dev", listed)
    assert asked == [("states", "team/.pulumi/locks/organization/p/dev/")]
    assert found == [Lock(7, "ci", "ada", "2026-01-01T00:00:00"), Lock()]
    assert locks.in_bucket("s3://states", "p", "dev", listed) is None


def test_an_unreadable_lock_is_somebody_unknown(folder: Path) -> None:
    for content in (b"", b'{"pid": 1, "host', b"\xff\xfe", b"[]", b'{"pid": "x"}'):
        write_lock(folder, 1, "x").write_bytes(content)
        assert locks.in_folder(folder, "vertex-vllm", "dev") == [Lock()]
    assert Lock().here is False


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A `pulumi` on PATH that knows where the state is, and an empty one."""
    script = tmp_path / "bin" / "pulumi"
    script.parent.mkdir()
    script.write_text(
        f"""#!/bin/sh
case "$1" in
    whoami) echo '{{"url": "file://{folder}"}}' ;;
    stack) [ -e "{folder}" ] || {{ echo "error: no stack named 'dev' found" >&2; exit 255; }}
           echo '{{"version": 3, "deployment": {{}}}}' ;;
    cancel) rm -f "{folder}"/.pulumi/locks/*/*/*/*.json ;;
esac
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(command, "BACKUPS", tmp_path / "backups")
    monkeypatch.setattr("infra.recovery.strays.strays", lambda *_, **__: ([], []))
    return script


def test_the_command_takes_a_stale_lock_away(pulumi: Path, folder: Path) -> None:
    lock = write_lock(folder, dead_process(), socket.gethostname())
    done = CliRunner().invoke(app, ["recover", "--stack", "dev"])
    assert done.exit_code == Exit.FINE, done.output
    assert "lock taken away: process" in done.output
    assert (
        "Next: pulumi up --stack dev goes on, pulumi destroy --stack dev removes everything." in done.output
    )
    assert not lock.exists()


def test_the_command_says_that_nothing_is_wrong(pulumi: Path, folder: Path) -> None:
    folder.mkdir()
    done = CliRunner().invoke(app, ["recover", "--stack", "dev"])
    assert (done.exit_code, "Nothing to recover" in done.output) == (Exit.FINE, True)


def test_the_command_for_scripts(pulumi: Path, folder: Path) -> None:
    write_lock(folder, dead_process(), socket.gethostname())
    done = CliRunner().invoke(app, ["recover", "--stack", "dev", "--json"])
    expected = {"stack": "dev", "lock": True, "operations": 0, "strays": 0, "backup": None}
    assert json.loads(done.stdout) == expected
    assert "lock taken away" in done.stderr


@pytest.mark.parametrize(
    ("stack", "status", "words"),
    [("dev", Exit.BAD_INPUT, "There is no stack dev"), ("nowhere", Exit.BAD_INPUT, "Pulumi.nowhere.yaml")],
)
def test_there_is_no_such_stack(pulumi: Path, stack: str, status: Exit, words: str) -> None:
    done = CliRunner().invoke(app, ["recover", "--stack", stack])
    assert (done.exit_code, words in done.output) == (status, True)


def test_the_command_leaves_another_machines_lock(pulumi: Path, folder: Path) -> None:
    lock = write_lock(folder, 7, "elsewhere")
    done = CliRunner().invoke(app, ["recover", "--stack", "dev"])
    assert (done.exit_code, lock.exists()) == (Exit.IN_USE, True)
    assert "locked by process 7 of ada on elsewhere" in done.output
    assert CliRunner().invoke(app, ["recover", "--stack", "dev", "--yes"]).exit_code == Exit.FINE
    assert not lock.exists()


def test_without_pulumi_nothing_can_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(app, ["recover", "--stack", "dev"])
    assert (done.exit_code, "no pulumi on PATH" in done.output) == (Exit.NO_ANSWER, True)


def test_what_pulumi_says_is_shown(tmp_path: Path) -> None:
    script = tmp_path / "pulumi"
    script.write_text("#!/bin/sh\necho 'error: incorrect passphrase' >&2; exit 255\n")
    script.chmod(0o755)
    with pytest.raises(
        EngineFailed, match="pulumi stack export --stack dev failed:\nerror: incorrect passphrase"
    ):
        StackEngine(str(script), "dev", tmp_path, {}).export()
