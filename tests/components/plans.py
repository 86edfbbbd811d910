"""Plans for component tests: of shipped stack files, or of small changes to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.serving import ServedModelArgs
from infra.recipes import ServingPlan, load_stack_file, plan

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = "meta-llama-3.1-8b-instruct.l4x1"


def shipped(name: str = DEFAULT, region: str = "us-central1") -> ServingPlan:
    """The plan of a stack file of the project."""
    path = ROOT / "stacks" / f"{name}.yaml"
    return plan(load_stack_file(path), region=region, source=str(path))


def changed(folder: Path, name: str = DEFAULT, **sections: Any) -> ServingPlan:
    """The plan of a shipped stack file with sections replaced; maps are merged into what is there."""
    document = yaml.safe_load((ROOT / "stacks" / f"{name}.yaml").read_text())
    for key, value in sections.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return plan(load_stack_file(path), region="us-central1", source=str(path))


def arguments(**changes: Any) -> ServedModelArgs:
    """Arguments of a served model as the local stack has them."""
    values: dict[str, Any] = {
        "project": "local-project",
        "plan": shipped(),
        "display_name": "llama",
        "endpoint_id": "123456789",
        "account_id": "vertex-vllm-local",
        "hf_token": "hf_local",
        "labels": {"owner": "me", "vertex-vllm-stack": "local"},
        **changes,
    }
    return ServedModelArgs(**values)
