"""A handful of the matrix of faults (`tests/faults`) under the real engine, with its real pauses."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from tests.engine.support import EngineStack
from tests.engine.test_vertexserving import Program, assert_no_token, deployed, program, serving
from tests.provider.samples import DEPLOY, UNDEPLOY

__all__ = ["program", "serving"]

ACT_AS = "You do not have permission to act as service account: a@b.c. (or it may not exist)."
LINE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB."
#: Faults that one `pulumi up` survives: (path, method, action).
SURVIVED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a deployment's answer that is lost": (DEPLOY, "POST", {"reset": "after"}),
    "a deployment that is lost": (DEPLOY, "POST", {"operationLost": "running"}),
    "an upload that a proxy gave up": (":upload$", "POST", {"proxy": 502}),
    "an account that is not granted yet": (
        DEPLOY,
        "POST",
        {"status": {"code": "PERMISSION_DENIED", "message": ACT_AS}},
    ),
    "a rate limit": (
        "/operations/",
        "GET",
        {"status": {"code": "RESOURCE_EXHAUSTED", "message": "Slow down.", "retryAfterSeconds": 3}},
    ),
}


@pytest.mark.parametrize("name", SURVIVED)
def test_one_run_survives(serving: EngineStack, cloud: LocalCloud, name: str) -> None:
    path, method, action = SURVIVED[name]
    cloud.admin.fault(path, method=method, **action)
    serving.up()
    assert cloud.admin.unmet_faults() == []
    assert cloud.admin.billed() == [deployed(cloud)]
    serving.preview("--expect-no-changes")
    serving.destroy()
    assert (cloud.admin.state()["models"], deployed(cloud)) == ([], [])


def test_a_deployment_that_never_ends_is_gone_on_with(
    serving: EngineStack, program: Program, cloud: LocalCloud
) -> None:
    program.set(timeout=4)
    cloud.admin.fault(DEPLOY, operationStuck={"stage": "ADDING_NODES_TO_CLUSTER"})
    up = serving.up(ok=False)
    assert up.has("goes on at Google at stage ADDING_NODES_TO_CLUSTER", "the wait of 4s is over")
    assert up.has("It may bill. Run `pulumi up` again to go on waiting, or `pulumi destroy` to end it.")
    assert up.has("raise deploy_request_timeout (now 4 s) in the stack file")
    cloud.admin.call("DELETE", "faults")
    serving.up()
    assert cloud.admin.billed() == [deployed(cloud)]
    serving.destroy()
    assert (cloud.admin.state()["models"], deployed(cloud)) == ([], [])


def test_a_container_that_fails_is_told_whole_and_mended_by_the_next_run(
    serving: EngineStack, cloud: LocalCloud
) -> None:
    error = {
        "code": "FAILED_PRECONDITION",
        "message": "Model server exited unexpectedly.",
        "stage": "STARTING_MODEL_SERVER",
        "lines": [LINE],
    }
    cloud.admin.fault(DEPLOY, operationError=error)
    up = serving.up(ok=False)
    assert up.has("the container did not start", "Last stage: ", f"| error {LINE}", "vllm.max_model_len")
    assert not up.has("Traceback")
    assert_no_token(serving, up.output)
    serving.up()
    assert len(deployed(cloud)) == 1
    cloud.admin.fault(UNDEPLOY, status={"code": "PERMISSION_DENIED", "message": "Permission 'x' denied."})
    assert serving.destroy(ok=False).has("Could not undeploy deployed model", "permission is missing")
    serving.destroy()
    assert (cloud.admin.state()["models"], deployed(cloud)) == ([], [])
