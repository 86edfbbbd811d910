"""Rolls of the whole program under the real engine: no failed prediction, failures that leave the old one, canaries."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.local.engine.pulumi import Engine
from infra.local.stack.report import billable
from infra.report.gpus import deployments
from infra.report.preview import read_preview
from tests.engine.support import DEFAULT_STACK_FILE, LIMIT, EngineStack, copy_project

L4 = "CustomModelServingL4GPUsPerProjectPerRegion"
BROKEN = {"status": 500, "body": "CUDA error: device-side assert triggered"}


def endpoint(stack: EngineStack) -> dict[str, Any]:
    """The endpoint that the stack serves behind."""
    live: dict[str, Any] = (
        stack.cloud.http.get(f"/v1/{stack.outputs()['endpoint']}").raise_for_status().json()
    )
    return live


def deployed(stack: EngineStack) -> list[str]:
    return [each["id"] for each in endpoint(stack).get("deployedModels", ())]


def models(cloud: LocalCloud) -> list[str]:
    parent = "/v1/projects/local-project/locations/us-central1/models"
    return [each["name"] for each in cloud.http.get(parent).json().get("models", ())]


@contextmanager
def clients(stack: EngineStack) -> Iterator[list[tuple[int, str]]]:
    """Somebody who asks the endpoint all the time: status and deployed model of each answer."""
    url = f"/v1/{stack.outputs()['endpoint']}:predict"
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.005):
            body = {"instances": [{"prompt": "A car is", "max_tokens": 1}]}
            answer = stack.cloud.http.post(url, json=body)
            answers.append((answer.status_code, answer.json().get("deployedModelId", "")))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def test_a_roll_fails_no_prediction(stack: EngineStack) -> None:
    stack.up()
    old = stack.outputs()
    stack.change_stack_file({"vllm": {"max_num_seqs": 8}, "rollout": {"steps": [50], "bake_seconds": 1}})
    with clients(stack) as answers:
        rolled = stack.up()
    new = stack.outputs()
    assert rolled.has("smoke test: deployed model", "step of 50 % passed", "traffic moved")
    assert {status for status, _ in answers} == {200}
    assert {id for _, id in answers} == {old["deployed_model_id"], new["deployed_model_id"]}
    assert (new["endpoint"], new["predict_url"]) == (old["endpoint"], old["predict_url"])
    assert deployed(stack) == [new["deployed_model_id"]]
    assert models(stack.cloud) == [new["model"]]
    # How it rolls is no part of what is there.
    stack.change_stack_file({"rollout": "surge"})
    stack.preview("--expect-no-changes")


@pytest.mark.parametrize("failure", ["container", "smoke"])
def test_a_failed_roll_leaves_the_old_one_and_the_next_up_starts_clean(
    stack: EngineStack, failure: str
) -> None:
    stack.up()
    old = stack.outputs()
    stack.change_stack_file({"vllm": {"max_num_seqs": 8}})
    if failure == "container":
        error = {
            "code": "FAILED_PRECONDITION",
            "message": "Model server exited unexpectedly.",
            "stage": "STARTING_MODEL_SERVER",
        }
        stack.cloud.admin.fault(":deployModel", operationError=error)
    else:
        stack.cloud.admin.fault(
            "/deployedModels/(?!" + old["deployed_model_id"] + ")", container=BROKEN, times=1000
        )
    with clients(stack) as answers:
        failed = stack.up(ok=False)
    assert failed.has(
        "Nothing of it is deployed.", f"Deployed model {old['deployed_model_id']} goes on serving."
    )
    if failure == "smoke":
        assert failed.has("it did not pass the smoke test: its first answer was HTTP 500: CUDA error")
    assert {status for status, id in answers if id == old["deployed_model_id"]} == {200}
    assert endpoint(stack)["trafficSplit"] == {old["deployed_model_id"]: 100}
    assert deployed(stack) == [old["deployed_model_id"]]

    stack.cloud.admin.call("DELETE", "faults")
    stack.up()
    new = stack.outputs()
    assert new["deployed_model_id"] != old["deployed_model_id"]
    assert deployed(stack) == [new["deployed_model_id"]]
    assert models(stack.cloud) == [new["model"]]
    stack.preview("--expect-no-changes")
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}


def test_going_back_after_a_failed_roll_is_clean(stack: EngineStack) -> None:
    stack.up()
    old = stack.outputs()
    file = stack.folder / DEFAULT_STACK_FILE
    before = file.read_text()
    stack.change_stack_file({"vllm": {"max_num_seqs": 8}})
    stack.cloud.admin.fault("/deployedModels/(?!" + old["deployed_model_id"] + ")", container=BROKEN)
    stack.up(ok=False)
    file.write_text(before)
    stack.up()
    assert stack.outputs()["deployed_model_id"] == old["deployed_model_id"]
    assert deployed(stack) == [old["deployed_model_id"]]
    assert models(stack.cloud) == [old["model"]]


def test_moved_traffic_is_seen_and_put_back(stack: EngineStack) -> None:
    stack.up()
    id = stack.outputs()["deployed_model_id"]
    name = stack.outputs()["endpoint"]
    stack.cloud.http.patch(
        f"/v1/{name}", params={"updateMask": "trafficSplit"}, json={"trafficSplit": {}}
    ).raise_for_status()
    stack.refresh()
    assert stack.preview("--diff").has("trafficPercent", "1 to update")
    stack.up()
    assert endpoint(stack)["trafficSplit"] == {id: 100}
    stack.preview("--expect-no-changes")


@pytest.fixture
def canary(stack: EngineStack, engine: Engine, pulumi_home: Path, tmp_path: Path) -> EngineStack:
    """Another stack, which serves behind the first one's endpoint; nothing deployed yet."""
    folder = copy_project(tmp_path / "canary")
    shutil.copy(folder / "Pulumi.local.yaml", folder / "Pulumi.canary.yaml")
    other = EngineStack(engine, folder, pulumi_home, stack.cloud, name="canary")
    other.change_stack_file({"endpoint": {"traffic": 10}, "vllm": {"max_num_seqs": 8}})
    return other


def test_a_canary_behind_another_stacks_endpoint(stack: EngineStack, canary: EngineStack) -> None:
    stack.up()
    stable = stack.outputs()
    canary.configure(endpoint=stable["endpoint"].rpartition("/")[2])
    canary.up("--policy-pack", "policies")
    mine = canary.outputs()
    split = {stable["deployed_model_id"]: 90, mine["deployed_model_id"]: 10}
    assert endpoint(stack)["trafficSplit"] == split
    assert mine["predict_url"] == stable["predict_url"].replace(stable["endpoint"], mine["endpoint"])
    assert canary.resources("gcp:vertex") == []
    for each in (stack, canary):
        each.refresh("--expect-no-changes")
        assert "Outputs:" not in each.preview().output  # each is known before anything is done
        each.up()
        assert endpoint(stack)["trafficSplit"] == split

    # A roll of the stable one hands over its own share only.
    stack.change_stack_file({"hardware": {"machine_type": "g2-standard-16"}})
    with clients(stack) as answers:
        stack.up()
    assert {status for status, _ in answers} == {200}
    split = {stack.outputs()["deployed_model_id"]: 90, mine["deployed_model_id"]: 10}
    assert endpoint(stack)["trafficSplit"] == split

    canary.destroy()
    assert endpoint(stack)["trafficSplit"] == {stack.outputs()["deployed_model_id"]: 100}
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}


def test_a_quota_for_one_takes_the_old_one_away_first(stack: EngineStack) -> None:
    stack.up()
    stack.cloud.admin.quota(L4, "us-central1", 1)
    stack.change_stack_file({"vllm": {"max_num_seqs": 8}})
    wanted = "recreate (rollout: auto: 1 more NVIDIA_L4 needed, 0 of 1 left"
    previewed = stack.preview()
    assert previewed.has(wanted, "nothing serves for as long as the new one takes to start")
    command = [str(stack.engine.command), "preview", "--json", "--non-interactive"]
    done = subprocess.run(command, cwd=stack.folder, env=stack.env, capture_output=True, timeout=LIMIT)
    (change,) = deployments(read_preview(done.stdout, "preview"))
    assert change.gap
    assert change.surge is None
    assert stack.up().has(wanted)
    assert len(deployed(stack)) == 1
    stack.preview("--expect-no-changes")

    stack.cloud.admin.quota(L4, "us-central1", 2)
    stack.change_stack_file({"vllm": {"max_num_seqs": 4}})
    assert stack.preview().has(
        "surge (rollout: auto: 1 more NVIDIA_L4 needed, 1 of 2 left", "USD an hour more"
    )


def test_old_models_are_kept_as_versions(stack: EngineStack) -> None:
    stack.change_stack_file({"rollout": {"old_model": "keep"}})
    stack.up()
    first = stack.outputs()
    assert first["model"].endswith("@1")
    stack.change_stack_file({"vllm": {"max_num_seqs": 8}})
    assert stack.preview().has("1 to update", "1 to replace")
    stack.up()
    second = stack.outputs()
    assert second["model"] == first["model"].replace("@1", "@2")
    assert second["deployed_model_id"] != first["deployed_model_id"]
    kept = stack.cloud.http.get(f"/v1/{first['model']}").raise_for_status().json()
    assert kept["versionId"] == "1"
    stack.preview("--expect-no-changes")
    stack.refresh("--expect-no-changes")
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}
