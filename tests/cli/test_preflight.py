"""`vertex-vllm preflight`: what it prints, with which status it ends, and that a token is never shown.

What the checks say is for `tests/preflight`; that the command and a preview say the same for `tests/engine`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from infra.cli import preflight as command
from infra.cli.app import app
from infra.preflight import run as checks
from infra.preflight.finding import Finding, Status
from infra.preflight.run import Report
from infra.preflight.subject import Subject

ROOT = Path(__file__).resolve().parents[2]
LLAMA = "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
LARGE = "stacks/large.yaml"
TOKEN = "hf_verySecretToken"
GOOD: Mapping[str, Any] = {
    "gcp:project": "my-project",
    "gcp:region": "us-central1",
    "vertex-vllm:hfToken": {"secure": "v1:abc"},
    "vertex-vllm:maxUsdPerHour": "2",
    "vertex-vllm:stackFile": LLAMA,
}
PASSED = Finding(check="region", status=Status.PASS, evidence="us-central1 serves 1 NVIDIA_L4.")
FAILED = Finding(
    check="quota-gpu",
    status=Status.FAIL,
    evidence="0 of 8 left.",
    remedy="ask for [more]",
    by_hand="gcloud beta quotas info describe X",
)
WARNED = Finding(check="endpoint", status=Status.WARN, evidence="Shared.")
SKIPPED = Finding(check="image", status=Status.SKIP, evidence="No answer.")

Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one stack file that fits and one that does not, and no `pulumi`."""
    (tmp_path / "stacks").mkdir()
    (tmp_path / LLAMA).write_text((ROOT / LLAMA).read_text())
    large = (ROOT / LLAMA).read_text().replace("max_model_len: 4096", "max_model_len: 100000")
    (tmp_path / LARGE).write_text(large)
    (tmp_path / "Pulumi.yaml").write_text("name: vertex-vllm\nruntime: python\n")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return tmp_path


@pytest.fixture
def asked() -> list[tuple[Subject, list[str]]]:
    """What was checked, and by which checks."""
    return []


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Subject, list[str]]]) -> Run:
    """Runs the command on settings and with findings of the test's."""

    def do(
        *options: str, findings: tuple[Finding, ...] = (PASSED,), config: Mapping[str, Any] = GOOD
    ) -> Result:
        def fake(subject: Subject, chosen: Any = checks.CHECKS) -> Report:
            asked.append((subject, [check.__name__ for check in chosen]))
            return Report(findings, 0.25)

        monkeypatch.setattr(checks, "run", fake)
        (project / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": dict(config)}))
        result = CliRunner().invoke(app, ["preflight", *options])
        assert TOKEN not in result.output
        assert "Traceback" not in result.output
        return result

    return do


@pytest.mark.parametrize(
    ("findings", "status"),
    [((PASSED,), 0), ((PASSED, WARNED, SKIPPED), 0), ((PASSED, FAILED), 5), ((), 0)],
)
def test_status(run: Run, findings: tuple[Finding, ...], status: int) -> None:
    assert run(findings=findings).exit_code == status
    assert run("--json", findings=findings).exit_code == status


def test_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    output = run(findings=(PASSED, FAILED, WARNED, SKIPPED)).stdout
    assert [line.rstrip() for line in output.splitlines()] == [
        "PASS  region     us-central1 serves 1 NVIDIA_L4.",
        "FAIL  quota-gpu  0 of 8 left.",
        "                 fix: ask for [more]",
        "                 gcloud beta quotas info describe X",
        "WARN  endpoint   Shared.",
        "SKIP  image      No answer.",
        "",
        "preflight: 1 passed, 1 failed, 1 to look at, 1 skipped (image), in 0.2 s",
    ]
    assert "\x1b[" not in output


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_to_paste_are_not_broken(run: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    line = f"curl -s 'https://example.com/{'a' * 200}' " + "-d x " * 20 + "END"
    long = replace(FAILED, evidence="word " * 40 + "end.", remedy=f"run: {line}", by_hand=line)
    monkeypatch.setenv("COLUMNS", "60")
    if terminal:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as Rich calls what may be taken for a terminal
        monkeypatch.setenv("NO_COLOR", "1")
    rows = re.sub(r"\x1b\[[\d;]*m", "", run(findings=(long, PASSED)).stdout).splitlines()
    assert sum(line in row for row in rows) == 2
    assert rows[0].startswith("FAIL  quota-gpu  word word")
    assert all(len(row) <= 60 for row in rows if "word" in row) == terminal
    assert any(row.startswith("PASS  region     us-central1") for row in rows)


def test_json(run: Run) -> None:
    document = json.loads(run("--json", findings=(PASSED, FAILED)).stdout)
    assert document == {
        "stack": "dev",
        "mode": "warn",
        "findings": [PASSED.as_dict(), FAILED.as_dict()],
        "counts": {"PASS": 1, "FAIL": 1, "WARN": 0, "SKIP": 0},
        "took_s": 0.25,
    }


@pytest.mark.parametrize("name", ["dev", "my-org/vertex-vllm/dev", "my-org/dev"])
def test_what_is_checked_is_the_stack(run: Run, asked: list[tuple[Subject, list[str]]], name: str) -> None:
    assert run("--stack", name).exit_code == 0
    ((subject, names),) = asked
    assert (subject.stack, subject.project, subject.max_usd_per_hour) == ("dev", "my-project", 2.0)
    assert subject.hf_token == TOKEN
    assert "huggingface" in names


def test_a_token_that_nobody_can_read_is_a_skip(
    run: Run, asked: list[tuple[Subject, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = run("--json")
    assert result.exit_code == 0
    ((subject, names),) = asked
    assert subject.hf_token is None
    assert "huggingface" not in names
    assert "quota" in names
    skipped = json.loads(result.stdout)["findings"][-1]
    assert (skipped["check"], skipped["status"]) == ("huggingface-access", "SKIP")
    assert "HF_TOKEN" in skipped["remedy"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"gcp:project": ""}, 2, "gcp:project: the Google Cloud project is not set."),
        ({"vertex-vllm:prefligth": "off"}, 2, "vertex-vllm:prefligth: there is no such setting."),
        ({"vertex-vllm:maxUsdPerHour": "1", "gcp:project": ""}, 2, "2 problems in Pulumi.dev.yaml:"),
        ({"vertex-vllm:stackFile": LARGE, "gcp:project": ""}, 2, "2 problems in Pulumi.dev.yaml:"),
    ],
)
def test_bad_input_is_not_checked(
    run: Run, asked: list[tuple[Subject, list[str]]], changes: Mapping[str, str], status: int, words: str
) -> None:
    result = run(config={**GOOD, **changes})
    assert result.exit_code == status
    assert words in result.stderr
    assert result.stdout == ""
    assert asked == []


FITS = Finding(check="fit", status=Status.WARN, evidence="Does not fit.", by_hand="see the parts")
POOR = {"vertex-vllm:maxUsdPerHour": "1"}
BIG = {"vertex-vllm:stackFile": LARGE}


@pytest.mark.parametrize(
    ("changes", "status", "failing"),
    [(POOR, 7, {"budget"}), (BIG, 1, {"fit"}), ({**POOR, **BIG}, 1, {"fit", "budget"})],
)
def test_a_refusal_is_a_failed_check_among_all_others(
    run: Run,
    asked: list[tuple[Subject, list[str]]],
    changes: Mapping[str, str],
    status: int,
    failing: set[str],
) -> None:
    config = {**GOOD, **changes}
    result = run("--json", findings=(PASSED, FITS, FAILED, FAILED), config=config)
    assert result.exit_code == status
    assert result.stderr == ""
    document = json.loads(result.stdout)
    found = {each["check"]: each for each in document["findings"]}
    assert {check for check, each in found.items() if each["status"] == "FAIL"} == {"quota-gpu"} | failing
    assert document["counts"]["FAIL"] == 2 + len(failing)
    assert document["findings"].count(FAILED.as_dict()) == 2
    if "budget" in failing:
        assert re.match(
            r"Pulumi\.dev\.yaml: vertex-vllm:maxUsdPerHour = 1\.0: .*over the budget\.$",
            found["budget"]["evidence"],
        )
        assert found["budget"]["remedy"].startswith("pulumi config set vertex-vllm:maxUsdPerHour ")
    if "fit" in failing:
        assert "large.yaml:6: hardware.accelerator_type = 'NVIDIA_L4': " in found["fit"]["evidence"]
        assert "does not start on 1 NVIDIA_L4" in found["fit"]["evidence"]
        assert "max_model_len: " in found["fit"]["remedy"]
        assert found["fit"]["by_hand"] == "see the parts"
        assert document["findings"][1] == found["fit"]
    ((subject, names),) = asked
    assert "quota" in names
    assert subject.plan.fit is not None
    assert subject.plan.fit.ok == ("fit" not in failing)

    table = run(findings=(PASSED, FITS, FAILED), config=config)
    assert table.exit_code == status
    for check in failing:
        assert re.search(rf"^FAIL  {check} +\S", table.stdout, re.MULTILINE)
        assert f"fix: {found[check]['remedy']}" in table.stdout
    assert "PASS  region" in table.stdout


def test_unknown_stack(run: Run) -> None:
    result = run("--stack", "prod")
    assert result.exit_code == 2
    assert "Pulumi.prod.yaml: there is no such file." in result.stderr


def test_help_names_every_status() -> None:
    output = CliRunner().invoke(app, ["preflight", "--help"]).stdout
    assert all(f"{status}  " in output for status in (0, 1, 2, 5, 7))
