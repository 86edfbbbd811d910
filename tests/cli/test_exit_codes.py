"""docs/exit-codes.md is what the code says: the numbers, their names, which command ends with which."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from infra.cli import __main__ as program
from infra.cli.app import app
from infra.cli.common import BAD_INPUT, DOES_NOT_FIT, NO_VERDICT, Exit

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs/exit-codes.md"


def table() -> dict[int, tuple[str, frozenset[str]]]:
    """Name and commands by number, as the table has them."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| [^|]+ \| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE)
    return {
        int(number): (name, frozenset(re.findall(r"`([^`]+)`", commands))) for number, name, commands in rows
    }


def helps() -> dict[str, str]:
    """The help of every command by its name."""
    found: dict[str, str] = {}

    def walk(command: Any, name: str) -> None:
        if name:
            found[name] = command.help or ""
        for child, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {child}".strip())

    walk(typer.main.get_command(app), "")
    return found


def test_the_table_has_every_number_by_its_name() -> None:
    assert {number: name for number, (name, _) in table().items()} == {each.value: each.name for each in Exit}


@pytest.mark.parametrize("name", sorted(helps()))
def test_the_table_says_what_each_command_says(name: str) -> None:
    said = helps()[name].partition("Exit status")[2]
    own = {int(number) for number in re.findall(r"^ *(\d+)  ", said, re.MULTILINE)}
    assert own, f"the help of {name} names no exit status"
    assert own == {number for number, (_, commands) in table().items() if name in commands}


def test_the_table_names_no_other_command() -> None:
    assert {command for _, commands in table().values() for command in commands} == set(helps())


def test_what_is_known_before_anything_can_be_imported() -> None:
    known = (program._BAD_INPUT, program._CRASHED, program._INTERRUPTED)
    assert known == (Exit.BAD_INPUT, Exit.CRASHED, Exit.INTERRUPTED)
    assert (program._PIPE_CLOSED, program._TERMINATED) == (Exit.PIPE_CLOSED, Exit.TERMINATED)
    assert (DOES_NOT_FIT, BAD_INPUT, NO_VERDICT) == (Exit.DOES_NOT_FIT, Exit.BAD_INPUT, Exit.NO_VERDICT)


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [("ValueError('boom')", 70, "boom"), ("KeyboardInterrupt()", 130, ""), ("SystemExit(6)", 6, "")],
)
def test_an_error_of_the_program_is_no_verdict(raised: str, status: int, said: str) -> None:
    script = (
        "import sys, infra.cli.fit as fit, infra.cli.common\n"
        f"def broken(*args, **kwargs): raise {raised}\n"
        "import infra.cli.app as a\n"
        "explain, = [each for each in a.app.registered_commands if each.name == 'explain']\n"
        "explain.callback = lambda: broken()\n"
        "sys.argv = ['vertex-vllm', 'explain']\n"
        "from infra.cli.__main__ import run\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert said in done.stderr


def test_sigterm_leaves_the_terminal_as_it_was() -> None:
    script = (
        "import os, signal, sys, infra.cli.app as a\n"
        "from rich.console import Console\n"
        "from rich.live import Live\n"
        "def wait():\n"
        "    with Live('page', console=Console(force_terminal=True), auto_refresh=False):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "explain, = [each for each in a.app.registered_commands if each.name == 'explain']\n"
        "explain.callback = wait\n"
        "sys.argv = ['vertex-vllm', 'explain']\n"
        "from infra.cli.__main__ import run\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (Exit.TERMINATED, "")
    assert "\x1b[?25l" in done.stdout
    assert done.stdout.endswith("\x1b[?25h")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("options", [("--format", "markdown"), ("--format", "json"), ("--format", "html")])
def test_a_full_disk_is_one_error(options: tuple[str, ...]) -> None:
    preview = "tests/report/fixtures/same.json"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", "report", "--preview", preview, *options],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == Exit.BAD_INPUT
    assert done.stderr == "standard output: cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    "words",
    [("models", "list", "--json"), ("models", "list"), ("--help",)],
    ids=["written by echo", "drawn by Rich", "drawn by Typer"],
)
def test_a_reader_that_has_gone_is_no_verdict(words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *words], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (Exit.PIPE_CLOSED, "")


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_empty_ones(closed: str) -> None:
    """As a service manager may start a program: the question of `chat` is then on its command line alone."""
    command = f"{shlex.quote(sys.executable)} -m infra.cli chat --outputs none.json hi {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == Exit.BAD_INPUT, done.stderr
    assert done.stderr == ("" if "2>" in closed else "none.json cannot be read: No such file or directory\n")
