"""What runs already, read back into a stack file: every shipped stack file comes back, and no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cli.stack import plan_of
from infra.provider.content import container_to_api
from infra.recipes.existing import arguments_of, container_differences, needs_token, stack_file_of
from infra.recipes.plan import ServingPlan

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted((ROOT / "stacks").glob("*.yaml"))
LLAMA = ROOT / "stacks" / "meta-llama-3.1-8b-instruct.l4x1.yaml"
TOKEN = "hf_" + "aB3" * 11  # opens nothing


def running(plan: ServingPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container and the deployed model of a plan, as the REST API shows them."""
    deployed = {
        "dedicatedResources": {
            "machineSpec": {
                "machineType": plan.hardware.machine_type,
                "acceleratorType": plan.hardware.accelerator_type,
                "acceleratorCount": plan.hardware.accelerator_count,
            },
            "minReplicaCount": plan.replicas.min_replica_count,
            "maxReplicaCount": plan.replicas.max_replica_count,
        }
    }
    return container_to_api(plan.container.inputs(), TOKEN), deployed


def planned(content: dict[str, Any], folder: Path) -> ServingPlan:
    file = folder / "imported.yaml"
    file.write_text(yaml.safe_dump(content))
    plan, refusal = plan_of(file, region="us-central1")
    assert refusal is None
    return plan


@pytest.mark.parametrize("file", STACKS, ids=lambda file: file.stem)
def test_a_shipped_stack_file_comes_back(file: Path, tmp_path: Path) -> None:
    """Base models too: they have no chat template, and their containers say nothing of one."""
    plan, _ = plan_of(file, region="us-central1")
    container, deployed = running(plan)
    content = stack_file_of(container, deployed, dedicated=plan.endpoint.dedicated)
    assert TOKEN not in str(content)
    again = planned(content, tmp_path)
    assert container_differences(again.container.inputs(), container) == []
    assert again.hardware.machine_type == plan.hardware.machine_type


@pytest.fixture
def llama() -> tuple[ServingPlan, dict[str, Any], dict[str, Any]]:
    plan, _ = plan_of(LLAMA, region="us-central1")
    return (plan, *running(plan))


def test_secrets_of_a_container_are_not_told(
    llama: tuple[ServingPlan, dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    _, container, deployed = llama
    container["args"] += ["--api-key=opens-nothing", "--hf-token", "opens-nothing-either", f"--seed={TOKEN}"]
    container["env"] += [
        {"name": "VLLM_API_KEY", "value": "nor-this"},
        {"name": "OTHER", "value": TOKEN},
        {"name": "PLAIN", "value": "shown"},
    ]
    content = stack_file_of(container, deployed, dedicated=False)
    again = planned(content, tmp_path)  # it is not refused for a secret in it
    found = container_differences(again.container.inputs(), container)
    said = "\n".join([str(content), *found])
    for secret in ("opens-nothing", "nor-this", TOKEN):
        assert secret not in said, said
    assert "argument --api-key=(hidden) runs and is not planned" in found
    assert "environment variable VLLM_API_KEY: a value that is not shown runs, none is planned" in found
    assert "environment variable PLAIN: shown runs, none is planned" in found


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_is_seen_under_either_name(
    llama: tuple[ServingPlan, dict[str, Any], dict[str, Any]], name: str
) -> None:
    plan, container, _ = llama
    container["env"] = [each for each in container["env"] if each["name"] != "HF_TOKEN"]
    assert not needs_token(container)
    container["env"].append({"name": name, "value": TOKEN})
    assert needs_token(container)
    assert container_differences(plan.container.inputs(), container) == []


def test_a_value_may_be_a_word_of_its_own() -> None:
    words = ["python", "-m", "vllm.entrypoints.api_server", "--max_model_len", "2048", "--enforce-eager"]
    assert arguments_of({"args": words}) == {"--max-model-len": "2048", "--enforce-eager": None}
