"""Tool calling: which parser reaches the container, and what is refused because no image would take it."""

from __future__ import annotations

import pytest
import yaml

from infra.recipes import ServingPlan, ValueProblem, plan
from infra.recipes.catalog import catalog
from infra.recipes.errors import PlanError, StackError
from infra.recipes.stackfile import parse_stack

GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
FORK, UPSTREAM = f"{GOOGLE}:20250114_0916_RC00_maas", f"{GOOGLE}:20250506_0916_RC01"
OWN = "europe-docker.pkg.dev/me/vllm/server:1.2"


def planned(vllm: str, *, model: str = LLAMA, image: str = "") -> ServingPlan:
    container = f"container: {{image_uri: '{image}'}}\n" if image else ""
    text = f"model: {model}\n{container}vllm: {{{vllm}}}\n"
    stack = parse_stack(yaml.safe_load(text), file="stacks/a.yaml", lines={})
    return plan(stack, region="us-central1", source="stacks/a.yaml")


def tools_of(served: ServingPlan) -> tuple[str, ...]:
    return tuple(each for each in served.container.args if "tool" in each)


@pytest.mark.parametrize(
    ("model", "image", "parser"),
    [
        (LLAMA, FORK, "vertex-llama-3"),
        (LLAMA, UPSTREAM, "llama3_json"),
        ("meta-llama/Llama-3.2-3B-Instruct", FORK, "vertex-llama-3"),
        ("meta-llama/Llama-3.2-3B-Instruct", UPSTREAM, "llama3_json"),
        ("Qwen/Qwen2.5-7B-Instruct", "", "hermes"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "", "mistral"),
    ],
)
def test_the_parser_is_that_of_model_and_image(model: str, image: str, parser: str) -> None:
    served = planned("tool_calling: true", model=model, image=image)
    assert tools_of(served) == ("--enable-auto-tool-choice", f"--tool-call-parser={parser}")


def test_every_catalogued_parser_reaches_the_container() -> None:
    cards: dict[str, str] = {}
    for model in catalog().models():
        card = catalog().model(model)
        if card.tool_call_parser is not None:
            cards.setdefault(card.tool_call_parser, card.id)
    assert len(cards) >= 20
    eight = (
        "hardware: {machine_type: a3-highgpu-8g, accelerator_type: NVIDIA_H100_80GB, accelerator_count: 8}\n"
    )
    reached = set()
    for parser, model in cards.items():
        text = f"model: {model}\n{eight}fit: warn\ncontainer: {{image_uri: '{OWN}'}}\n"
        options = "vllm: {tool_calling: true, trust_remote_code: true, max_model_len: 2048}\n"
        stack = parse_stack(yaml.safe_load(text + options), file="stacks/a.yaml", lines={})
        try:
            served = plan(stack, region="us-central1", source="stacks/a.yaml")
        except StackError:
            continue  # heads that eight GPUs do not divide, for one
        reached.add(parser)
        expected = {"vertex-llama-3": "llama3_json"}.get(parser, parser)
        assert tools_of(served) == ("--enable-auto-tool-choice", f"--tool-call-parser={expected}"), model
    assert len(reached) >= 20


def test_parsers_by_version() -> None:
    assert catalog().tool_parsers("0.6.2") == ("hermes", "mistral")
    # The list that vLLM 0.10.1 itself printed: github.com/vllm-project/recipes/issues/51.
    printed = (
        "deepseek_v3, glm45, granite-20b-fc, granite, hermes, hunyuan_a13b, internlm, jamba, kimi_k2, llama4_pythonic,"
        " llama4_json, llama3_json, minimax, mistral, phi4_mini_json, pythonic, qwen3_coder, step3, xlam"
    )
    assert ", ".join(catalog().tool_parsers("0.10.1")) == ", ".join(sorted(printed.split(", ")))
    assert "minimax" not in catalog().tool_parsers("0.24.0")
    assert "llama4_json" in catalog().tool_parsers("0.8.5")


def test_a_version_that_has_not_the_models_parser_is_refused_with_one_that_has() -> None:
    model = "Qwen/Qwen3-Coder-30B-A3B-Instruct"
    hardware = "{machine_type: a3-highgpu-2g, accelerator_type: NVIDIA_H100_80GB, accelerator_count: 2}"
    with pytest.raises(PlanError) as caught:
        planned("tool_calling: true", model=f"{model}\nhardware: {hardware}", image=UPSTREAM)
    (problem,) = caught.value.problems
    assert "0.8.5.post1, has no tool call parser qwen3_coder" in problem.problem
    assert problem.choices
    for uri in problem.choices:
        container = catalog().container(uri)
        assert container is not None
        version = container.vllm_version
        assert version is not None
        assert "qwen3_coder" in catalog().tool_parsers(version)


@pytest.mark.parametrize(
    ("vllm", "key", "text", "remedy"),
    [
        (
            "tool_calling: true, tool_call_parser: llama3-json",
            "vllm.tool_call_parser",
            "no vLLM has such a tool call parser; 0.8.5.post1 has ",
            "tool_call_parser: llama3_json; a parser of your own needs --tool-parser-plugin=FILE",
        ),
        (
            "tool_calling: true, tool_call_parser: qwen3_coder",
            "container.image_uri",
            "0.8.5.post1, has no tool call parser qwen3_coder",
            "image_uri: ",
        ),
        (
            "extra_args: [--enable-auto-tool-choice, --tool-call-parser=qwen3_coder]",
            "vllm.extra_args[1]",
            "vLLM 0.8.5.post1 has no tool call parser qwen3_coder; its container ends at the start.",
            "--tool-call-parser=llama3_json",
        ),
        (
            "tool_calling: true, extra_args: ['--tool-call-parser=qwen3_coder']",
            "vllm.extra_args[0]",
            "vLLM 0.8.5.post1 has no tool call parser qwen3_coder",
            "--tool-call-parser=",
        ),
    ],
)
def test_a_parser_that_the_image_has_not(vllm: str, key: str, text: str, remedy: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(vllm, image=UPSTREAM)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert text in problem.problem
    assert remedy in problem.remedy


def test_a_parser_of_a_plugin_is_passed_on() -> None:
    plugin = "extra_args: ['--tool-parser-plugin=/mine.py']"
    served = planned(f"tool_calling: true, tool_call_parser: mine, {plugin}", image=UPSTREAM)
    assert "--tool-call-parser=mine" in served.container.args
    extra = "extra_args: ['--tool-parser-plugin=/mine.py', --tool-call-parser=mine]"
    assert "--tool-call-parser=mine" in planned(f"tool_calling: true, {extra}", image=UPSTREAM).container.args


def test_off_by_default() -> None:
    assert tools_of(planned("max_num_seqs: 64")) == ()


def test_an_image_that_has_no_such_parser_is_refused_with_one_that_has() -> None:
    with pytest.raises(PlanError) as caught:
        planned("tool_calling: true")
    (problem,) = caught.value.problems
    assert problem.key == "container.image_uri"
    assert "0.6.2, has no tool call parser llama3_json or vertex-llama-3" in problem.problem
    uri = problem.choices[0]
    assert uri in problem.remedy
    assert len(tools_of(planned("tool_calling: true", image=uri))) == 2


def test_a_parser_of_ones_own_choice() -> None:
    served = planned("tool_calling: true, tool_call_parser: pythonic", image=UPSTREAM)
    assert tools_of(served)[1] == "--tool-call-parser=pythonic"
    served = planned("tool_calling: true", image=OWN)
    assert tools_of(served)[1] == "--tool-call-parser=llama3_json"


def test_what_extra_args_say_stays() -> None:
    extra = "extra_args: [--enable-auto-tool-choice, --tool-call-parser=hermes]"
    served = planned(f"tool_calling: true, {extra}")
    assert tools_of(served) == ("--enable-auto-tool-choice", "--tool-call-parser=hermes")


@pytest.mark.parametrize(
    ("vllm", "model", "key", "text"),
    [
        ("tool_call_parser: hermes", LLAMA, "vllm.tool_call_parser", "tools are off"),
        ("tool_calling: true, chat_template: none", LLAMA, "vllm.tool_calling", "without one"),
        (
            "tool_calling: true, chat_template: plain",
            "meta-llama/Llama-3.2-1B",
            "vllm.tool_calling",
            "knows no tool",
        ),
        (
            "tool_calling: true, tool_call_parser: hermes, extra_args: [--tool-call-parser=hermes]",
            LLAMA,
            "vllm.tool_call_parser",
            "extra_args has --tool-call-parser too",
        ),
    ],
)
def test_what_cannot_be(vllm: str, model: str, key: str, text: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(vllm, model=model)
    (problem,) = caught.value.problems
    assert isinstance(problem, ValueProblem)
    assert problem.key == key
    assert text in problem.problem
    assert problem.remedy
