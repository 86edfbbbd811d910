"""Preflight's quota and what the real engine deploys: the checks know the stack's own deployment again."""

from __future__ import annotations

from tests.engine.support import EngineStack

L4 = "CustomModelServingL4GPUsPerProjectPerRegion"
REGION = "us-central1"
SURGE = "warning: preflight: quota-surge: "


def test_the_stacks_own_deployment_is_told_from_a_changed_one(stack: EngineStack) -> None:
    """The model's id that preflight derives is the one that the provider gave it, token and all."""
    stack.cloud.admin.quota(L4, REGION, 1)
    stack.up()
    unchanged = stack.preview()
    assert "quota-" not in unchanged.output, "neither is the GPU missing nor would anything roll"
    stack.change_stack_file({"vllm": {"max_num_seqs": 8}})
    changed = stack.preview()
    assert changed.has(SURGE, "1 more NVIDIA_L4 (0 left)")
    assert "warning: preflight: quota-gpu" not in changed.output, (
        "the old deployment goes once the new one serves"
    )
