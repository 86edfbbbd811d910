"""Images whose vLLM version the stack file says: what is checked by it, and what the container must be.

What is not proved: that an image has the version that its owner names.
"""

from __future__ import annotations

from typing import Any

import pytest

from infra.cli.facts import version_of
from infra.recipes import ServingPlan, StackError, UnknownImage, catalog, plan
from infra.recipes.errors import HardwareMismatch, StackFileError, ValueProblem
from infra.recipes.stackfile import parse_stack

GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
OWN = "europe-docker.pkg.dev/me/vllm/server:1.2"
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
UNDOCUMENTED = f"{GOOGLE}:20250116_0916_RC00"


def planned(image: str, version: str | None = None, model: str = LLAMA, **sections: Any) -> ServingPlan:
    container = {"image_uri": image, **({} if version is None else {"vllm_version": version})}
    document = {"model": model, "container": container, **sections}
    return plan(parse_stack(document, file="a.yaml", lines={}), region="us-central1", source="a.yaml")


def test_a_version_is_not_called_unknown() -> None:
    (warning,) = planned(OWN, "0.11.0").warnings
    assert "is not in the catalogue" in warning
    assert "not known" not in warning
    (warning,) = planned(OWN).warnings
    assert "Its vLLM version is not known and no flag is checked: write container.vllm_version." in warning


@pytest.mark.parametrize(("version", "gone"), [("0.24.0", False), ("0.25.0", True), ("0.33.0", True)])
def test_an_image_without_the_entry_point_is_warned_of(version: str, gone: bool) -> None:
    served = planned(OWN, version)
    assert served.container.args[:3] == ("python", "-m", "vllm.entrypoints.api_server")
    found = [text for text in served.warnings if "no vllm.entrypoints.api_server any more" in text]
    assert bool(found) is gone
    assert all(text.startswith("container.vllm_version: ") and "Build on one of" in text for text in found)


def test_googles_own_images_are_not_warned_of_their_entry_point() -> None:
    for image in catalog().containers():
        try:
            served = planned(image.uri)
        except StackError:
            continue
        assert not any("api_server" in text for text in served.warnings), image.uri


def test_a_version_of_an_undocumented_image_applies() -> None:
    served = planned(UNDOCUMENTED, "0.6.6.post1")
    assert served.vllm_version == "0.6.6.post1"
    assert served.fit is not None
    assert served.warnings == ()
    assert version_of(served) == "0.6.6.post1"
    (warning,) = planned(UNDOCUMENTED).warnings
    assert "nobody has documented" in warning
    with pytest.raises(StackError, match=r"vLLM 0\.6\.6\.post1 has no --speculative-config yet"):
        planned(UNDOCUMENTED, "0.6.6.post1", vllm={"extra_args": ["--speculative-config={}"]})
    with pytest.raises(UnknownImage, match=r"vLLM 0\.6\.6\.post1 has no Qwen3ForCausalLM"):
        planned(UNDOCUMENTED, "0.6.6.post1", "Qwen/Qwen3-8B", hardware={"machine_type": "g2-standard-12"})


def test_the_same_version_may_be_repeated_another_is_refused() -> None:
    assert planned(f"{GOOGLE}:20250710_0916_RC01", "0.9.2").vllm_version == "0.9.2"
    with pytest.raises(ValueProblem, match=r"this image has vLLM 0\.9\.2 \(documented\), not 0\.9\.1"):
        planned(f"{GOOGLE}:20250710_0916_RC01", "0.9.1")


@pytest.mark.parametrize(
    ("version", "fix"),
    [
        ("0.11.0rc1", "vllm_version: 0.11.0"),
        ("0.12.1.dev17+gabcdef0", "vllm_version: 0.12.1"),
        ("v0.9.2", "vllm_version: 0.9.2"),
        ("0.8.5.post1+cu121", "vllm_version: 0.8.5.post1"),
    ],
)
def test_versions_of_other_forms_name_their_release(version: str, fix: str) -> None:
    with pytest.raises(StackFileError) as caught:
        planned(OWN, version)
    assert caught.value.remedy == fix
    assert planned(OWN, fix.removeprefix("vllm_version: ")).vllm_version is not None


def test_a_model_that_the_version_of_an_own_image_lacks() -> None:
    hardware = {"machine_type": "g2-standard-12"}
    with pytest.raises(ValueProblem) as caught:
        planned(OWN, "0.6.2", "Qwen/Qwen3-8B", hardware=hardware, vllm={"max_model_len": 2048})
    assert caught.value.key == "container.vllm_version"
    assert caught.value.problem.startswith("vLLM 0.6.2 has no Qwen3ForCausalLM, the architecture of")
    assert caught.value.remedy.startswith("an image with vLLM 0.8.4 or later; or delete the line")
    assert planned(OWN, "0.8.4", "Qwen/Qwen3-8B", hardware=hardware, vllm={"max_model_len": 2048})
    assert planned(OWN, None, "Qwen/Qwen3-8B", hardware=hardware)


QWEN_ON_V100 = {
    "machine_type": "n1-highmem-8",
    "accelerator_type": "NVIDIA_TESLA_V100",
    "accelerator_count": 1,
}


@pytest.mark.parametrize("image", [None, f"{GOOGLE}:20250304_0916_RC01"])
def test_quantized_qwen3_on_a_v100_is_the_gpus_fault(image: str | None) -> None:
    container = {} if image is None else {"image_uri": image}
    document = {"model": "Qwen/Qwen3-8B-AWQ", "hardware": QWEN_ON_V100, "container": container}
    with pytest.raises(HardwareMismatch) as caught:
        plan(parse_stack(document, file="a.yaml", lines={}), region="us-central1", source="a.yaml")
    assert caught.value.key == "hardware.accelerator_type"
    assert "compute capability 7.0" in caught.value.problem
    assert "known to have it" not in str(caught.value)


def test_a_method_that_the_version_lacks_and_the_gpu_too() -> None:
    document = {
        "model": "openai/gpt-oss-20b",
        "hardware": {**QWEN_ON_V100, "accelerator_type": "NVIDIA_TESLA_T4"},
        "container": {"image_uri": f"{GOOGLE}:20250710_0916_RC01"},
    }
    with pytest.raises(HardwareMismatch) as caught:
        plan(parse_stack(document, file="a.yaml", lines={}), region="us-central1", source="a.yaml")
    assert caught.value.problem == (
        "openai/gpt-oss-20b is quantized as mxfp4, which needs compute capability 8.0 in every image of Google's that"
        " has GptOssForCausalLM; NVIDIA_TESLA_T4 has 7.5."
    )
    assert "NVIDIA_L4" in caught.value.choices


def test_an_image_for_another_processor_names_only_images_that_have_the_model() -> None:
    gb200 = {"machine_type": "a4x-highgpu-4g"}
    rack = {"min_replica_count": 18, "max_replica_count": 18}
    for model in catalog().models():
        document = {"model": model, "hardware": gb200, "replicas": rack}
        stack = parse_stack(document, file="a.yaml", lines={})
        try:
            plan(stack, region="us-central1", source="a.yaml")
        except StackError as error:
            named = [each for each in error.problems if each.key == "container.image_uri"]
            architecture = catalog().model(model).architecture.name
            for problem in named:
                for uri in problem.choices:
                    image = catalog().container(uri)
                    assert image is not None
                    assert image.vllm_version is not None
                    assert catalog().architecture(architecture, image.vllm_version) is not None, model
