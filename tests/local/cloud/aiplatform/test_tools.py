"""From a line of a stack file to an answered tool call: the plan's container in the local cloud, asked by `openai`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from openai import DefaultHttpxClient, OpenAI

from infra.local.cloud.testing import NUMBER, PROJECT, REGION, cloud_in_thread
from infra.recipes import plan
from infra.recipes.stackfile import parse_stack
from tests.client.talking import Talking

GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
FORK, NEWER = f"{GOOGLE}:20250114_0916_RC00_maas", f"{GOOGLE}:20250506_0916_RC01"
LLAMA_31, LLAMA_32 = "meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"
L4 = "{machine_type: g2-standard-12, accelerator_type: NVIDIA_L4, accelerator_count: 1}"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED: Any = {"role": "user", "content": "Use get_weather for Oslo."}


@pytest.fixture(scope="module")
def talking() -> Iterator[Talking]:
    with cloud_in_thread(container="simulated") as cloud:
        cloud.admin.enable("aiplatform.googleapis.com")
        yield Talking(cloud)


@contextmanager
def served(talking: Talking, number: str, text: str, parser: str) -> Iterator[OpenAI]:
    """OpenAI's client for what a stack file serves, which starts vLLM with this parser."""
    stack = parse_stack(yaml.safe_load(text), file="stacks/a.yaml", lines={})
    planned = plan(stack, region=REGION, source="stacks/a.yaml")
    assert planned.container.args[-2:] == ("--enable-auto-tool-choice", f"--tool-call-parser={parser}")
    hardware = planned.hardware
    machine = {
        "machineType": hardware.machine_type,
        "acceleratorType": hardware.accelerator_type,
        "acceleratorCount": hardware.accelerator_count,
    }
    container = {
        "imageUri": planned.container.image_uri,
        "args": list(planned.container.args),
        "env": [{"name": "HF_TOKEN", "value": "hf_local"}],
        "ports": [{"containerPort": 8080}],
        "predictRoute": "/generate",
        "healthRoute": "/ping",
        "deploymentTimeout": "7200s",
    }
    talking.done(
        "models:upload", {"modelId": f"m{number}", "model": {"displayName": "m", "containerSpec": container}}
    )
    talking.done("endpoints", {"displayName": "tools"}, endpointId=number)
    deployed = {
        "id": f"{number}1",
        "model": f"projects/{NUMBER}/locations/{REGION}/models/m{number}",
        "displayName": "d",
        "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
    }
    talking.done(f"endpoints/{number}:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}})
    endpoint = f"projects/{PROJECT}/locations/{REGION}/endpoints/{number}"
    with DefaultHttpxClient(trust_env=False) as http:
        yield OpenAI(base_url=f"{talking.cloud.url}/v1beta1/{endpoint}", api_key="local", http_client=http)
    talking.done(f"endpoints/{number}:undeployModel", {"deployedModelId": f"{number}1"})  # its GPU is quota


CASES = [
    ("11", LLAMA_31, FORK, "", "vertex-llama-3", r"chatcmpl-tool-\w+"),
    ("12", LLAMA_31, NEWER, "", "llama3_json", r"chatcmpl-tool-\w+"),
    ("13", LLAMA_32, FORK, "", "vertex-llama-3", r"chatcmpl-tool-\w+"),
    ("14", LLAMA_32, NEWER, "", "llama3_json", r"chatcmpl-tool-\w+"),
    ("15", LLAMA_32, NEWER, "pythonic", "pythonic", r"chatcmpl-tool-\w+"),
    ("16", "Qwen/Qwen2.5-7B-Instruct", NEWER, "", "hermes", r"chatcmpl-tool-\w+"),
    ("17", "mistralai/Mistral-7B-Instruct-v0.3", NEWER, "", "mistral", r"[0-9a-zA-Z]{9}"),
    ("18", "ibm-granite/granite-3.1-2b-instruct", NEWER, "", "granite", r"chatcmpl-tool-\w+"),
    ("19", "microsoft/Phi-4-mini-instruct", NEWER, "", "phi4_mini_json", r"chatcmpl-tool-\w+"),
]


@pytest.mark.parametrize(
    ("number", "model", "image", "own", "parser", "identity"), CASES, ids=[f"{c[1]} {c[4]}" for c in CASES]
)
def test_a_tool_is_called_and_its_result_answered(
    talking: Talking, number: str, model: str, image: str, own: str, parser: str, identity: str
) -> None:
    chosen = f", tool_call_parser: {own}" if own else ""
    text = (
        f"model: {model}\nhardware: {L4}\ncontainer: {{image_uri: '{image}'}}\n"
        f"vllm: {{tool_calling: true{chosen}, max_model_len: 2048, max_num_seqs: 32}}\n"
    )
    with served(talking, number, text, parser) as client:
        ask: Any = client.chat.completions.create
        asked = ask(model="", messages=[ASKED], tools=[TOOL], max_tokens=64)
        (call,) = asked.choices[0].message.tool_calls or []
        assert asked.choices[0].finish_reason == "tool_calls"
        assert (call.type, call.function.name) == ("function", "get_weather")
        assert "city" in json.loads(call.function.arguments)
        assert re.fullmatch(identity, call.id)

        parts = [
            part
            for chunk in ask(model="", messages=[ASKED], tools=[TOOL], max_tokens=64, stream=True)
            for part in chunk.choices[0].delta.tool_calls or ()
        ]
        assert [part.function.name for part in parts if part.function.name] == ["get_weather"]
        assert re.fullmatch(identity, parts[0].id)
        assert "city" in json.loads("".join(part.function.arguments or "" for part in parts))

        result = {"role": "tool", "tool_call_id": call.id, "content": "4 degrees"}
        messages = [ASKED, {"role": "assistant", "tool_calls": [call.model_dump()]}, result]
        answered = ask(model="", messages=messages, tools=[TOOL], max_tokens=64).choices[0]
        assert answered.finish_reason in ("stop", "length")
        assert not answered.message.tool_calls
        assert "4 degrees" in answered.message.content

        words = ask(model="", messages=[{"role": "user", "content": "Hello"}], tools=[TOOL], max_tokens=64)
        assert words.choices[0].message.content
