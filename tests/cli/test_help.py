"""What holds for every command: examples in its help that can be run, JSON, and no colour where none is wanted."""

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

from infra.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
COLOUR = re.compile(r"\x1b\[[0-9;]*(?<![0-9])(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?![0-9])[0-9;]*m")


def commands() -> dict[str, Any]:
    """Every command by its words."""
    found: dict[str, Any] = {}

    def walk(command: Any, name: str) -> None:
        if name:
            found[name] = command
        for child, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {child}".strip())

    walk(typer.main.get_command(app), "")
    return found


def examples(name: str) -> list[list[str]]:
    """The words of each example of a command's help that runs this program."""
    text = (commands()[name].help or "").partition("Examples:")[2].partition("\n\n")[0]
    text = re.sub(r"\\\n\s*", "", text)
    return [
        shlex.split(line, comments=True)
        for line in map(str.strip, text.splitlines())
        if re.match(r"(\S+ .*\| )?(\./)?vertex-vllm ", line)
    ]


@pytest.mark.parametrize("name", sorted(commands()))
def test_examples_name_the_command_and_options_that_it_has(name: str) -> None:
    found = examples(name)
    assert found, f"the help of {name} has no example"
    known = {word for each in commands()[name].params for word in (*each.opts, *each.secondary_opts)}
    own = 0
    for words in found:
        begin = next(place for place, word in enumerate(words) if word.endswith("vertex-vllm"))
        mine = words[begin + 1 :]
        end = next((place for place, word in enumerate(mine) if word in ("|", ">", "&&", ";")), len(mine))
        mine = mine[:end]
        given = name.split()
        if mine[: len(given)] != given or (
            len(mine) > len(given) and f"{name} {mine[len(given)]}" in commands()
        ):
            continue  # of another command, beside its own
        own += 1
        options = {word.partition("=")[0] for word in mine if re.match(r"--?[a-zA-Z]", word)}
        assert options <= known, f"{name}: {shlex.join(words)}"
    assert own, f"the help of {name} has no example of its own"


def test_the_help_of_all_commands_has_examples_that_are_commands() -> None:
    root = typer.main.get_command(app)
    found = re.findall(r"^  vertex-vllm (\S+)", root.help or "", re.MULTILINE)
    assert len(found) == 3
    assert set(found) <= set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_paragraph_is_broken_by_the_terminal_alone(name: str) -> None:
    for paragraph in (commands()[name].help or "").split("\n\n"):
        assert paragraph.startswith("\b") or "\n" not in paragraph.strip(), paragraph


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_output_for_machines(name: str) -> None:
    options = {word: each for each in commands()[name].params for word in each.opts}
    if name == "models add":
        return  # writes a file, which is YAML
    assert "--json" in options or "--format" in options, name


def run(*words: str, **variables: str) -> str:
    """What a command prints to what says it is a terminal."""
    environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "infra.cli", *words],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "TERM": "xterm-256color", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("explain", "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"),
        ("models", "show", "meta-llama/Llama-3.1-8B-Instruct"),
    ],
)
def test_no_color(words: tuple[str, ...]) -> None:
    assert COLOUR.search(run(*words))
    assert not COLOUR.search(run(*words, NO_COLOR="1"))


def test_the_docs_have_a_row_for_every_command() -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    assert named == set(commands()) - {"models list"}  # which `models` is without a command


def test_version_is_the_project_s() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    said = subprocess.run(
        [str(ROOT / "vertex-vllm"), "--version"], capture_output=True, text=True, check=False
    )
    assert version
    assert said.stdout == f"vertex-vllm {version.group(1)}\n"
    assert said.returncode == 0
