"""Preflight in the real engine: too little quota fails or warns, a network that does not answer does neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from infra.local.cloud.testing import LocalCloud
from tests.engine.support import EngineStack, Run

L4 = "CustomModelServingL4GPUsPerProjectPerRegion"
REGION = "us-central1"
NO_QUOTA = "quota-gpu: 0 NVIDIA_L4 are allowed in us-central1"


def asked(cloud: LocalCloud) -> list[str]:
    """The paths of what the local cloud was asked that only preflight asks."""
    return [
        request["path"] for request in cloud.admin.requests() if "consumerQuotaMetrics" in request["path"]
    ]


def summary(run: Run) -> str:
    """The one line that a preview has for all checks."""
    diagnostics = run.output[run.output.index("Diagnostics:") :].splitlines()
    (line,) = [line.strip() for line in diagnostics if "shows each" in line]
    return line


def nothing_exists(stack: EngineStack) -> bool:
    state = stack.cloud.admin.state()
    registered = {each["type"] for each in stack.resources()} - {"pulumi:pulumi:Stack"}
    return not registered and not state["buckets"] and not state["endpoints"]


def test_enforced_a_quota_that_does_not_suffice_fails_the_preview_before_anything(stack: EngineStack) -> None:
    stack.cloud.admin.quota(L4, REGION, 0)
    stack.configure(preflight="enforce")
    for run in (stack.preview(ok=False), stack.up(ok=False)):
        assert run.has(
            "error: preflight: 1 check failed, nothing was registered.",
            NO_QUOTA,
            "fix: Ask for 1: gcloud beta quotas preferences create",
            "by hand: gcloud beta quotas info describe",
        )
        assert run.output.count("\n    error: preflight") == 1
        assert "Traceback" not in run.output
        assert "exited with non-zero exit code" not in run.output
    assert nothing_exists(stack)


def test_warned_the_same_quota_is_a_warning_and_the_preview_goes_on(stack: EngineStack) -> None:
    stack.cloud.admin.quota(L4, REGION, 0)
    run = stack.preview()
    assert run.has(f"warning: preflight: {NO_QUOTA}", "vertexserving:index:Deployment")
    assert "1 failed" in summary(run)


def test_off_asks_nothing(stack: EngineStack) -> None:
    stack.cloud.admin.quota(L4, REGION, 0)
    stack.configure(preflight="off")
    run = stack.preview()
    assert "preflight" not in run.output
    assert asked(stack.cloud) == []


def test_what_is_deployed_already_still_passes_when_enforced(stack: EngineStack) -> None:
    stack.cloud.admin.quota(L4, REGION, 1)
    stack.configure(preflight="enforce")
    first = stack.up()
    # With a second GPU a change of the model could roll, which is worth a warning.
    assert " passed, 1 to look at, 3 skipped (endpoint, huggingface-repository, image), " in summary(first)
    assert first.has("warning: preflight: quota-surge: ")
    again = stack.up()
    assert again.has("unchanged")
    assert "failed" not in summary(again)
    assert stack.outputs()["cost"]["at_most"]["replicas"] == 1


def test_equal_questions_are_asked_once(stack: EngineStack) -> None:
    stack.preview()
    questions = [
        (request["method"], request["path"], request["query"])
        for request in stack.cloud.admin.requests()
        if request["method"] == "GET"
    ]
    assert asked(stack.cloud)
    assert len(questions) == len(set(questions))


def test_a_cloud_that_does_not_answer_neither_fails_nor_passes(stack: EngineStack) -> None:
    stack.configure(preflight="enforce")
    stack.cloud.admin.fault(".", times=1000, status={"code": "UNAVAILABLE"})
    run = stack.preview()
    line = summary(run)
    assert "failed" not in line
    assert "quota-gpu" in line


def test_the_command_says_the_same_and_ends_with_its_own_status(stack: EngineStack) -> None:
    def command(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infra.cli", "preflight", "--stack", "local", *options],
            cwd=stack.folder,
            env={**stack.env, "NO_COLOR": "1", "PYTHONPATH": os.fspath(stack.folder)},
            capture_output=True,
            text=True,
        )

    good = command("--json")
    document = json.loads(good.stdout)
    assert (good.returncode, good.stderr) == (0, "")
    assert document["counts"]["FAIL"] == 0
    assert {"stack", "mode", "findings", "counts", "took_s"} == set(document)
    # The token comes from the engine's own command, and goes nowhere.
    assert "hf_local" not in good.stdout
    stack.cloud.admin.quota(L4, REGION, 0)
    bad = command()
    assert bad.returncode == 5
    assert "FAIL  quota-gpu" in bad.stdout
    assert "\x1b[" not in bad.stdout
