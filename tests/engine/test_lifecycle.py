"""The whole product through the real engine: deploy, ask, nothing changes, change, drift, destroy."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
from openai import DefaultHttpxClient, OpenAI

from infra.local.stack.commands import smoke
from infra.local.stack.question import BEGINNING, ask
from infra.local.stack.report import billable
from tests.engine.support import DEFAULT_STACK_FILE, EngineStack

TOKEN = "hf_local"


def test_a_stack_serves_and_leaves_nothing(stack: EngineStack) -> None:
    stack.up("--policy-pack", "policies")
    outputs = stack.outputs()
    answer = ask(outputs, print)
    assert "What is Pulumi" in answer.asked
    assert answer.text

    # Serving names what exists: the model in the registry, the deployment on the endpoint.
    live = stack.cloud.http.get(f"/v1/{outputs['endpoint']}").raise_for_status().json()
    assert [each["id"] for each in live["deployedModels"]] == [outputs["deployed_model_id"]]
    assert live["trafficSplit"] == {outputs["deployed_model_id"]: 100}

    again = stack.preview("--expect-no-changes")
    assert again.has("unchanged")
    stack.refresh("--expect-no-changes")

    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}
    assert stack.resources() == []


def test_the_token_is_nowhere_in_clear(stack: EngineStack) -> None:
    preview = stack.preview("--diff")
    deployed = stack.up("--diff")
    state = (stack.backend / ".pulumi" / "stacks" / "vertex-vllm" / "local.json").read_text()
    for text in (preview.output, deployed.output, state, str(stack.outputs())):
        assert TOKEN not in text
    history = list(stack.backend.rglob("*.json"))
    assert history
    assert not [path for path in history if TOKEN in path.read_text()]


def test_replicas_change_in_place_and_hardware_rolls(stack: EngineStack) -> None:
    stack.up()
    before = stack.outputs()
    stack.change_stack_file({"replicas": {"max_replica_count": 2}})
    stack.configure(maxUsdPerHour=None)
    assert stack.up().has("1 updated")
    assert stack.outputs()["deployed_model_id"] == before["deployed_model_id"]

    stack.change_stack_file({"hardware": {"machine_type": "g2-standard-16"}})
    stack.up()
    after = stack.outputs()
    assert after["deployed_model_id"] != before["deployed_model_id"]
    live = stack.cloud.http.get(f"/v1/{after['endpoint']}").raise_for_status().json()
    assert [each["id"] for each in live["deployedModels"]] == [after["deployed_model_id"]]
    assert after["endpoint"] == before["endpoint"]
    assert ask(after, print).text


def test_a_base_model_completes_by_the_default_route(stack: EngineStack) -> None:
    stack.configure(stackFile="stacks/llama-3.2-1b.l4x1.yaml")
    stack.up()
    answer = ask(stack.outputs(), print)
    assert answer.asked == BEGINNING
    assert answer.text
    smoke(stack.outputs())  # chat is not enabled, the rest answers


def test_a_dedicated_endpoint_answers_at_its_own_address(
    stack: EngineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.change_stack_file({"endpoint": {"dedicated": True}})
    stack.up()
    outputs = stack.outputs()
    assert outputs["dedicated_endpoint_dns"].endswith(".prediction.vertexai.goog")
    assert outputs["dedicated_endpoint_dns"] in outputs["openai_base_url"]
    assert ask(outputs, print).text
    client = OpenAI(
        base_url=outputs["openai_base_url"], api_key="local", http_client=DefaultHttpxClient(trust_env=False)
    )
    stream = client.chat.completions.create(
        model="", messages=[{"role": "user", "content": "Count to three"}], stream=True, max_tokens=16
    )
    assert "".join(part.choices[0].delta.content or "" for part in stream if part.choices)
    for command, name, said in (
        ([sys.executable, "-c"], "openai", "I am the built-in"),
        (["sh", "-c"], "curl", "data: [DONE]"),
    ):
        done = subprocess.run(
            [*command, outputs["snippets"][name]], capture_output=True, text=True, timeout=60
        )
        assert said in done.stdout, done.stderr
    smoke(outputs)
    assert capsys.readouterr().out.count("PASS") == 4


def test_what_was_deleted_behind_the_engines_back_is_made_again(stack: EngineStack) -> None:
    stack.up()
    outputs = stack.outputs()
    undeploy = {"deployedModelId": outputs["deployed_model_id"]}
    stack.cloud.http.post(f"/v1/{outputs['endpoint']}:undeployModel", json=undeploy).raise_for_status()
    stack.refresh()
    assert stack.up().has("1 created")
    assert ask(stack.outputs(), print).text


def test_a_bucket_with_objects_stays(stack: EngineStack) -> None:
    stack.up()
    bucket = stack.outputs()["bucket"]
    stored = stack.cloud.http.post(
        f"/upload/storage/v1/b/{bucket}/o", params={"uploadType": "media", "name": "weights"}, content=b"1"
    )
    assert stored.status_code == httpx.codes.OK
    assert stack.destroy().has(bucket)
    left = billable(stack.cloud.admin.state())
    assert list(left) == ["buckets"]
    assert bucket in str(left["buckets"])


def test_a_bad_stack_file_registers_nothing(stack: EngineStack) -> None:
    stack.change_stack_file({"hardware": {"accelerator_count": 3}})
    refused = stack.up(ok=False)
    assert refused.has("accelerator_count", DEFAULT_STACK_FILE)
    assert "Traceback" not in refused.output
    assert stack.resources("gcp:") == []
    assert stack.resources("vertexserving:") == []
    assert billable(stack.cloud.admin.state()) == {}


def test_a_local_stack_without_its_environment_says_what_to_type(stack: EngineStack) -> None:
    stack.extra_environment["LOCAL_CLOUD_URL"] = ""
    refused = stack.preview(ok=False)
    assert refused.has(". .local/env", "LOCAL_CLOUD_URL")
    assert "Traceback" not in refused.output
