"""The container of every stack file and of every published recipe, argument by argument.

The snapshot (``__snapshots__/test_arguments.ambr``) is what a reviewer reads when a card or a rule changes. To accept a
change: ``python -m pytest tests/recipes/test_arguments.py --snapshot-update``. Proves what is asked of vLLM, not that
it starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from infra.recipes import RecommendedRecipe, ServingPlan, catalog, load_stack_file, plan
from infra.recipes.stackfile import parse_stack

BOOKS = catalog()
FILES = sorted((Path(__file__).resolve().parents[2] / "stacks").glob("*.yaml"))
RECIPES = [(model, recipe) for model in BOOKS.models() for recipe in BOOKS.model(model).recommended]


def name_of(value: object) -> str:
    if isinstance(value, RecommendedRecipe):
        return f"{value.accelerator_count}x{value.accelerator_type}-{value.machine_type}"
    return value.stem if isinstance(value, Path) else str(value)


def container_of(served: ServingPlan) -> str:
    """Image and arguments, one a line, without what is alike in all."""
    fixed = {"python", "-m", "--host=0.0.0.0", "--port=8080"}
    arguments = [argument for argument in served.container.args if argument not in fixed]
    version = served.vllm_version or "not known"
    return "\n".join([f"{served.container.image_uri} (vLLM {version})", *arguments])


def of_recipe(model: str, recipe: RecommendedRecipe) -> ServingPlan:
    """The plan of a stack file that names the model and the hardware, and what it must choose itself."""
    card, vllm = BOOKS.model(model), {}
    if not card.chat_template:
        vllm["chat_template"] = "none"
    document: dict[str, Any] = {
        "model": model,
        "hardware": recipe.model_dump(include={"machine_type", "accelerator_type", "accelerator_count"}),
        "vllm": vllm,
    }
    stack = parse_stack(document, file="stacks/a.yaml", lines={})
    return plan(stack, region=BOOKS.regions_with(recipe.accelerator_type)[0], source="stacks/a.yaml")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_stack_file(path: Path, snapshot: SnapshotAssertion) -> None:
    stack = load_stack_file(path)
    region = BOOKS.regions_with(stack.hardware.accelerator_type)[0]
    assert container_of(plan(stack, region=region, source=str(path))) == snapshot


@pytest.mark.parametrize(("model", "recipe"), RECIPES, ids=name_of)
def test_recipe(model: str, recipe: RecommendedRecipe, snapshot: SnapshotAssertion) -> None:
    assert container_of(of_recipe(model, recipe)) == snapshot
