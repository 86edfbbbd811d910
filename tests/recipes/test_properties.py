"""Properties over generated stack files: arguments read back; any input gives a plan or a StackError, nothing else."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.recipes import (
    ServingPlan,
    StackError,
    StackFile,
    VllmOptions,
    catalog,
    container_arguments,
    load_stack_file,
    plan,
)
from infra.recipes.arguments import ENTRYPOINT, parse_arguments, passed
from infra.recipes.parallel import Split
from infra.recipes.stackfile import parse_stack
from infra.recipes.templates import chat_template_names, shipped

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "stacks").glob("*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FILES]
DOCUMENTS: list[dict[str, Any]] = [yaml.safe_load(text) for text in TEXTS]
FAST = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])

options = st.builds(
    VllmOptions,
    max_model_len=st.integers(1, 131072),
    gpu_memory_utilization=st.floats(0.01, 1.0),
    max_num_seqs=st.integers(1, 4096),
    dtype=st.sampled_from(["auto", "half", "float16", "bfloat16", "float", "float32"]),
    enforce_eager=st.booleans(),
    enable_lora=st.booleans(),
    max_loras=st.integers(1, 8),
    max_cpu_loras=st.integers(8, 64),
    swap_space=st.integers(0, 64),
    disable_log_stats=st.booleans(),
    trust_remote_code=st.booleans(),
    model_type=st.sampled_from([None, "llama3.1"]),
    tensor_parallel_size=st.sampled_from([None, 1, 2, 4]),
    pipeline_parallel_size=st.sampled_from([None, 1, 2]),
    extra_args=st.sampled_from([(), ("--seed=7",), ("--enable_prefix_caching", "--max-lora-rank=64")]),
)


@FAST
@given(
    options,
    st.builds(Split, st.sampled_from([1, 2, 4, 8]), st.integers(1, 4)),
    st.sampled_from(["org/model", "gs://bucket/weights"]),
    st.none() | st.sampled_from([*map(shipped, chat_template_names()), "/templates/a.jinja"]) | st.text(),
)
def test_arguments_read_back(vllm: VllmOptions, split: Split, model: str, template: str | None) -> None:
    arguments = container_arguments(
        model=model, split=split, vllm=vllm, flags=catalog().flags("0.6.2"), chat_template=template
    )
    assert arguments[:3] == ENTRYPOINT
    assert all(argument.startswith("--") for argument in arguments[3:])
    read = parse_arguments(arguments)
    assert len(read) == len(arguments) - 3  # no flag twice
    assert read["--model"] == model
    assert read["--tensor-parallel-size"] == str(split.tensor)
    assert int(read.get("--pipeline-parallel-size") or 1) == split.pipeline
    assert ("--pipeline-parallel-size" in read) is (split.pipeline > 1)
    assert int(read["--max-model-len"] or 0) == vllm.max_model_len
    assert float(read["--gpu-memory-utilization"] or 0) == vllm.gpu_memory_utilization
    assert int(read["--max-num-seqs"] or 0) == vllm.max_num_seqs
    assert int(read["--swap-space"] or -1) == vllm.swap_space
    assert read["--dtype"] == vllm.dtype
    for flag, on in (
        ("--enforce-eager", vllm.enforce_eager),
        ("--enable-lora", vllm.enable_lora),
        ("--trust-remote-code", vllm.trust_remote_code),
        ("--disable-log-stats", vllm.disable_log_stats),
    ):
        assert (flag in read) is on
        assert read.get(flag) is None
    assert ("--model-type" in read) is (vllm.model_type is not None)
    assert ("--chat-template" in read) is (template is not None)
    assert read.get("--chat-template") == template
    given = {argument.partition("=")[0].replace("_", "-") for argument in vllm.extra_args}
    assert given <= set(read)
    assert given == set(passed(vllm))


@FAST
@given(options, st.sampled_from(catalog().flag_versions()))
def test_no_flag_that_the_version_has_not(vllm: VllmOptions, version: str) -> None:
    flags = catalog().flags(version)
    read = parse_arguments(container_arguments(model="org/model", split=Split(2, 2), vllm=vllm, flags=flags))
    assert all(flag in flags for flag in read)
    assert ("--swap-space" in read) is ("--swap-space" in flags)
    for flag, value in read.items():
        assert flags.takes_value(flag) in (None, value is not None)


def outcome(document: Any, region: str = "us-central1") -> ServingPlan | StackError:
    try:
        return plan(
            parse_stack(document, file="stacks/any.yaml", lines={}), region=region, source="stacks/any.yaml"
        )
    except StackError as error:
        return error


def check_text(error: StackError) -> None:
    for problem in error.problems:
        text = str(problem)
        assert "stacks/any.yaml" in text
        assert problem.key in text
        assert problem.problem in text
        assert problem.remedy
        assert len(text) < 4000
    assert all(str(problem) in str(error) for problem in error.problems)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["auto", "gs://b/c", "NVIDIA_L4", "g2-standard-12", "4096", "yes"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(document: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    if isinstance(document, dict):
        for key, value in document.items():
            found += paths(value, (*prefix, key))
    return found


@FAST
@given(st.data())
def test_any_change_of_one_value(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from(DOCUMENTS)))
    *parents, last = data.draw(st.sampled_from(paths(document)))
    owner = document
    for key in parents:
        owner = owner[key]
    match data.draw(st.sampled_from(["replace", "delete", "rename", "add"])):
        case "replace":
            owner[last] = data.draw(junk)
        case "delete":
            del owner[last]
        case "rename":
            owner[data.draw(st.text(min_size=1, max_size=12))] = owner.pop(last)
        case _:
            owner[data.draw(st.text(min_size=1, max_size=12))] = data.draw(junk)
    result = outcome(document)
    if isinstance(result, StackError):
        check_text(result)
    else:
        assert result.container.args[:3] == ENTRYPOINT


@FAST
@given(junk)
def test_any_document(document: Any) -> None:
    result = outcome(document)
    assert isinstance(result, StackError)
    check_text(result)


@FAST
@given(st.text(max_size=30))
def test_any_region(region: str) -> None:
    result = outcome(DOCUMENTS[0], region=region)
    if isinstance(result, StackError):
        check_text(result)
        assert result.key == "gcp:region"
    else:
        assert region in catalog().regions()


@FAST
@given(st.data())
def test_any_damage_to_the_text(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS)).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.binary(max_size=6)) + text[at + length :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.yaml")
        path.write_bytes(text)
        result: ServingPlan | StackError
        try:
            result = plan(load_stack_file(path), region="us-central1", source=str(path))
        except StackError as error:
            result = error
    if isinstance(result, StackError):
        assert "any.yaml" in str(result)
        assert all(problem.remedy for problem in result.problems)
    else:
        assert result.name == "any"


@FAST
@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_extra_arguments(arguments: list[str]) -> None:
    document = copy.deepcopy(DOCUMENTS[0])
    document["vllm"]["extra_args"] = arguments
    result = outcome(document)
    if isinstance(result, StackError):
        check_text(result)
    else:
        assert result.container.args[len(result.container.args) - len(arguments) :] == tuple(arguments)


def test_a_stack_file_survives_a_round_trip() -> None:
    for document in DOCUMENTS:
        stack = parse_stack(document, file="a", lines={})
        assert StackFile.model_validate(stack.model_dump()) == stack
