"""How models are split over GPUs: what vLLM refuses, properties over the whole catalogue; and images that follow."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from infra.cards import Architecture, Mla, ModelCard, Vision, Weights
from infra.recipes import ServingPlan, StackError, catalog, plan
from infra.recipes.arguments import parse_arguments
from infra.recipes.images import DEFAULT_IMAGE, default_image, fitting_images, lacks
from infra.recipes.parallel import Split, Splitter, divisors
from infra.recipes.stackfile import parse_stack
from infra.versions import version_key

BOOKS = catalog()
GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"


def splitter(model: str, version: str = "0.14.0", **options: bool) -> Splitter:
    card = BOOKS.model(model)
    return Splitter(card, BOOKS.architecture(card.architecture.name, version), **options)


def with_shape(**shape: Any) -> ModelCard:
    card = BOOKS.model("meta-llama/Meta-Llama-3.1-8B-Instruct")
    return card.model_copy(update={"architecture": card.architecture.model_copy(update=shape)})


def planned(document: dict[str, Any]) -> ServingPlan:
    card = BOOKS.model(document["model"])
    if not card.chat_template:
        document = {**document, "vllm": {"chat_template": "none", **document.get("vllm", {})}}
    stack = parse_stack(document, file="stacks/a.yaml", lines={})
    region = BOOKS.regions_with(stack.hardware.accelerator_type)[0]
    return plan(stack, region=region, source="stacks/a.yaml")


# The rules, one by one


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        # vLLM: "Total number of attention heads (24) must be divisible by tensor parallel size (16)."
        ("meta-llama/Llama-3.2-3B-Instruct", 16, "the 24 attention heads of"),
        # vLLM: the vocabulary is padded to 64, then "151936 is not divisible by 5"
        ("Qwen/Qwen3-14B", 5, "151936 padded to 151936, cannot be split over 5 GPUs"),
        # vLLM: "... = 192 is not divisible by weight quantization block_n = 128."
        ("Qwen/Qwen3-235B-A22B-FP8", 8, "which is not divisible by the weight quantization block of 128"),
    ],
)
def test_what_vllm_refuses(model: str, size: int, words: str) -> None:
    assert any(words in problem for problem in splitter(model).tensor_problems(size))
    assert not list(splitter(model).tensor_problems(1))


def test_kv_heads_are_split_or_copied() -> None:
    card = with_shape(num_attention_heads=24, num_key_value_heads=8, vocab_size=64 * 24, intermediate_size=48)
    rules = Splitter(card, None)
    assert not list(rules.tensor_problems(8))
    assert not list(rules.tensor_problems(24))
    (problem,) = rules.tensor_problems(12)
    assert problem == f"the 8 KV heads of {card.id} can neither be split over 12 GPUs nor copied evenly."
    full = with_shape(full_num_key_value_heads=3)
    assert any("the 3 KV heads" in problem for problem in Splitter(full, None).tensor_problems(8))


def test_latent_attention_has_no_kv_heads_to_split() -> None:
    mla = Mla(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
    card = with_shape(mla=mla, num_attention_heads=16, num_key_value_heads=3, vocab_size=64 * 16)
    assert not list(Splitter(card, None).tensor_problems(8))


def test_the_mlp_and_the_image_encoder_are_split_too() -> None:
    assert any(
        "the MLP of" in problem
        for problem in Splitter(with_shape(intermediate_size=14337), None).tensor_problems(2)
    )
    seen = with_shape().model_copy(update={"vision": Vision(num_attention_heads=6)})
    (problem,) = Splitter(seen, None).tensor_problems(4)
    assert problem == f"the 6 heads of the image encoder of {seen.id} cannot be split over 4 GPUs."
    assert not list(Splitter(seen, None, whole_encoder=True).tensor_problems(4))


def test_experts_that_stay_whole_need_no_division() -> None:
    model = "Qwen/Qwen3-235B-A22B-FP8"
    assert list(splitter(model).tensor_problems(8))
    assert not list(splitter(model, whole_experts=True).tensor_problems(8))
    assert splitter(model).split(8) == Split(4, 2)
    assert splitter(model, whole_experts=True).split(8) == Split(8, 1)


def test_groups_of_a_quantised_checkpoint_stay_whole() -> None:
    weights = Weights(quantization="awq", quantization_bits=4, group_size=128)
    card = with_shape(intermediate_size=18944, num_attention_heads=32).model_copy(update={"weights": weights})
    assert not list(Splitter(card, None).tensor_problems(4))
    (problem,) = Splitter(card, None).tensor_problems(8)
    assert problem == (
        f"the MLP of {card.id}, 18944 wide, would be 2368 on each of 8 GPUs, which is not divisible by the quantization"
        " group of 128."
    )


def test_stages_need_a_layer_each_and_an_architecture_that_has_them() -> None:
    few = Splitter(with_shape(num_hidden_layers=3), None)
    assert list(few.pipeline_problems(4)) == [f"the 3 layers of {few.card.id} cannot be split into 4 stages."]
    assert not list(few.pipeline_problems(3))
    llama = BOOKS.architecture("MllamaForConditionalGeneration", "0.9.2")
    assert llama is not None
    (problem,) = Splitter(with_shape(), llama).pipeline_problems(2)
    assert problem == (
        "vLLM (0.6.2 and later, before 0.11.0) has no pipeline parallelism for MllamaForConditionalGeneration; it would"
        " run in 2 stages."
    )


# Over the whole catalogue


@pytest.mark.parametrize("model", BOOKS.models())
def test_every_split_uses_every_gpu_and_the_largest_tensor_size(model: str) -> None:
    rules = splitter(model)
    for gpus in (1, 2, 4, 8, 16):
        allowed = list(rules.allowed(gpus))
        assert all(split.tensor * split.pipeline == gpus for split in allowed)
        assert [split.tensor for split in allowed] == sorted((s.tensor for s in allowed), reverse=True)
        chosen = rules.split(gpus)
        assert chosen.gpus == gpus
        assert chosen == (allowed[0] if allowed else Split(gpus, 1))
        for split in allowed:
            assert not list(rules.tensor_problems(split.tensor))
            assert rules.card.architecture.num_attention_heads % split.tensor == 0
            assert split.pipeline <= rules.card.architecture.num_hidden_layers


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_what_is_given_is_kept(gpus: int, tensor: int, pipeline: int) -> None:
    rules = splitter("meta-llama/Meta-Llama-3.1-8B-Instruct")
    assert rules.split(gpus, tensor, pipeline) == Split(tensor, pipeline)
    assert rules.split(gpus, tensor).tensor == tensor
    assert rules.split(gpus, None, pipeline).pipeline == pipeline
    assert math.prod((rules.split(gpus).tensor, rules.split(gpus).pipeline)) == gpus
    assert all(gpus % number == 0 for number in divisors(gpus))


HARDWARE = [(m.machine_type, kind, count) for m in BOOKS.machines() for kind, count in m.accelerators]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(BOOKS.models()), st.sampled_from(HARDWARE))
def test_whatever_is_planned_uses_every_gpu(model: str, hardware: tuple[str, str, int]) -> None:
    machine, kind, count = hardware
    if not BOOKS.regions_with(kind):
        return
    document = {
        "model": model,
        "hardware": {"machine_type": machine, "accelerator_type": kind, "accelerator_count": count},
        "vllm": {"swap_space": 0, "trust_remote_code": True},
        "container": {"shared_memory_size_mb": 1024},
    }
    try:
        served = planned(document)
    except StackError:
        event("refused")
        return
    event("planned")
    read = parse_arguments(served.container.args)
    tensor, pipeline = read["--tensor-parallel-size"], read.get("--pipeline-parallel-size") or "1"
    assert int(tensor or 0) * int(pipeline) == count
    assert (served.vllm.tensor_parallel_size, served.vllm.pipeline_parallel_size) == (
        int(tensor or 0),
        int(pipeline),
    )
    if served.vllm_version:
        image = BOOKS.container(served.container.image_uri)
        assert image is not None
        if image.released and served.notes == ():
            assert lacks(served.model, served.accelerator, served.vllm_version) is None


def test_copies_of_the_model_share_the_gpus() -> None:
    document = {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "hardware": {"machine_type": "a2-highgpu-4g"},
        "container": {"image_uri": f"{GOOGLE}:20250710_0916_RC01"},
        "vllm": {"extra_args": ["--data-parallel-size=2"]},
    }
    assert "--tensor-parallel-size=2" in planned(document).container.args
    alone = {**document, "vllm": {}}
    assert "--tensor-parallel-size=4" in planned(alone).container.args


@pytest.mark.parametrize(
    ("sizes", "written"),
    [
        ({"tensor_parallel_size": 2}, (2, 4)),
        ({"pipeline_parallel_size": 8}, (1, 8)),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, (4, 2)),
        ({}, (8, 1)),
    ],
)
def test_sizes_of_the_stack_file(sizes: dict[str, int], written: tuple[int, int]) -> None:
    document = {
        "model": "Qwen/Qwen2.5-72B-Instruct",
        "hardware": {"machine_type": "a2-ultragpu-8g"},
        "vllm": sizes,
    }
    read = parse_arguments(planned(document).container.args)
    assert (
        int(read["--tensor-parallel-size"] or 0),
        int(read.get("--pipeline-parallel-size") or 1),
    ) == written
    flags = list(read)
    if written[1] > 1:
        assert flags.index("--pipeline-parallel-size") == flags.index("--tensor-parallel-size") + 1


# Images


@pytest.mark.parametrize("model", BOOKS.models())
def test_the_default_image_can_serve_the_model(model: str) -> None:
    card = BOOKS.model(model)
    for accelerator in BOOKS.accelerators():
        if accelerator.compute_capability < (7, 0):
            continue
        fitting = list(fitting_images(card, accelerator))
        uri = default_image(card, accelerator, 1)
        if not fitting:
            moving = {image.uri for image in fitting_images(card, accelerator, moving=True)}
            assert uri in {DEFAULT_IMAGE, *(recipe.image_uri for recipe in card.recommended), *moving}
            continue
        image = BOOKS.container(uri)
        assert image is not None
        assert image.arch == accelerator.cpu_arch
        assert lacks(card, accelerator, image.vllm_version or "") is None
        oldest = min((version_key(i.vllm_version or "") for i in fitting), default=None)
        assert version_key(image.vllm_version or "") == oldest


@pytest.mark.parametrize(
    ("model", "machine", "tag"),
    [
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "a3-highgpu-1g", "20241001_0916_RC00"),
        ("google/gemma-3-1b-it", "a3-highgpu-1g", "20250321_0916_RC01"),  # architecture, 0.8.0
        ("Qwen/Qwen3-8B", "g2-standard-96", "20250417_0916_RC01"),  # architecture, 0.8.4
        ("openai/gpt-oss-20b", "g2-standard-48", "v0.12.0"),  # architecture, 0.10.1
        ("meta-llama/Llama-3.1-8B-Instruct", "a4-highgpu-8g", "20250601_0916_RC01"),  # the GPU, 0.9.0
        ("google/gemma-4-31B-it", "g4-standard-384", "gemma4"),  # Google documents it for Gemma 4
    ],
)
def test_the_image_follows(model: str, machine: str, tag: str) -> None:
    served = planned({"model": model, "hardware": {"machine_type": machine}})
    assert served.container.image_uri == f"{GOOGLE}:{tag}"
    said = any(f"container.image_uri: {GOOGLE}:{tag}" in note for note in served.notes)
    assert said is (tag != "20241001_0916_RC00")


def test_the_image_follows_the_number_of_gpus() -> None:
    # 71 heads: only stages are possible, and Falcon has them from 0.6.3 on
    one = planned({"model": "tiiuae/falcon-7b-instruct", "hardware": {"machine_type": "a3-highgpu-1g"}})
    two = planned({"model": "tiiuae/falcon-7b-instruct", "hardware": {"machine_type": "a3-highgpu-2g"}})
    assert (one.vllm_version, two.vllm_version) == ("0.6.2", "0.6.4.post1")
    assert "--pipeline-parallel-size=2" in two.container.args


def test_the_machine_without_bfloat16_takes_float16_and_says_so() -> None:
    served = planned({"model": "Qwen/Qwen2.5-1.5B-Instruct", "hardware": {
        "machine_type": "n1-highmem-8", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1
    }})  # fmt: skip
    assert "--dtype=half" in served.container.args
    assert served.notes == ("defaults that follow from the model and the GPU: vllm.dtype: half.",)


def test_a_build_from_between_two_releases_is_a_warning() -> None:
    document = {
        "model": "google/gemma-3-1b-it",
        "hardware": {"machine_type": "g2-standard-8"},
        "container": {"image_uri": f"{GOOGLE}:20250312_0916_RC01"},
    }
    assert planned(document).warnings == (
        "container.image_uri: vLLM 0.7.3 has no Gemma3ForCausalLM, the architecture of google/gemma-3-1b-it, yet; it"
        " came by 0.8.0. The image is a build from before 0.8.0, and may have it.",
    )


def test_every_architecture_of_the_catalogue_is_known() -> None:
    assert isinstance(BOOKS.model("Qwen/Qwen3-8B").architecture, Architecture)
    missing = {BOOKS.model(model).architecture.name for model in BOOKS.models()} - set(BOOKS.architectures())
    assert missing == set()
