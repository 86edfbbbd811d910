"""`vertex-vllm stop` at its question: whatever ends it there, the setting is as it was."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.common import Exit

ROOT = Path(__file__).resolve().parents[2]
EXPORT = {"deployment": {"resources": [{"type": "gcp:vertex/aiEndpoint:AiEndpoint", "urn": "urn:1"}]}}


@pytest.fixture
def pulumi(tmp_path: Path) -> Path:
    """A `pulumi` that notes what it is asked, and its folder."""
    (tmp_path / "export.json").write_text(json.dumps(EXPORT))
    program = tmp_path / "pulumi"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> "{tmp_path}/asked"\n'
        f'case "$*" in *export*) cat "{tmp_path}/export.json" ;; "config --json"*) echo "{{}}" ;; esac\n'
    )
    program.chmod(0o755)
    return tmp_path


def at_the_question(pulumi: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The command on a terminal, waiting for a yes; and the terminal."""
    terminal, other = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "infra.cli", "stop", "--stack", "dev"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT), "PATH": f"{pulumi}:{os.environ['PATH']}"},
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # under nohup it would be ignored
    )
    os.close(other)
    said = b""
    while b"Undeploy the model?" not in said:
        said += os.read(terminal, 1024)
    return child, terminal


@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGHUP, Exit.TERMINATED), (signal.SIGTERM, Exit.TERMINATED)]
)
def test_a_signal_at_the_question_puts_the_setting_back(
    pulumi: Path, ending: signal.Signals, status: Exit
) -> None:
    child, terminal = at_the_question(pulumi)
    child.send_signal(ending)
    assert child.wait(60) == status
    os.close(terminal)
    asked = (pulumi / "asked").read_text()
    assert "config set vertex-vllm:stopped true" in asked
    assert asked.splitlines()[-1].startswith("config rm vertex-vllm:stopped")


def test_a_no_changes_nothing(pulumi: Path) -> None:
    child, terminal = at_the_question(pulumi)
    os.write(terminal, b"n\n")
    assert child.wait(60) == 0
    os.close(terminal)
    asked = (pulumi / "asked").read_text().splitlines()
    assert asked[-1].startswith("config rm vertex-vllm:stopped")
    assert not [line for line in asked if line.startswith("up")]


def test_in_a_pipe_nobody_is_asked_and_nothing_is_set(pulumi: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "infra.cli", "stop", "--stack", "dev"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT), "PATH": f"{pulumi}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (
        Exit.BAD_INPUT,
        "There is nobody to ask: --yes goes on without a question.\n",
    )
    assert not (pulumi / "asked").exists()
