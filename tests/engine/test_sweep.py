"""Stop, start, expiry and the sweep on stacks of the real engine; a bare destroy ends with the check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.cli.common import Exit
from infra.local.cloud.testing import PROJECT, CloudProcess
from infra.local.engine.pulumi import Engine
from infra.local.stack.question import ask
from infra.local.stack.report import billable
from tests.engine.support import EngineStack, kill_group

PARENT = f"/v1/projects/{PROJECT}/locations/us-central1"
LABELS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "local"}
#: Seconds until a deployment that is to be killed must have begun.
LIMIT = 90


def run(stack: EngineStack, *words: str) -> tuple[int, Any, str]:
    """A command of the copy as a shell that has read `.local/env`; its status, JSON and standard error."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "infra.cli", *words, "--stack", "local", "--json"],
        cwd=stack.folder,
        env={**stack.env, "PYTHONPATH": os.fspath(stack.folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def lost(stack: EngineStack, endpoint: str) -> None:
    """What a lost state leaves: an endpoint, a model and a deployment with the stack's labels, in no state."""
    http = stack.cloud.http

    def done(path: str, body: dict[str, Any], **query: str) -> None:
        started = http.post(f"{PARENT}/{path}", json=body, params=query).raise_for_status().json()
        assert "error" not in stack.cloud.finished(f"/v1/{started['name']}")

    (model,) = http.get(f"{PARENT}/models").raise_for_status().json()["models"]
    spec = http.get(f"/v1/{model['name']}").raise_for_status().json()["containerSpec"]
    done(
        "models:upload",
        {"modelId": "lost", "model": {"displayName": "lost", "labels": LABELS, "containerSpec": spec}},
    )
    done("endpoints", {"displayName": "lost", "labels": LABELS}, endpointId=endpoint)
    machine = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
    deployed = {
        "id": "77",
        "model": f"{model['name'].rpartition('/')[0]}/lost",
        "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
    }
    done(f"endpoints/{endpoint}:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}})


def test_stop_and_start_keep_the_address(stack: EngineStack) -> None:
    assert run(stack, "stop", "--yes")[0] == 2  # nothing is deployed
    stack.up()
    before = stack.outputs()

    code, said, errors = run(stack, "stop", "--yes")
    assert code == 0, errors
    assert said["stopped"] is True
    assert (said["endpoint"], said["hourly_cost_usd"]) == (before["endpoint"], 0)
    assert stack.cloud.admin.state()["deployedModels"] == []
    stopped = stack.outputs()
    kept = ("endpoint", "model", "bucket", "openai_base_url", "predict_url", "service_account")
    assert {name: stopped[name] for name in kept} == {name: before[name] for name in kept}
    assert stopped["deployed_model_id"] == ""
    assert stopped["cost"]["at_most"]["usd_per_hour"] == 0
    stack.preview("--expect-no-changes", "--policy-pack", "policies")
    for command in (["smoke"], ["predict", "x"]):
        code, _, errors = run(stack, *command)
        assert (code, errors) == (
            8,
            "The stack local is stopped; vertex-vllm start --stack local deploys it again.\n",
        )
    assert run(stack, "status")[1]["stopped"] is True
    assert run(stack, "stop", "--yes")[0] == 0  # again

    code, said, errors = run(stack, "start", "--yes")
    assert code == 0, errors
    assert said["deployed_model_id"] == before["deployed_model_id"]
    assert stack.outputs() == before
    assert ask(stack.outputs(), print).text
    assert "stopped" not in (stack.folder / "Pulumi.local.yaml").read_text()


def test_a_refused_start_leaves_the_stack_stopped(stack: EngineStack) -> None:
    stack.up()
    assert run(stack, "stop", "--yes")[0] == 0
    stack.configure(maxUsdPerHour="0.5")
    code, _, errors = run(stack, "start", "--yes")
    assert code == 4
    assert "vertex-vllm start --stack local goes on from there" in errors
    assert stack.cloud.admin.state()["deployedModels"] == []
    # A refused stop says how to do without the program.
    stack.configure(maxUsdPerHour=None)
    assert run(stack, "start", "--yes")[0] == 0
    stack.configure(maxUsdPerHour="0.5")
    code, _, errors = run(stack, "stop", "--yes")
    assert code == 4
    (line,) = (line.strip() for line in errors.splitlines() if "pulumi destroy" in line)
    urn = line.rpartition("--target ")[2].strip("'")
    stack.destroy("--target", urn)
    assert stack.cloud.admin.state()["deployedModels"] == []


def test_a_bare_destroy_ends_with_what_is_left(stack: EngineStack) -> None:
    stack.up()
    lost(stack, "4711")
    code, document, _ = run(stack, "sweep")
    assert code == Exit.LEFT_OVER
    assert {(each["kind"], each["verdict"]) for each in document["things"]} == {
        ("deployment", "in no state"),
        ("endpoint", "in no state"),
        ("model", "in no state"),
    }

    destroyed = stack.destroy()
    assert destroyed.has("Left in the cloud with the labels of stack local, in no state:")
    assert destroyed.has(
        "deployed model 77 on endpoint 4711 in us-central1, g2-standard-12 with 1 x NVIDIA_L4"
    )
    assert destroyed.has("USD so far", "./vertex-vllm sweep --stack local --remove removes it.")
    assert stack.resources() == []

    code, document, errors = run(stack, "sweep", "--yes")
    assert code == 0, errors
    assert [each["outcome"] for each in document["things"]] == ["removed"] * 3
    assert billable(stack.cloud.admin.state()) == {}
    assert run(stack, "sweep")[0] == 0


def test_a_destroy_of_everything_says_so(stack: EngineStack) -> None:
    stack.configure(telemetry="true")
    stack.up()
    code, document, _ = run(stack, "sweep", "--all")
    assert code == 0
    kinds = {each["kind"] for each in document["things"]}
    assert kinds == {
        "deployment",
        "endpoint",
        "model",
        "bucket",
        "service account",
        "dashboard",
        "alert policy",
    }
    assert {each["verdict"] for each in document["things"]} == {"in a state"}
    destroyed = stack.destroy()
    assert destroyed.has(
        "no endpoint, deployment or model with the labels of stack local is left in us-central1"
    )
    assert "Left in the cloud" not in destroyed.output


def test_a_lost_state_is_swept_only_when_it_is_said_to_be_gone(stack: EngineStack) -> None:
    stack.configure(telemetry="true")
    stack.up()
    stack("stack", "rm", "--yes", "--force", "--preserve-config")
    code, document, _ = run(stack, "sweep", "--yes")
    assert code == 3
    assert {each["verdict"] for each in document["things"]} == {"state not readable from here"}
    assert len(stack.cloud.admin.state()["deployedModels"]) == 1

    code, document, errors = run(stack, "sweep", "--gone", "local", "--yes")
    assert code == 0, errors
    assert {each["outcome"] for each in document["things"]} == {"removed"}
    left = billable(stack.cloud.admin.state())
    assert set(left) <= {"project grants"}


def test_what_expired_is_undeployed_and_the_next_preview_says_so(stack: EngineStack) -> None:
    stack.change_stack_file({"expires_after": "1h"})
    stack.cloud.admin.call("PUT", "clock", {"offsetSeconds": -7200})
    stack.up()
    endpoint = stack.cloud.http.get(f"/v1/{stack.outputs()['endpoint']}").raise_for_status().json()
    assert endpoint["labels"]["expiry"] == "1h"
    preview = stack.preview("--expect-no-changes", "--policy-pack", "policies")
    assert preview.has("the stack expired (1h)", "raise expires_after in the stack file")
    assert run(stack, "status")[1]["expiry"]["passed"] is True

    code, document, _ = run(stack, "sweep", "--expired-only")
    assert (code, [each["verdict"] for each in document["things"]]) == (Exit.LEFT_OVER, ["expired"])
    code, document, errors = run(stack, "sweep", "--expired-only", "--yes")
    assert code == 0, errors
    assert stack.cloud.admin.state()["deployedModels"] == []
    assert len(stack.cloud.admin.state()["endpoints"]) == 1
    assert stack.resources("vertexserving:index:Deployment") == []
    again = stack.preview()
    assert again.has("1 to create")
    assert "expired" not in again.output


@pytest.fixture
def slow(
    engine: Engine, project: Path, pulumi_home: Path, cloud_process: CloudProcess
) -> Iterator[tuple[EngineStack, Callable[[], None]]]:
    """A stack on a cloud whose operations take their time, and what kills its deployment half-way."""
    cloud_process.arguments = ("--stage-seconds", "1.5")
    stack = EngineStack(engine, project, pulumi_home, cloud_process.start())
    started: list[subprocess.Popen[str]] = []

    def kill() -> None:
        child = stack.start("up", "--yes", "--skip-preview", "--non-interactive")
        started.append(child)
        end = time.monotonic() + LIMIT
        while not stack.cloud.admin.requests(path=":deployModel"):
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        code, document, _ = run(stack, "sweep", "--yes")
        assert code in (0, 8)  # a run works on it: nothing of it is touched
        assert {each["verdict"] for each in document["things"]} <= {"in progress"}
        kill_group(child)

    yield stack, kill
    for child in started:
        kill_group(child)


def test_a_stop_that_is_killed_ends_when_it_is_run_again(
    slow: tuple[EngineStack, Callable[[], None]],
) -> None:
    stack, _ = slow
    stack.up()
    before = stack.outputs()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "infra.cli", "stop", "--stack", "local", "--yes"],
        cwd=stack.folder,
        env={**stack.env, "PYTHONPATH": os.fspath(stack.folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + LIMIT
    while not stack.cloud.admin.requests(path=":undeployModel"):
        assert child.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    kill_group(child)
    stack("cancel", "--yes")
    code, said, errors = run(stack, "stop", "--yes")
    assert code == 0, errors
    assert (said["stopped"], said["endpoint"]) == (True, before["endpoint"])
    assert stack.cloud.admin.state()["deployedModels"] == []
    stack.preview("--expect-no-changes")
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}


def test_what_a_killed_run_had_begun_is_found_and_removed(
    slow: tuple[EngineStack, Callable[[], None]],
) -> None:
    stack, kill = slow
    kill()
    stack("cancel", "--yes")
    destroyed = stack.destroy(ok=None)
    assert destroyed.has("Left in the cloud with the labels of stack local, in no state:")
    assert destroyed.has("sweep --stack local --remove removes it")
    code, document, errors = run(stack, "sweep", "--yes")
    assert code == 0, errors
    assert document["things"][0]["kind"] == "deployment"
    assert stack.cloud.admin.state()["deployedModels"] == []
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}
