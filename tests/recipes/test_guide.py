"""The 14 stack files of the guide give the guide's container specs, to the letter.

The tables below are written from the guide (docs: models/open-models/vllm/use-vllm), not from the code. They prove what
is asked of Vertex AI; not that the models start.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.recipes import ServingPlan, load_stack_file, plan

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"

L4, A100, H100 = "NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_H100_80GB"
LORA, NO_LORA = True, False
# stack file -> model, machine, accelerator, count, max_num_seqs, dynamic LoRA
GUIDE = {
    "meta-llama-3.1-8b.l4x1": ("Meta-Llama-3.1-8B", "g2-standard-12", L4, 1, 256, LORA),
    "meta-llama-3.1-8b-instruct.l4x1": ("Meta-Llama-3.1-8B-Instruct", "g2-standard-12", L4, 1, 256, LORA),
    "meta-llama-3.1-70b.l4x8": ("Meta-Llama-3.1-70B", "g2-standard-96", L4, 8, 256, LORA),
    "meta-llama-3.1-70b-instruct.l4x8": ("Meta-Llama-3.1-70B-Instruct", "g2-standard-96", L4, 8, 256, LORA),
    "meta-llama-3.1-405b-fp8.h100x8": ("Meta-Llama-3.1-405B-FP8", "a3-highgpu-8g", H100, 8, 256, LORA),
    "meta-llama-3.1-405b-instruct-fp8.h100x8": (
        "Meta-Llama-3.1-405B-Instruct-FP8",
        "a3-highgpu-8g",
        H100,
        8,
        256,
        LORA,
    ),
    "llama-3.2-1b.l4x1": ("Llama-3.2-1B", "g2-standard-8", L4, 1, 12, NO_LORA),
    "llama-3.2-1b-instruct.l4x1": ("Llama-3.2-1B-Instruct", "g2-standard-8", L4, 1, 12, NO_LORA),
    "llama-3.2-3b.l4x1": ("Llama-3.2-3B", "g2-standard-8", L4, 1, 12, NO_LORA),
    "llama-3.2-3b-instruct.l4x1": ("Llama-3.2-3B-Instruct", "g2-standard-8", L4, 1, 12, NO_LORA),
    "llama-3.2-11b-vision.a100x1": ("Llama-3.2-11B-Vision", "a2-highgpu-1g", A100, 1, 12, NO_LORA),
    "llama-3.2-11b-vision-instruct.a100x1": (
        "Llama-3.2-11B-Vision-Instruct",
        "a2-highgpu-1g",
        A100,
        1,
        12,
        NO_LORA,
    ),
    "llama-3.2-90b-vision.h100x8": ("Llama-3.2-90B-Vision", "a3-highgpu-8g", H100, 8, 12, NO_LORA),
    "llama-3.2-90b-vision-instruct.h100x8": (
        "Llama-3.2-90B-Vision-Instruct",
        "a3-highgpu-8g",
        H100,
        8,
        12,
        NO_LORA,
    ),
}

# Two of them written out whole, as a reader of the guide would type them.
WHOLE = {
    "meta-llama-3.1-70b-instruct.l4x8": (
        "python -m vllm.entrypoints.api_server --host=0.0.0.0 --port=8080"
        " --model=meta-llama/Meta-Llama-3.1-70B-Instruct --tensor-parallel-size=8 --swap-space=16"
        " --gpu-memory-utilization=0.9 --max-model-len=4096 --dtype=auto --max-loras=1 --max-cpu-loras=8"
        " --max-num-seqs=256 --disable-log-stats --enforce-eager --enable-lora"
    ),
    "llama-3.2-11b-vision-instruct.a100x1": (
        "python -m vllm.entrypoints.api_server --host=0.0.0.0 --port=8080"
        " --model=meta-llama/Llama-3.2-11B-Vision-Instruct --tensor-parallel-size=1 --swap-space=16"
        " --gpu-memory-utilization=0.9 --max-model-len=4096 --dtype=auto --max-loras=1 --max-cpu-loras=8"
        " --max-num-seqs=12 --disable-log-stats --enforce-eager"
    ),
}


def plan_of(name: str) -> ServingPlan:
    path = ROOT / "stacks" / f"{name}.yaml"
    return plan(load_stack_file(path), region="us-central1", source=str(path))


@pytest.mark.parametrize("name", sorted(GUIDE))
def test_container_is_the_guides(name: str) -> None:
    model, _, _, gpus, seqs, lora = GUIDE[name]
    container = plan_of(name).container
    expected = [
        "python",
        "-m",
        "vllm.entrypoints.api_server",
        "--host=0.0.0.0",
        "--port=8080",
        f"--model=meta-llama/{model}",
        f"--tensor-parallel-size={gpus}",
        "--swap-space=16",
        "--gpu-memory-utilization=0.9",
        "--max-model-len=4096",
        "--dtype=auto",
        "--max-loras=1",
        "--max-cpu-loras=8",
        f"--max-num-seqs={seqs}",
        "--disable-log-stats",
        "--enforce-eager",
    ]
    if lora:
        expected.append("--enable-lora")
    assert list(container.args) == expected
    assert container.command == ()
    assert container.image_uri == IMAGE
    assert dict(container.env) == {"MODEL_ID": f"meta-llama/{model}", "DEPLOY_SOURCE": "vertex-vllm"}
    assert container.ports == (8080,)
    assert container.predict_route == "/generate"
    assert container.health_route == "/ping"
    assert container.shared_memory_size_mb == 16 * 1024
    assert container.deployment_timeout_seconds == 7200


@pytest.mark.parametrize("name", sorted(GUIDE))
def test_deployment_is_the_guides(name: str) -> None:
    model, machine, accelerator, gpus, _, _ = GUIDE[name]
    served = plan_of(name)
    assert served.name == name
    assert served.model.id == f"meta-llama/{model}"
    assert served.machine.machine_type == machine
    assert served.hardware.machine_type == machine
    assert (served.hardware.accelerator_type, served.hardware.accelerator_count) == (accelerator, gpus)
    assert served.accelerator.accelerator_type == accelerator
    assert served.hardware.spot is False
    assert (served.replicas.min_replica_count, served.replicas.max_replica_count) == (1, 1)
    assert served.deploy_request_timeout == 1800
    assert served.endpoint.dedicated is False
    assert served.weights_uri is None
    assert served.needs_token is True


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_arguments_written_out(name: str) -> None:
    assert " ".join(plan_of(name).container.args) == WHOLE[name]


def test_every_stack_file_of_the_guide_is_there() -> None:
    assert {p.stem for p in (ROOT / "stacks").glob("*.yaml")} >= set(GUIDE)


def test_models_that_cannot_chat_say_so_and_none_carries_a_warning() -> None:
    for name, (model, *_) in GUIDE.items():
        served = plan_of(name)
        assert served.warnings == (), name
        assert served.vllm.chat_template == (None if "Instruct" in model else "none"), name


@pytest.mark.parametrize(
    ("machine", "accelerator", "regions"),
    [
        (
            "a2-ultragpu-1g",
            "NVIDIA_A100_80GB",
            ("us-central1", "us-east4", "europe-west4", "asia-southeast1"),
        ),
        ("a3-highgpu-8g", H100, ("us-central1", "us-west1", "europe-west4", "asia-southeast1")),
    ],
)
def test_the_guides_gpu_table(machine: str, accelerator: str, regions: tuple[str, ...]) -> None:
    from infra.recipes import catalog

    count = int(machine[-2])
    assert catalog().machine(machine).accelerators == ((accelerator, count),)
    assert all(catalog().serves(region, accelerator) for region in regions)
