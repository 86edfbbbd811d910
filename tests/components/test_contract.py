"""The rules that every component keeps, checked for all of them at once."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pulumi
import pytest

from components.serving import ServedModel
from tests.adapters import write_adapter
from tests.components.plans import arguments, changed
from tests.components.recording import Recorded, Recorder, Run

FOLDER = Path(__file__).resolve().parents[2] / "components"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def component(name: str) -> tuple[ModuleType, type[pulumi.ComponentResource]]:
    """The module and the one component that it defines."""
    module = importlib.import_module(f"components.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, pulumi.ComponentResource)
        and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} defines {len(found)} components; one a file"
    return module, found[0]


def test_the_components_are_those_of_the_design() -> None:
    assert MODULES == [
        "adapters",
        "artifacts",
        "deployment",
        "endpoint",
        "identity",
        "model",
        "services",
        "serving",
        "telemetry",
    ]


@pytest.mark.parametrize("name", MODULES)
def test_token_names_module_and_class(name: str) -> None:
    module, cls = component(name)
    assert f"vertex-vllm:{name}:{cls.__name__}" == module.TOKEN


@pytest.mark.parametrize("name", MODULES)
def test_arguments_are_a_frozen_keyword_only_dataclass(name: str) -> None:
    module, cls = component(name)
    args = getattr(module, f"{cls.__name__}Args")
    assert args.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(args))
    documented = inspect.getdoc(args) or ""
    assert [f.name for f in dataclasses.fields(args) if f"\n    {f.name}: " not in documented] == []


@pytest.mark.parametrize("name", MODULES)
def test_constructor_takes_name_arguments_and_options(name: str) -> None:
    module, cls = component(name)
    signature = inspect.signature(cls.__init__)
    assert list(signature.parameters) == ["self", "name", "args", "opts"]
    assert signature.parameters["opts"].default is None
    assert get_type_hints(cls.__init__)["args"] is getattr(module, f"{cls.__name__}Args")


@pytest.mark.parametrize("name", MODULES)
def test_no_configuration_file_or_environment_is_read(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {
        "__future__",
        "collections",
        "components",
        "dataclasses",
        "functools",
        "infra",
        "pulumi",
        "pulumi_gcp",
        "types",
        "typing",
    }
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"Config", "environ", "read_text", "open"}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_created_inside_apply(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "apply":
            made = {
                node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                for argument in call.args
                for node in ast.walk(argument)
                if isinstance(node, ast.Call)
            }
            assert not {word for word in made if word[:1].isupper()}, f"{name}.py line {call.lineno}"


@pytest.fixture
def registered(recorder: Recorder, run: Run, tmp_path: Path) -> dict[str, Recorded]:
    """Every registration of the local stack with all that can be turned on, by URN."""
    write_adapter(tmp_path / "sql")
    plan = changed(tmp_path, lora={"sql": "./sql"})
    run(lambda: ServedModel("vllm", arguments(telemetry=True, plan=plan)) and None)
    return recorder.resources


def test_every_component_is_registered_once_and_parents_its_children(
    registered: dict[str, Recorded],
) -> None:
    components = [each for each in registered.values() if not each.custom]
    assert sorted(each.type for each in components) == sorted(component(name)[0].TOKEN for name in MODULES)
    assert [each.name for each in registered.values() if each.parent == ""] == ["vllm"]
    names = {each.name for each in components}
    assert {each.parent for each in registered.values() if each.custom} <= names


@pytest.mark.parametrize("name", MODULES)
def test_registered_outputs_are_the_annotated_ones(name: str, registered: dict[str, Recorded]) -> None:
    module, cls = component(name)
    (found,) = (each for each in registered.values() if each.type == module.TOKEN)
    assert found.outputs is not None, "register_outputs was not called"
    # An output that is None is not sent.
    annotated = set(cls.__annotations__)
    assert set(found.outputs) <= annotated
    assert annotated - set(found.outputs) <= {"dedicated_dns", "dedicated_endpoint_dns"}


@pytest.mark.parametrize("name", [each for each in MODULES if each not in ("adapters", "services")])
def test_primary_child_has_the_components_name_and_others_a_role(
    name: str, registered: dict[str, Recorded]
) -> None:
    module, _ = component(name)
    (own,) = (each for each in registered.values() if each.type == module.TOKEN)
    children = [each.name for each in registered.values() if each.parent == own.name and each is not own]
    below = [child for child in children if not child.startswith(f"{own.name}-")]
    assert set(below) <= {own.name}
    assert own.name in children
