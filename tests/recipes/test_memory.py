"""Memory in the preview: what would not start is refused, with the two numbers and changes that would start.

The prediction itself is held to measured start-ups in tests/fit. What is not proved: that a GPU agrees.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from infra.fit import Outcome
from infra.recipes import DoesNotFit, ServingPlan, StackError, catalog, plan
from infra.recipes.memory import choices, fit_options, limits_of
from infra.recipes.parallel import Split
from infra.recipes.stackfile import VllmOptions, parse_stack
from infra.recipes.yamlfile import parse_yaml

VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"
LLAMA_8B = "meta-llama/Meta-Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Meta-Llama-3.1-70B-Instruct"


def planned(document: dict[str, Any], region: str = "us-central1") -> ServingPlan:
    return plan(parse_stack(document, file="stacks/a.yaml", lines={}), region=region, source="stacks/a.yaml")


def refused(document: dict[str, Any]) -> DoesNotFit:
    with pytest.raises(DoesNotFit) as caught:
        planned(document)
    return caught.value


# The guide's troubleshooting cases that are about memory; the other two are in test_bad_stack_files.py and
# tests/test_settings.py.


def test_256_sequences_of_images_on_one_a100_40gb_are_refused_with_the_number_that_works() -> None:
    document = {"model": VISION, "hardware": {"machine_type": "a2-highgpu-1g"}, "vllm": {"max_num_seqs": 256}}
    error = refused(document)
    assert error.key == "vllm.max_num_seqs"
    assert "a GPU has 39.38" in error.problem
    assert "activations of the start-up run" in error.problem
    number = re.search(r"max_num_seqs: (\d+) or less", error.remedy)
    assert number is not None
    assert 12 <= int(number[1]) < 256
    assert planned({**document, "vllm": {"max_num_seqs": int(number[1])}}).fit is not None


def test_4096_tokens_on_a_smaller_cache_are_refused_with_both_numbers() -> None:
    document = {
        "model": LLAMA_8B,
        "hardware": {"machine_type": "g2-standard-12"},
        "vllm": {"gpu_memory_utilization": 0.765},
    }
    error = refused(document)
    assert error.key == "vllm.max_model_len"
    assert error.value == 4096
    held = re.search(r"the KV cache holds (\d+) tokens", error.problem)
    assert held is not None
    assert 0 < int(held[1]) < 4096
    assert "max_model_len asks for 4096 (0.50 GiB)" in error.problem
    assert "the largest part is weights" in error.problem
    assert "gpu_memory_utilization: 0.9;" in error.remedy
    assert "g2-standard-24 with 2 NVIDIA_L4" in error.remedy


def test_every_named_change_starts() -> None:
    document = {
        "model": LLAMA_8B,
        "hardware": {"machine_type": "g2-standard-12"},
        "vllm": {"gpu_memory_utilization": 0.82, "max_model_len": 16384},
    }
    error = refused(document)
    changes = error.remedy.removeprefix("below `vllm:` add ").split("; or ")
    assert len(changes) >= 4
    for change in changes:
        machine = re.match(r"machine_type: (\S+) with (\d+) (\S+)", change)
        option = re.match(r"(\w+): ([\d.]+)", change)
        if machine is not None:
            hardware = {
                "machine_type": machine[1],
                "accelerator_type": machine[3],
                "accelerator_count": int(machine[2]),
            }
            tried = {**document, "hardware": hardware}
        else:
            assert option is not None, change
            value = float(option[2]) if "." in option[2] else int(option[2])
            tried = {**document, "vllm": {**document["vllm"], option[1]: value}}  # type: ignore[dict-item]
        fit = planned(tried).fit
        assert fit is not None
        assert fit.ok, change


def test_weights_larger_than_the_gpu_name_both_sizes_and_hardware_that_holds_them() -> None:
    error = refused({"model": LLAMA_70B, "hardware": {"machine_type": "a2-ultragpu-1g"}})
    assert error.key == "hardware.accelerator_type"
    assert re.search(r"the weights take 131\.\d+ GiB a GPU, a GPU has 79\.15", error.problem)
    assert "g2-standard-96 with 8 NVIDIA_L4" in error.remedy
    assert "USD an hour a replica" in error.remedy
    assert "max_model_len" not in error.remedy


def test_fit_warn_turns_the_refusal_into_a_warning() -> None:
    document = {"model": LLAMA_70B, "hardware": {"machine_type": "a2-ultragpu-1g"}, "fit": "warn"}
    served = planned(document)
    assert served.fit is not None
    assert not served.fit.ok
    assert any("does not start on 1 NVIDIA_A100_80GB" in warning for warning in served.warnings)


def test_a_published_recipe_to_the_letter_is_not_refused() -> None:
    """What ran is not refused for a prediction; a recipe that is changed is judged like any other."""
    for model in catalog().models():
        for recipe in catalog().model(model).recommended:
            if recipe.image_uri is None:
                continue
            hardware = recipe.model_dump(include={"machine_type", "accelerator_type", "accelerator_count"})
            region = catalog().regions_with(recipe.accelerator_type)[0]
            try:
                planned({"model": model, "hardware": hardware}, region)
            except DoesNotFit as error:
                pytest.fail(str(error))
            except StackError:
                continue  # a choice that the file must make, such as the chat template


def test_a_published_recipe_with_an_argument_more_is_refused_as_any_other() -> None:
    """The recipe names no ``--max-num-batched-tokens``: what it does to memory was never published."""
    plain = {"model": LLAMA_8B, "hardware": {"machine_type": "g2-standard-12"}}
    assert planned(plain).warnings == ()
    error = refused({**plain, "vllm": {"extra_args": ["--max-num-batched-tokens=200000"]}})
    assert "the widest layer of the start-up run needs" in error.problem


def test_a_narrow_margin_is_a_warning() -> None:
    for share in range(740, 900, 2):
        document = {
            "model": LLAMA_8B,
            "hardware": {"machine_type": "g2-standard-12"},
            "vllm": {"gpu_memory_utilization": share / 1000, "max_num_seqs": 64},
        }
        try:
            served = planned(document)
        except DoesNotFit:
            continue
        assert served.fit is not None
        narrow = served.fit.outcome_low is not Outcome.OK
        assert narrow == any("by a narrow margin" in warning for warning in served.warnings)
        assert narrow, "the first that starts is near the edge"
        break


def test_flags_that_are_not_reckoned_are_named() -> None:
    """A draft model's weights, for one, are not in the account."""
    document = {
        "model": LLAMA_8B,
        "hardware": {"machine_type": "g2-standard-24"},
        "vllm": {"extra_args": ["--speculative-model=x/y", "--num-speculative-tokens=3"]},
    }
    assert (
        "vllm.extra_args: the prediction of memory leaves --speculative-model out."
        in planned(document).warnings
    )


def test_nothing_is_said_of_an_image_whose_version_is_not_known() -> None:
    document = {
        "model": LLAMA_70B,
        "hardware": {"machine_type": "a2-ultragpu-1g"},
        "container": {"image_uri": "us-docker.pkg.dev/mine/images/vllm:1"},
    }
    assert planned(document).fit is None
    known = {**document, "container": {**document["container"], "vllm_version": "0.11.0"}}  # type: ignore[dict-item]
    assert refused(known).problem.startswith(LLAMA_70B)


def test_choices_are_in_order_of_price_and_start() -> None:
    stack = parse_stack({"model": LLAMA_8B}, file="stacks/a.yaml", lines={})
    found = choices(stack, region="us-central1")
    prices = [choice.usd_per_hour for choice in found if choice.usd_per_hour is not None]
    assert prices == sorted(prices)
    assert found[0].accelerator_type == "NVIDIA_L4"
    assert all(choice.fit.ok for choice in found)
    assert len({(choice.accelerator_type, choice.accelerator_count) for choice in found}) == len(found)


@pytest.mark.parametrize(
    ("model", "hardware", "vllm"),
    [
        # float32 on a T4, since vLLM has no float16 for Gemma 2; an image for Blackwell, which others need not have.
        (
            "google/gemma-2-9b-it",
            "n1-highmem-8, accelerator_type: NVIDIA_TESLA_T4, accelerator_count: 1",
            "{}",
        ),
        ("moonshotai/Kimi-K2-Instruct", "g4-standard-192", "{trust_remote_code: true}"),
    ],
)
def test_choices_start_in_a_file_that_names_them(model: str, hardware: str, vllm: str) -> None:
    text = f"model: {model}\nhardware: {{machine_type: {hardware}}}\nvllm: {vllm}\n"
    raw, lines = parse_yaml(text, "stacks/a.yaml")
    assert isinstance(raw, dict)
    found = choices(parse_stack(raw, file="stacks/a.yaml", lines=lines), region="us-central1")
    assert found
    for choice in found:
        there = {
            "machine_type": choice.machine_type,
            "accelerator_type": choice.accelerator_type,
            "accelerator_count": choice.accelerator_count,
        }
        served = planned({**raw, "hardware": there}).fit
        assert served is not None
        assert (served.ok, served.kv_tokens) == (True, choice.fit.kv_tokens)


def test_options_reach_the_arithmetic() -> None:
    vllm = VllmOptions(
        max_model_len=1000,
        extra_args=(
            "--max-num-batched-tokens=4k",
            "--kv-cache-dtype=fp8",
            "--no-enable-prefix-caching",
            "--enable-chunked-prefill",
            '--limit-mm-per-prompt={"image": 3}',
            "--block-size=32",
            "--cpu-offload-gb=2.5",
            "--max-lora-rank=64",
        ),
    )
    options = fit_options(vllm, Split(4, 2))
    assert (options.tensor_parallel_size, options.pipeline_parallel_size) == (4, 2)
    assert options.max_num_batched_tokens == 4000
    assert options.kv_cache_dtype == "fp8"
    assert options.enable_prefix_caching is False
    assert options.enable_chunked_prefill is True
    assert options.images_per_prompt == 3
    assert (options.block_size, options.cpu_offload_gb, options.max_lora_rank) == (32, 2.5, 64)


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("image=4", 4),
        ("image=4,video=1", 4),
        ('{"image": 2, "video": 1}', 2),
        ('{"video": 1, "image": 2}', 2),
        ('{"image": {"count": 5, "width": 512, "height": 512}}', 5),
        ('{"image": {"width": 512, "count": 5}, "video": 2}', 5),
        ('{"image": {"width": 512}, "video": {"count": 2}}', 1),
        ('{"video": 3}', 1),
        ('{"image": 0}', 0),
    ],
)
def test_images_of_a_prompt(text: str, images: int) -> None:
    options = fit_options(VllmOptions(extra_args=(f"--limit-mm-per-prompt={text}",)), Split(1, 1))
    assert options.images_per_prompt == images


def test_limits_of_a_plan_start() -> None:
    served = planned({"model": LLAMA_8B})
    largest = limits_of(served.model, served.accelerator, served.vllm_version, served.vllm, Split(1, 1))
    assert largest is not None
    assert largest.max_model_len > 4096
    longest = planned({"model": LLAMA_8B, "vllm": {"max_model_len": largest.max_model_len}})
    assert longest.fit is not None
    assert longest.fit.ok


def test_a_limit_below_what_the_cache_holds_says_that_it_keeps_a_margin() -> None:
    document = {
        "model": LLAMA_8B,
        "hardware": {"machine_type": "g2-standard-12"},
        "vllm": {"gpu_memory_utilization": 0.77, "max_model_len": 4096},
    }
    error = refused(document)
    held = re.search(r"the KV cache holds (\d+) tokens", error.problem)
    limit = re.search(r"max_model_len: (\d+) or less \(with a margin\)", error.remedy)
    assert held is not None
    assert limit is not None
    assert int(limit[1]) < int(held[1])


@pytest.mark.parametrize(
    ("share", "machine", "key"),
    [
        (0.01, "g2-standard-12", "vllm.gpu_memory_utilization"),
        (0.3, "a2-highgpu-1g", "vllm.gpu_memory_utilization"),
        (0.9, "g2-standard-12", "hardware.accelerator_type"),
    ],
)
def test_the_key_that_is_to_blame(share: float, machine: str, key: str) -> None:
    model = LLAMA_70B if key.startswith("hardware") else LLAMA_8B
    document = {
        "model": model,
        "hardware": {"machine_type": machine},
        "vllm": {"gpu_memory_utilization": share},
    }
    error = refused(document)
    assert error.key == key
    if key.startswith("vllm"):
        assert error.remedy.startswith("below `vllm:` add gpu_memory_utilization: 0.9")
