"""The workflows for pull requests and for the sweep: valid, pinned, with the least permissions, of real commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from infra.cli.app import app
from infra.report.preview import EVENTS

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / ".github/workflows/preview.yml").read_text()
# YAML 1.1 takes `on` for true.
WORKFLOW: Json = {"on" if key is True else key: value for key, value in yaml.safe_load(TEXT).items()}
JOBS: dict[str, Json] = WORKFLOW["jobs"]
STEPS: list[Json] = [step for job in JOBS.values() for step in job["steps"]]
SCRIPTS: list[str] = [step["run"] for step in STEPS if "run" in step]


def steps(job: str) -> list[Json]:
    found: list[Json] = JOBS[job]["steps"]
    return found


def test_it_runs_on_pull_requests_and_never_with_their_code_and_the_bases_rights() -> None:
    assert WORKFLOW["on"] == {"pull_request": None}
    assert "pull_request_target" not in TEXT
    assert "head.repo.full_name == github.repository" in JOBS["preview"]["if"]


def test_permissions_are_the_least() -> None:
    assert WORKFLOW["permissions"] == {}
    assert JOBS["preview"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert JOBS["report"]["permissions"] == {"pull-requests": "write"}
    # What may write runs nothing of the pull request's.
    assert not any("checkout" in step.get("uses", "") for step in steps("report"))
    (checkout,) = (step for step in steps("preview") if "checkout" in step.get("uses", ""))
    assert checkout["with"]["persist-credentials"] is False


def test_actions_are_pinned_to_a_commit_with_their_version_beside() -> None:
    lines = re.findall(r"uses: (.+)", TEXT)
    assert len(lines) == 6
    for line in lines:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+.*", line), line


def test_secrets_go_to_one_step_by_the_environment() -> None:
    assert "secrets." not in "".join(SCRIPTS)
    assert not re.search(r"^\s*set -x|--show-secrets|printenv|\benv$", "".join(SCRIPTS), re.MULTILINE)
    having = [step["name"] for step in STEPS if "secrets." in str(step.get("env", ""))]
    assert having == ["Preview and preflight"]
    assert "secrets." not in str([step.get("with") for step in STEPS])


def test_nothing_a_stranger_names_stands_in_a_script() -> None:
    # An expression in a script is pasted into it before the shell reads it.
    assert "${{" not in "".join(SCRIPTS)


def test_every_command_exists_and_has_these_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    called = re.findall(r"\./vertex-vllm (\w+)([^\n]*)", "".join(SCRIPTS))
    assert {name for name, _ in called} == {"preflight", "report"}
    known = {
        name: {
            option
            for parameter in commands[name].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name in commands
    }
    for name, rest in called:
        assert set(re.findall(r"--[a-z-]+", rest)) <= known[name], (name, rest)
    (report,) = (script for script in SCRIPTS if "./vertex-vllm report" in script)
    assert set(re.findall(r"--(?:preview|preflight|stack-file)\b", report)) <= known["report"]
    (preview,) = (step for step in STEPS if "pulumi preview" in step.get("run", ""))
    assert preview["env"][EVENTS] == "true"
    assert (ROOT / "policies/PulumiPolicy.yaml").is_file()
    assert (ROOT / "docs/exit-codes.md").is_file()


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_scripts_are_bash(script: str) -> None:
    bash = shutil.which("bash")
    assert bash
    assert subprocess.run([bash, "-n"], input=script, text=True).returncode == 0


def _commented(tmp_path: Path, *, found: str) -> str:
    """Runs the step that comments with a `gh` that notes what it is asked; ``found`` are the comments there are."""
    (tmp_path / "comment.md").write_text("<!-- vertex-vllm report vertex-vllm/dev -->\n### x\n")
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\necho "$*" >> calls\ncase "$*" in *--paginate*) cat <<\'END\'\n{found}\nEND\n;; esac\n'
    )
    gh.chmod(0o755)
    (script,) = (step["run"] for step in STEPS if step.get("name") == "Comment")
    bash, jq = shutil.which("bash"), shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed; runners of GitHub have it")
    assert bash
    subprocess.run(
        [bash, "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:{Path(jq).parent}:/usr/bin:/bin",
            "COMMENTS": "repos/o/r/issues/7/comments",
            "GITHUB_REPOSITORY": "o/r",
        },
        check=True,
    )
    return (tmp_path / "calls").read_text().splitlines()[-1]


def test_the_comment_is_made_once_and_updated_then(tmp_path: Path) -> None:
    def comment(id: int, login: str, stack: str) -> str:
        body = f"<!-- vertex-vllm report vertex-vllm/{stack} -->\n### x"
        return json.dumps({"id": id, "user": {"login": login}, "body": body})

    other = comment(1, "somebody", "dev")
    prod = comment(2, "github-actions[bot]", "prod")
    ours = comment(3, "github-actions[bot]", "dev")
    first = _commented(tmp_path, found=f"[{other}, {prod}]")
    assert first == "api repos/o/r/issues/7/comments --field body=@comment.md --silent"
    again = _commented(tmp_path, found=f"[{other}]\n[{prod}, {ours}]")
    assert again == "api --method PATCH repos/o/r/issues/comments/3 --field body=@comment.md --silent"


@pytest.mark.parametrize(
    ("preview", "status"), [("violation.events.json", "6"), ("", "2"), ("first.json", "0")]
)
def test_the_report_step_writes_a_comment_whatever_happens(preview: str, status: str, tmp_path: Path) -> None:
    (script,) = (step["run"] for step in STEPS if step.get("name") == "Report")
    written = (ROOT / "tests/report/fixtures" / preview).read_bytes() if preview else b""
    (tmp_path / "preview.json").write_bytes(written)
    (tmp_path / "preflight.json").write_text("")
    (tmp_path / "stack-file.txt").write_text("stacks/none.yaml\n")
    (tmp_path / "vertex-vllm").symlink_to(ROOT / "vertex-vllm")
    bash = shutil.which("bash")
    assert bash
    subprocess.run(
        [bash, "-e", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "STACK": "local",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        },
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "output").read_text() == f"status={status}\n"
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith("<!-- vertex-vllm report vertex-vllm/local -->\n### ")
    assert (tmp_path / "summary").read_text() == comment
    assert (tmp_path / "report.html").exists() is (preview != "")


# The sweep

SWEEP_TEXT = (ROOT / ".github/workflows/sweep.yml").read_text()
SWEEP: Json = {"on" if key is True else key: value for key, value in yaml.safe_load(SWEEP_TEXT).items()}
(SWEEP_JOB,) = SWEEP["jobs"].values()
(SWEEP_SCRIPT,) = (step["run"] for step in SWEEP_JOB["steps"] if step.get("name") == "Sweep")


def test_the_sweep_runs_by_the_clock_and_by_hand_with_the_least_permissions() -> None:
    assert set(SWEEP["on"]) == {"schedule", "workflow_dispatch"}
    assert SWEEP["permissions"] == {}
    assert SWEEP_JOB["permissions"] == {"contents": "read", "id-token": "write"}
    assert SWEEP_JOB["if"] == "vars.GCP_PROJECT != ''"
    (checkout,) = (step for step in SWEEP_JOB["steps"] if "checkout" in step.get("uses", ""))
    assert checkout["with"]["persist-credentials"] is False


def test_the_sweeps_actions_are_those_of_the_preview() -> None:
    used = re.findall(r"uses: (\S+) # (v\d+\.\d+\.\d+)", SWEEP_TEXT)
    assert len(used) == SWEEP_TEXT.count("uses: ")
    assert set(used) <= set(re.findall(r"uses: (\S+) # (v\d+\.\d+\.\d+)", TEXT))


def test_the_sweeps_script_is_bash_of_options_that_exist_and_has_no_secret() -> None:
    bash = shutil.which("bash")
    assert bash
    assert subprocess.run([bash, "-n"], input=SWEEP_SCRIPT, text=True).returncode == 0
    assert "${{" not in SWEEP_SCRIPT
    command = typer.main.get_command(app).commands["sweep"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    lines = re.findall(r"\./vertex-vllm sweep([^>|\n]*)", SWEEP_SCRIPT)
    assert len(lines) == 2
    assert {option for line in lines for option in re.findall(r"--[a-z-]+", line)} <= known


@pytest.mark.parametrize(("removes", "status"), [("", 0), ("", 10), ("false", 3), ("true", 10)])
def test_the_sweep_reports_and_removes_only_what_expired_where_it_is_asked_to(
    removes: str, status: int, tmp_path: Path
) -> None:
    command = tmp_path / "vertex-vllm"
    command.write_text(f'#!/bin/sh\necho "$*" >> calls\necho found\nexit {status}\n')
    command.chmod(0o755)
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-e", "-o", "pipefail", "-c", SWEEP_SCRIPT],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "PROJECT": "my-project",
            "REMOVES_EXPIRED": removes,
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    calls = (tmp_path / "calls").read_text().splitlines()
    first = ["sweep --project my-project --expired-only --yes"] if removes == "true" else []
    assert calls == [*first, "sweep --project my-project"]
    assert "found" in (tmp_path / "summary").read_text()
