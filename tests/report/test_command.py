"""``vertex-vllm report`` as a command: inputs, formats, exit status, errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from infra.cli.app import app
from infra.cli.common import Exit
from infra.cli.report import exit_status
from infra.report.content import Failure

Fixture = Callable[[str], bytes]
ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
STACK = ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"


def run(*arguments: str | Path, input: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)], input=input)


def given(name: str) -> tuple[str, str]:
    return "--preview", str(FIXTURES / name)


def test_each_kind_of_failure_has_a_status_of_its_own() -> None:
    found = [exit_status(failure) for failure in (None, *Failure)]
    assert len(set(found)) == len(found)
    assert Exit.BAD_INPUT not in found


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("first.json", Exit.FINE),
        ("several.events.json", Exit.FINE),
        ("large.json", Exit.DOES_NOT_FIT),
        ("crash.events.json", Exit.PREVIEW_FAILED),
        ("refusal.json", Exit.PREVIEW_FAILED),
        ("violation.events.json", Exit.POLICY_VIOLATED),
        ("preflight.json", Exit.PREFLIGHT_FAILED),
        ("budget.json", Exit.OVER_BUDGET),
    ],
)
@pytest.mark.parametrize("format", ["markdown", "html", "json"])
def test_the_status_is_the_same_in_every_format(name: str, status: Exit, format: str) -> None:
    result = run(*given(name), "--format", format)
    assert (result.exit_code, result.stderr) == (status, "")
    start = {"markdown": "<!-- vertex-vllm report", "html": "<!DOCTYPE html>", "json": "{"}[format]
    assert result.stdout.startswith(start)
    if format == "json":
        assert json.loads(result.stdout)["exit_status"] == status


def test_preflight_decides_too() -> None:
    result = run(*given("first.events.json"), "--preflight", FIXTURES / "preflight-checks.json")
    assert result.exit_code == Exit.PREFLIGHT_FAILED
    assert "not ready: preflight failed" in result.stdout


def test_a_pipe(fixture: Fixture) -> None:
    result = run("--preview", "-", input=fixture("replicas.events.json"))
    assert result.exit_code == 0
    assert "replicas at most 1 → 3" in result.stdout
    checks = run(*given("first.json"), "--preflight", "-", input=fixture("preflight-checks.json"))
    assert checks.exit_code == Exit.PREFLIGHT_FAILED
    both = run("--preview", "-", "--preflight", "-", input=b"{}")
    assert both.exit_code == Exit.BAD_INPUT
    assert "only one of --preview and --preflight" in both.stderr


def test_a_file_is_written(tmp_path: Path) -> None:
    for format, name in (("markdown", "a.md"), ("html", "a.html"), ("json", "a.json")):
        path = tmp_path / name
        result = run(*given("hardware.json"), "--format", format, "-o", path)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"written: {path}\n")
        assert path.read_text(encoding="utf-8") == run(*given("hardware.json"), "--format", format).stdout


def test_without_utf_8_on_the_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "report", *given("replicas.json")],
        cwd=ROOT,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
    )
    assert done.returncode == 0
    assert "1 → 3" in done.stdout.decode("utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "--preview {path}: cannot be read: No such file or directory."),
        ("", "--preview {path}: is empty"),
        ("no stack\n", "--preview {path}: is not JSON; it begins with: no stack"),
        ('{"steps": [', "--preview {path}: ends in the middle of its JSON"),
        ('{"config": {"shop:x": "y"}}', "is a preview of another program, not of vertex-vllm"),
    ],
)
def test_an_input_that_cannot_be_read_is_one_error(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "preview.json"
    if content is not None:
        path.write_text(content)
    out = tmp_path / "comment.md"
    result = run("--preview", path, "-o", out)
    assert result.exit_code == Exit.BAD_INPUT
    assert said.format(path=path) in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()
    assert run("--preview", tmp_path).exit_code == Exit.BAD_INPUT
    bad = run(*given("first.json"), "--preflight", path)
    assert (bad.exit_code, bad.stderr.startswith(f"--preflight {path}: ")) == (Exit.BAD_INPUT, True)


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    result = run(*given("first.json"), "-o", tmp_path / "no" / "such" / "folder.md")
    assert result.exit_code == Exit.BAD_INPUT
    assert "cannot be written: No such file or directory." in result.stderr


def test_the_memory_of_the_stack_file() -> None:
    result = run(*given("first.json"), "--stack-file", STACK)
    assert result.exit_code == 0
    assert "| **memory** | starts: the KV cache of " in result.stdout
    assert "another container" not in result.stdout
    document = json.loads(run(*given("first.json"), "--stack-file", STACK, "--format", "json").stdout)
    assert document["memory"]["agrees_with_preview"] is True
    assert {"weights", "KV cache"} <= {part["part"] for part in document["memory"]["parts"]}
    # The preview is of another container than the file.
    other = run(*given("hardware.json"), "--stack-file", STACK)
    assert "gives another container than the one in this preview" in other.stdout


def test_a_stack_file_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    large = {
        "model": "meta-llama/Meta-Llama-3.1-70B-Instruct",
        "hardware": {"machine_type": "a2-ultragpu-1g"},
    }
    path.write_text(yaml.safe_dump(large))
    result = run(*given("same.json"), "--stack-file", path)
    assert result.exit_code == Exit.DOES_NOT_FIT
    assert "- **does not fit**: " in result.stdout
    assert "Each of these makes it start:" in result.stdout
    path.write_text(yaml.safe_dump({**large, "fit": "warn"}))
    warned = run(*given("same.json"), "--stack-file", path)
    assert warned.exit_code == Exit.FINE
    assert "ready to apply, with warnings" in warned.stdout


def test_a_stack_file_that_is_wrong_leaves_the_preview_its_say(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("model: nobody/nothing\n")
    result = run(*given("crash.json"), "--stack-file", path)
    assert result.exit_code == Exit.PREVIEW_FAILED
    assert "has no prediction" in result.stdout


@pytest.mark.parametrize("preview", ["same.json", "crash.json"])
def test_a_stack_file_that_is_not_there_is_bad_input(preview: str, tmp_path: Path) -> None:
    path = tmp_path / "nope.yaml"
    result = run(*given(preview), "--stack-file", path)
    assert (result.exit_code, result.stdout) == (Exit.BAD_INPUT, "")
    assert result.stderr == f"--stack-file {path}: there is no such file.\n"


def test_a_stack_file_that_is_refused_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("model: nobody/nothing\n")
    result = run(*given("same.json"), "--stack-file", path)
    assert (result.exit_code, result.stdout) == (Exit.BAD_INPUT, "")
    assert "nobody/nothing" in result.stderr
