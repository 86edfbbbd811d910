"""A model that would not fit, in the real engine: refused before anything is registered, or warned of by choice.

What is not proved: that a GPU agrees; tests/fit holds the prediction to measured start-ups.
"""

from __future__ import annotations

import pytest

from infra.local.cloud.testing import LocalCloud
from tests.engine.support import EngineStack

TOO_LARGE = {
    "model": "meta-llama/Meta-Llama-3.1-70B-Instruct",
    "hardware": {"machine_type": "a2-ultragpu-1g"},
}
VISION = {
    "model": "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "hardware": {"machine_type": "a2-highgpu-1g"},
    "vllm": {"max_num_seqs": 256},
}


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (
            TOO_LARGE,
            (
                "the weights take 131.",
                "a GPU has 79.15",
                "fix: machine_type: g2-standard-96 with 8 NVIDIA_L4",
            ),
        ),
        (VISION, ("vllm.max_num_seqs = 256", "a GPU has 39.38", "fix: max_num_seqs: ")),
    ],
    ids=["weights", "images"],
)
def test_a_model_that_does_not_fit_fails_the_preview_and_the_update(
    content: dict[str, object], texts: tuple[str, ...], stack: EngineStack, cloud: LocalCloud
) -> None:
    stack.write_stack_file("large", content)
    before = len(cloud.admin.requests())
    for run in (stack.preview(ok=False), stack.up(ok=False)):
        assert run.has("does not start on 1 NVIDIA_", *texts)
        assert "Traceback" not in run.output
    assert {each["type"] for each in stack.resources()} <= {"pulumi:pulumi:Stack"}
    asked = cloud.admin.requests()[before:]
    assert not [each for each in asked if each["method"] != "GET"]


def test_fit_warn_lets_it_through_with_the_reason(stack: EngineStack) -> None:
    stack.write_stack_file("large", {**TOO_LARGE, "fit": "warn"})
    run = stack.preview()
    assert run.has(
        "warning: hardware.accelerator_type: meta-llama/Meta-Llama-3.1-70B-Instruct does not start"
    )
