"""What the preview lets through, the container takes: recommended recipes start, silent plans parse.

Both sides are ours: the plan, and the simulated container with vLLM's arguments by version and the memory arithmetic.
They prove that the catalogue, the defaults and the checks agree with it; not that a GPU would.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from infra.local.container import ContainerRequest, StartResult, make_container
from infra.local.container.arguments import Options, parse
from infra.local.container.images import vllm_version
from infra.local.container.launch import plan_launch
from infra.recipes import RecommendedRecipe, ServingPlan, StackError, catalog, plan
from infra.recipes.errors import DoesNotFit
from infra.recipes.images import lacks
from infra.recipes.stackfile import parse_stack

BOOKS = catalog()
GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
RECIPES = [(model, recipe) for model in BOOKS.models() for recipe in BOOKS.model(model).recommended]
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"


def with_a_choice(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with the choice to have no chat where the model has no chat template."""
    if document["model"] not in BOOKS.models() or BOOKS.model(document["model"]).chat_template:
        return document
    return {**document, "vllm": {"chat_template": "none", **document.get("vllm", {})}}


def planned(document: dict[str, Any]) -> ServingPlan:
    document = with_a_choice(document)
    stack = parse_stack(document, file="stacks/a.yaml", lines={})
    region = BOOKS.regions_with(stack.hardware.accelerator_type)[0]
    return plan(stack, region=region, source="stacks/a.yaml")


def request_of(served: ServingPlan) -> ContainerRequest:
    spec, hardware = served.container, served.hardware
    return ContainerRequest(
        spec.image_uri,
        command=spec.command,
        args=spec.args,
        env={**spec.env, **({"HF_TOKEN": "hf_local"} if served.needs_token else {})},
        port=spec.ports[0],
        predict_route=spec.predict_route,
        health_route=spec.health_route,
        shared_memory_size_mb=spec.shared_memory_size_mb,
        machine_type=hardware.machine_type,
        accelerator_type=hardware.accelerator_type,
        accelerator_count=hardware.accelerator_count,
    )


def start(served: ServingPlan) -> StartResult:
    return asyncio.run(make_container(request_of(served), backend="simulated").start())


def parsed(served: ServingPlan) -> Options:
    """The container's arguments as its vLLM reads them; raises what argparse writes when it refuses them."""
    return parse(plan_launch(request_of(served)), vllm_version(served.container.image_uri))


def hardware_of(recipe: RecommendedRecipe) -> dict[str, Any]:
    return recipe.model_dump(include={"machine_type", "accelerator_type", "accelerator_count"})


def name_of(value: object) -> str:
    if isinstance(value, RecommendedRecipe):
        return f"{value.accelerator_count}x{value.accelerator_type}-{value.machine_type}"
    return str(value)


@pytest.mark.parametrize(("model", "recipe"), RECIPES, ids=name_of)
def test_every_recommended_recipe_starts(model: str, recipe: RecommendedRecipe) -> None:
    served = planned({"model": model, "hardware": hardware_of(recipe)})
    if recipe.image_uri is not None:
        assert served.container.image_uri == recipe.image_uri
        assert list(served.vllm.extra_args) == list(recipe.vllm.get("extra_args", ()))
    result = start(served)
    assert result.ok, "\n".join(line.text for line in result.lines)
    assert not any("seen only in images" in warning for warning in served.warnings)


@pytest.mark.parametrize("model", BOOKS.models())
def test_a_model_alone_starts_where_it_has_recommended_hardware(model: str) -> None:
    if not BOOKS.model(model).recommended:
        with pytest.raises(StackError, match="no recommended hardware for this model"):
            planned({"model": model})
        return
    assert start(planned({"model": model})).ok


def images() -> list[str]:
    """One image of each version of vLLM that is known, the newest."""
    found = {image.vllm_version: image.uri for image in BOOKS.containers() if image.arch == "x86"}
    return [uri for version, uri in found.items() if version is not None]


@pytest.mark.parametrize("image", images(), ids=lambda uri: uri.rpartition(":")[2])
def test_recipes_start_with_any_other_image_that_the_file_names(image: str) -> None:
    version = BOOKS.container(image).vllm_version  # type: ignore[union-attr]
    assert version is not None
    for model, recipe in RECIPES:
        document = {"model": model, "hardware": hardware_of(recipe), "container": {"image_uri": image}}
        if lacks(BOOKS.model(model), BOOKS.accelerator(recipe.accelerator_type), version):
            continue
        try:
            result = start(planned(document))
        except DoesNotFit:  # another version has other memory left
            continue
        assert result.ok, (model, recipe.machine_type, result.lines[-1].text)


def test_a_recipe_for_another_gpu_and_image_is_not_taken() -> None:
    served = planned(
        {
            "model": "meta-llama/Llama-3.1-8B-Instruct",
            "hardware": {"machine_type": "g2-standard-12"},
            "container": {"image_uri": f"{GOOGLE}:20241001_0916_RC00"},
        }
    )
    assert served.warnings == ()
    assert served.vllm.extra_args == ()
    assert served.vllm.max_model_len == 4096
    assert start(served).ok


def test_an_image_pinned_by_digest_is_read_as_its_tag() -> None:
    image = f"{GOOGLE}:v0.14.0@sha256:{'a' * 64}"
    served = planned({"model": LLAMA, "container": {"image_uri": image}})
    assert served.vllm_version == vllm_version(image) == "0.14.0"
    assert parsed(served).whole("swap_space", 0) == 16


VALUES = [
    *(
        "",
        "1",
        "16",
        "0",
        "-1",
        "1.5",
        "4k",
        "1.5K",
        "1.0005k",
        "9" * 400 + "k",
        "9" * 5000,
        "nan",
        "inf",
        "1_0",
        " 7",
    ),
    *(
        "true",
        "False",
        "yes",
        "auto",
        "half",
        "fp8",
        "awq",
        "None",
        "mistral",
        "vertex-llama-3",
        "x",
        "a b",
        "\u0664",
    ),
    *("{}", '{"a": 1}', "[1]", "{", "$(MODEL_ID)", "--seed", "\u00b2", "[" * 10000),
]
FLAGS = sorted({flag for version in BOOKS.flag_versions() for flag in BOOKS.flags(version).all})


@pytest.mark.parametrize("version", ["0.6.2", "0.9.2", "0.14.0"])
def test_values_are_judged_as_argparse_judges_them(version: str) -> None:
    image = next(i.uri for i in BOOKS.containers() if i.vllm_version == version and i.arch == "x86")
    table = BOOKS.flags(version)
    by_kind = {kind.rstrip("+*="): flag for flag, kind in sorted(table.takes.items()) if "|" not in kind}
    by_kind["choice"] = "--kv-cache-dtype"
    by_kind["int:"] = "--block-size"
    by_kind["length"] = "--max-num-batched-tokens"
    silent = 0
    for flag in by_kind.values():
        for value in VALUES:
            document = {"model": LLAMA, "vllm": {"extra_args": [f"{flag}={value}"]}}
            try:
                served = planned({**document, "container": {"image_uri": image}})
            except StackError:
                continue
            if not served.warnings:
                parsed(served)
                silent += 1
    assert silent > 20


arguments = st.one_of(
    st.sampled_from(FLAGS),
    st.builds("{}={}".format, st.sampled_from(FLAGS), st.sampled_from(VALUES)),
    st.builds("{}={}".format, st.sampled_from(FLAGS), st.text(max_size=6)),
    st.builds(lambda flag: flag.replace("-", "_").replace("__", "--", 1), st.sampled_from(FLAGS)),
)
options = st.fixed_dictionaries(
    {"extra_args": st.lists(arguments, max_size=2)},
    optional={
        "max_model_len": st.integers(1, 131072),
        "gpu_memory_utilization": st.floats(1e-9, 1.0),
        "max_num_seqs": st.integers(1, 2048),
        "dtype": st.sampled_from(["auto", "half", "bfloat16"]),
        "swap_space": st.integers(0, 16),
        "enforce_eager": st.booleans(),
        "enable_lora": st.booleans(),
        "trust_remote_code": st.booleans(),
        "model_type": st.sampled_from([None, "llama3.1"]),
        "chat_template": st.sampled_from([None, "plain", "/templates/a.jinja"]),
    },
)
machines = st.sampled_from([m.machine_type for m in BOOKS.machines() if len(m.accelerators) == 1])


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(BOOKS.models()),
    st.one_of(st.none(), machines),
    st.one_of(st.none(), st.sampled_from(images())),
    options,
)
def test_what_is_planned_without_a_warning_parses(
    model: str, machine: str | None, image: str | None, vllm: dict[str, Any]
) -> None:
    document: dict[str, Any] = {"model": model, "vllm": vllm}
    if machine is not None:
        document["hardware"] = {"machine_type": machine}
    if image is not None:
        document["container"] = {"image_uri": image}
    try:
        served = planned(document)
    except StackError:
        event("refused")
        return
    if served.warnings:
        event("warned")
        return
    event("silent")
    assert parsed(served).model == model
