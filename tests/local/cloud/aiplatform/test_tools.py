"""From a line of a stack file to an answered tool call: the plan's container in the local cloud, asked by `openai`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from openai import DefaultHttpxClient, OpenAI

from infra.local.cloud.testing import NUMBER, PROJECT, REGION, cloud_in_thread
from infra.recipes import plan
from infra.recipes.stackfile import parse_stack
from tests.client.talking import Talking

GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def talking() -> Iterator[Talking]:
    with cloud_in_thread(container="simulated") as cloud:
        cloud.admin.enable("aiplatform.googleapis.com")
        yield Talking(cloud)


@pytest.mark.parametrize(
    ("number", "model", "image"),
    [
        ("11", "meta-llama/Meta-Llama-3.1-8B-Instruct", f"{GOOGLE}:20250506_0916_RC01"),
        ("12", "meta-llama/Llama-3.2-3B-Instruct", f"{GOOGLE}:20250114_0916_RC00_maas"),
        ("13", "Qwen/Qwen2.5-7B-Instruct", f"{GOOGLE}:20250506_0916_RC01"),
    ],
)
def test_a_tool_is_called_and_its_result_answered(
    talking: Talking, number: str, model: str, image: str
) -> None:
    text = f"model: {model}\ncontainer: {{image_uri: '{image}'}}\nvllm: {{tool_calling: true}}\n"
    stack = parse_stack(yaml.safe_load(text), file="stacks/a.yaml", lines={})
    served = plan(stack, region=REGION, source="stacks/a.yaml")
    hardware = served.hardware
    machine = {
        "machineType": hardware.machine_type,
        "acceleratorType": hardware.accelerator_type,
        "acceleratorCount": hardware.accelerator_count,
    }
    container = {
        "imageUri": served.container.image_uri,
        "args": list(served.container.args),
        "env": [{"name": "HF_TOKEN", "value": "hf_local"}],
        "ports": [{"containerPort": 8080}],
        "predictRoute": "/generate",
        "healthRoute": "/ping",
        "deploymentTimeout": "7200s",
    }
    uploaded = {"modelId": f"m{number}", "model": {"displayName": "m", "containerSpec": container}}
    talking.done("models:upload", uploaded)
    talking.done("endpoints", {"displayName": "tools"}, endpointId=number)
    deployed = {
        "model": f"projects/{NUMBER}/locations/{REGION}/models/m{number}",
        "displayName": "d",
        "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
    }
    body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
    talking.done(f"endpoints/{number}:deployModel", body)

    endpoint = f"projects/{PROJECT}/locations/{REGION}/endpoints/{number}"
    client = OpenAI(
        base_url=f"{talking.cloud.url}/v1beta1/{endpoint}",
        api_key="local",
        http_client=DefaultHttpxClient(trust_env=False),
    )
    messages: list[Any] = [{"role": "user", "content": "Use get_weather for Oslo."}]
    asked = client.chat.completions.create(model="", messages=messages, tools=[TOOL], max_tokens=64)
    (call,) = asked.choices[0].message.tool_calls or []
    assert asked.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)

    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "4 degrees"},
        {"role": "user", "content": "And now in words."},
    ]
    answered = client.chat.completions.create(model="", messages=messages, tools=[TOOL], max_tokens=64)
    assert answered.choices[0].message.content
