"""LoRA adapters of a stack file: what is kept, and what is refused with the line to change."""

from __future__ import annotations

import pytest
import yaml

from infra.recipes import ServingPlan, ValueProblem, plan
from infra.recipes.errors import PlanError, StackFileError
from infra.recipes.stackfile import parse_stack

LLAMA, VISION = "meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-11B-Vision-Instruct"


def planned(text: str, model: str = LLAMA) -> ServingPlan:
    stack = parse_stack(yaml.safe_load(f"model: {model}\n{text}"), file="stacks/a.yaml", lines={})
    return plan(stack, region="us-central1", source="stacks/a.yaml")


def test_adapters_in_a_bucket_and_on_hugging_face() -> None:
    served = planned("lora: {sql: 'gs://mine/adapters/sql', hub: me/my-adapter}\nvllm: {enable_lora: true}\n")
    assert served.stack.lora == {"sql": "gs://mine/adapters/sql", "hub": "me/my-adapter"}
    assert served.container.args == planned("vllm: {enable_lora: true}\n").container.args


@pytest.mark.parametrize(
    ("text", "model", "key", "problem"),
    [
        (
            "lora: {a: 'gs://mine/a'}\nvllm: {enable_lora: false}\n",
            LLAMA,
            "lora",
            "vllm.enable_lora is false",
        ),
        ("lora: {a: 'gs://mine/a'}\n", VISION, "lora", "text models only"),
        (
            "lora: {a: 'gs://mine'}\nvllm: {enable_lora: true}\n",
            LLAMA,
            "lora.a",
            "where adapter_config.json lies",
        ),
        ("lora: {a: '/weights/a'}\nvllm: {enable_lora: true}\n", LLAMA, "lora.a", "nor a Hugging Face id"),
        ("lora: {a: one}\nvllm: {enable_lora: true}\n", LLAMA, "lora.a", "nor a Hugging Face id"),
    ],
)
def test_what_cannot_be(text: str, model: str, key: str, problem: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(text, model)
    (found,) = caught.value.problems
    assert isinstance(found, ValueProblem)
    assert found.key == key
    assert problem in found.problem
    assert found.remedy


def test_a_section_that_is_none() -> None:
    with pytest.raises(StackFileError, match="write below it: a name and a value for each"):
        planned("lora: [a]\n")
