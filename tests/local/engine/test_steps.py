from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra.local.engine.steps import (
    Children,
    Problem,
    Progress,
    content_key,
    only_one,
    output_tail,
    read_stamp,
    write_atomically,
    write_stamp,
)


@pytest.fixture
def children(tmp_path: Path) -> Children:
    return Children(tmp_path / "logs" / "setup.log")


def test_a_command_answers_its_output(children: Children) -> None:
    assert children.run([sys.executable, "-c", "print(1 + 1)"]) == "2"
    assert "print(1 + 1)" in children.log.read_text()


def test_a_failure_carries_what_the_command_said(children: Children) -> None:
    code = "import sys; print('no space left', file=sys.stderr); sys.exit(3)"
    with pytest.raises(subprocess.CalledProcessError) as failure:
        children.run([sys.executable, "-c", code])
    assert failure.value.returncode == 3
    assert failure.value.stderr.strip() == "no space left"
    assert "no space left" in children.log.read_text()


def test_a_command_that_hangs_is_ended(children: Children) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        children.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5)


def test_stop_ends_what_runs_and_refuses_what_comes(children: Children) -> None:
    ended = threading.Event()

    def work() -> None:
        with pytest.raises(subprocess.CalledProcessError):
            children.run([sys.executable, "-c", "import time; time.sleep(60)"])
        ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + 20
    while not children._running and time.monotonic() < deadline:
        time.sleep(0.01)
    children.stop()
    assert ended.wait(20)
    with pytest.raises(Problem):
        children.run([sys.executable, "-c", ""])


def test_the_lock_outlives_its_holder_in_what_the_holder_started(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with only_one(path, "waiting") as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )
    with path.open("w") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.communicate()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_waits_for_the_lock_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock"
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with only_one(path, ""):
            held.set()
            let_go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)
    threading.Timer(0.2, let_go.set).start()
    with only_one(path, "another make is at it"):
        assert "another make is at it" in capsys.readouterr().err
    holder.join()


def test_a_file_is_replaced_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "env"
    write_atomically(path, "one", mode=0o600)
    write_atomically(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["env"]


def test_the_key_tells_contents_and_borders_apart(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("a==1\n")
    before = content_key("x", file)
    file.write_text("a==2\n")
    assert content_key("x", file) != before
    assert content_key("ab", "c") != content_key("a", "bc")


@pytest.mark.parametrize("text", [None, "", "{", "[1]"])
def test_a_stamp_that_cannot_be_read_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "stamp.json"
    if text is not None:
        path.write_text(text)
    assert read_stamp(path) == {}


def test_a_stamp_is_read_back(tmp_path: Path) -> None:
    write_stamp(tmp_path / "stamp.json", {"key": "abc"})
    assert read_stamp(tmp_path / "stamp.json") == {"key": "abc"}


def test_a_log_gets_one_line_a_change() -> None:
    out = io.StringIO()
    with Progress(out) as progress:
        progress.now("engine", "building")
        progress.done("engine", "built")
    lines = [line.partition("] ")[2] for line in out.getvalue().splitlines()]
    assert lines == ["engine: building", "engine: built"]


def test_the_tail_starts_with_a_line() -> None:
    assert output_tail(b"first\nsecond\nthird\n", 9) == b"third\n"
    assert output_tail(b"short\n", 100) == b"short\n"
