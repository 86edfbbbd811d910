"""Swap space and shared memory: a default shrinks to what the machine allows, a written value is refused.

What is not proved: how much of a host's memory the container itself takes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.recipes import ServingPlan, StackError, ValueProblem, catalog, load_stack_file, plan
from infra.recipes.memory import choices

ROOT = Path(__file__).resolve().parents[2]
SMALL = "model: meta-llama/Llama-3.2-1B-Instruct\n"


def planned(tmp_path: Path, text: str) -> ServingPlan:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return plan(load_stack_file(path), region="us-central1", source=str(path))


def on(machine: str, count: int = 1, accelerator: str = "NVIDIA_TESLA_T4") -> str:
    kind = f"  accelerator_type: {accelerator}\n  accelerator_count: {count}\n"
    return f"{SMALL}hardware:\n  machine_type: {machine}\n{kind}"


def test_defaults_shrink_to_the_machine_and_say_so(tmp_path: Path) -> None:
    served = planned(tmp_path, on("n1-standard-4"))
    assert "--swap-space=6" in served.container.args
    assert (served.vllm.swap_space, served.container.shared_memory_size_mb) == (6, 7680)
    assert (
        "defaults that follow from the 15 GiB of memory of n1-standard-4: container.shared_memory_size_mb: 7680 (not"
        " 16384), vllm.swap_space: 6 (not 16)."
    ) in served.notes


def test_no_machine_is_refused_for_a_default(tmp_path: Path) -> None:
    for machine in catalog().machines():
        for kind, count in machine.accelerators:
            try:
                served = planned(tmp_path, on(machine.machine_type, count, kind))
            except StackError as error:
                keys = {problem.key for problem in error.problems}
                assert not keys & {"vllm.swap_space", "container.shared_memory_size_mb"}, (machine, count)
            else:
                assert served.vllm.swap_space * count <= 0.7 * machine.memory_gib
                assert served.container.shared_memory_size_mb <= machine.memory_gib * 1024


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("vllm:\n  swap_space: 16\n", "vllm.swap_space"),
        ("container:\n  shared_memory_size_mb: 16384\n", "container.shared_memory_size_mb"),
    ],
)
def test_what_the_file_says_is_refused_although_it_is_the_default(
    tmp_path: Path, lines: str, key: str
) -> None:
    with pytest.raises(ValueProblem) as caught:
        planned(tmp_path, on("n1-standard-4") + lines)
    assert caught.value.key == key


def test_a_large_machine_keeps_the_defaults(tmp_path: Path) -> None:
    served = planned(tmp_path, on("n1-standard-8"))
    assert (served.vllm.swap_space, served.container.shared_memory_size_mb) == (16, 16384)
    assert not any("GiB of memory of" in note for note in served.notes)


def test_no_swap_space_where_vllm_has_none(tmp_path: Path) -> None:
    image = "container:\n  image_uri: us-docker.pkg.dev/me/vllm/server:1\n  vllm_version: 0.20.0\n"
    served = planned(tmp_path, on("n1-standard-4") + image)
    assert not any(argument.startswith("--swap-space") for argument in served.container.args)
    (note,) = (note for note in served.notes if "GiB of memory of" in note)
    assert "swap_space" not in note


def test_a_machine_too_small_for_the_defaults_is_not_offered(tmp_path: Path) -> None:
    served = planned(tmp_path, on("n1-standard-4"))
    offered = choices(served.stack, region="us-central1")
    assert offered
    for choice in offered:
        memory = catalog().machine(choice.machine_type).memory_gib
        assert 16 * choice.accelerator_count <= 0.7 * memory
        assert memory >= 16


@pytest.mark.parametrize("path", sorted((ROOT / "stacks").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_guides_stacks_keep_the_guides_values(path: Path) -> None:
    stack = load_stack_file(path)
    regions = catalog().regions_with(stack.hardware.accelerator_type)
    served = plan(stack, region=regions[0], source=str(path))
    assert "--swap-space=16" in served.container.args
    assert served.container.shared_memory_size_mb == 16384
