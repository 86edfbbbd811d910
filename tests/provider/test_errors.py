"""What a user reads of a failure: the cause, the stage, the container's lines where there are any, and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from infra.local.cloud.aiplatform.deployments import STAGES
from infra.local.cloud.testing import LocalCloud
from tests.provider.harness import Existing, Harness, Refused, provider_on, until
from tests.provider.samples import DEPLOY, MODEL, MUTATE, TOKEN, UNDEPLOY, deployment


@dataclass(frozen=True)
class Failure:
    """A deployment's failure.

    Attributes:
        code, message, stage, lines: how Google ends the operation, and what the container wrote before.
        cause, remedy: what must be told.
        times: how often it is tried.
    """

    code: str
    message: str
    stage: str
    cause: str
    remedy: str
    lines: tuple[str, ...] = ()
    times: int = 1


EXITED = (
    "Model server exited unexpectedly. Model server logs can be found at https://console.cloud.google.com/x"
)
FAILURES = {
    "quota": Failure(
        "RESOURCE_EXHAUSTED",
        "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion",
        "STARTING_DEPLOYMENT",
        "the quota is too small",
        "Ask for more of CustomModelServingL4GPUsPerProjectPerRegion in us-central1: It takes 1 NVIDIA_L4",
    ),
    "stock-out": Failure(
        "UNAVAILABLE",
        "Machine type temporarily unavailable, please deploy with a different machine type or retry.",
        "ADDING_NODES_TO_CLUSTER",
        "the region has no such machine free at present",
        "run `pulumi up` again later, or choose another hardware.machine_type, hardware.spot, or gcp:region",
        times=3,
    ),
    "no image": Failure(
        "FAILED_PRECONDITION",
        "Failed to pull the container image us-docker.pkg.dev/p/r/i:t.",
        "GETTING_CONTAINER_IMAGE",
        "the container did not start",
        "Then change the stack file and run `pulumi up` again",
        ("INFO pulling us-docker.pkg.dev/p/r/i:t",),
    ),
    "out of memory": Failure(
        "FAILED_PRECONDITION",
        EXITED,
        "STARTING_MODEL_SERVER",
        "the container did not start",
        "vllm.max_model_len",
        ("INFO loading", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB."),
    ),
    "unknown argument": Failure(
        "FAILED_PRECONDITION",
        EXITED,
        "STARTING_MODEL_SERVER",
        "the container did not start",
        "does not know --swap-spce=16",
        ("api_server.py: error: unrecognized arguments: --swap-spce=16",),
    ),
    "gated": Failure(
        "FAILED_PRECONDITION",
        EXITED,
        "STARTING_MODEL_SERVER",
        "the container did not start",
        "vertex-vllm:hfToken",
        ("OSError: You are trying to access a gated repo.", f"HF_TOKEN={TOKEN}"),
    ),
    "unknown lines": Failure(
        "FAILED_PRECONDITION",
        EXITED,
        "STARTING_MODEL_SERVER",
        "the container did not start",
        "Read the container's lines above: they say why it stopped",
        ("Segmentation fault",),
    ),
    "account": Failure(
        "PERMISSION_DENIED",
        "You do not have permission to act as service account: a@b.c. (or it may not exist).",
        "STARTING_DEPLOYMENT",
        "the service account cannot be used",
        "Grant yourself roles/iam.serviceAccountUser on a@b.c",
        times=17,
    ),
    "permission": Failure(
        "PERMISSION_DENIED",
        "Permission 'aiplatform.models.get' denied on resource 'x'.",
        "PREPARING_MODEL",
        "permission is missing",
        "Grant the caller the permission aiplatform.models.get on project local-project",
    ),
    "internal": Failure(
        "INTERNAL",
        "Internal error occurred.",
        "CREATING_SERVING_CLUSTER",
        "Google had an internal problem",
        "Run `pulumi up` again; if it stays, see https://status.cloud.google.com",
        times=4,
    ),
    "invalid": Failure(
        "INVALID_ARGUMENT",
        "Field machine_spec is wrong.",
        "STARTING_DEPLOYMENT",
        "the request was not accepted",
        "Correct what the message names, then run `pulumi up` again",
    ),
    "cancelled": Failure(
        "CANCELLED",
        "The operation was cancelled.",
        "FINISHING_UP",
        "the operation was cancelled",
        "Run `pulumi up` again",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_deployment_names_cause_stage_lines_and_remedy(
    provider: Harness, model: Existing, name: str
) -> None:
    failure = FAILURES[name]
    error = {
        "code": failure.code,
        "message": failure.message,
        "stage": failure.stage,
        "lines": [*failure.lines],
    }
    provider.admin.fault(DEPLOY, operationError=error, times=failure.times)
    inputs = deployment(model.id, serviceAccount="a@b.c" if name == "account" else None)
    act = _at_once if failure.times > 1 else _in_stage
    with pytest.raises(Refused) as refused:
        act(provider, inputs, failure.stage)
    text = refused.value.text
    first, answer, *rest = text.split("\n  ")
    assert first.endswith(f"on endpoint 123456: {failure.cause}.")
    assert answer == f"Google's answer: {failure.code}: {failure.message}"
    assert any(
        line.startswith("Last stage: ") and "after the start (operation projects/" in line for line in rest
    )
    if failure.times == 1:
        assert f"Last stage: {failure.stage}, " in text
    assert failure.remedy in text
    for line in failure.lines:
        level = "" if line.startswith("INFO") else "error "  # a line that says its own level is believed
        assert f"  | {level}{line.replace(TOKEN, 'hf_[secret]')}" in text
    assert text.endswith("Nothing of it is deployed.")
    assert TOKEN not in text
    assert len(provider.sent("POST", DEPLOY)) == failure.times
    assert provider.admin.unmet_faults() == []


def _at_once(provider: Harness, inputs: dict[str, object], _stage: str) -> None:
    provider.create("Deployment", inputs)


def _in_stage(provider: Harness, inputs: dict[str, object], stage: str) -> None:
    """Deploys, and lets the operation go on from a stage, to fail, once the provider has shown it."""
    provider.admin.timing(mode="manual")
    call = provider.meanwhile(lambda: provider.create("Deployment", inputs))
    for each in STAGES[: STAGES.index(stage) + 1]:
        until(lambda: bool(provider.admin.advance(stages=1)))
        provider.engine.wait_for(f"{each} ")
    provider.admin.advance()
    call.result()


def _create(provider: Harness, model: Existing) -> None:
    provider.create("Model", {**MODEL, "containerSpec": {**MODEL["containerSpec"], "sharedMemorySizeMb": 1}})


def _relabel(provider: Harness, model: Existing) -> None:
    provider.update("Model", model, {**MODEL, "displayName": "renamed"})


def _delete(provider: Harness, model: Existing) -> None:
    with provider_on(provider.cloud) as later:
        later.delete("Model", model)


def _scale(provider: Harness, model: Existing) -> None:
    served = provider.create("Deployment", deployment(model.id))
    provider.update("Deployment", served, deployment(model.id, maxReplicaCount=2))


def _undeploy(provider: Harness, model: Existing) -> None:
    served = provider.create("Deployment", deployment(model.id))
    with provider_on(provider.cloud) as later:
        later.delete("Deployment", served)


DENIED = {
    "code": "PERMISSION_DENIED",
    "message": "Permission 'aiplatform.models.upload' denied on resource 'x'.",
}
OTHERS: dict[str, tuple[str, str, dict[str, Any], Callable[[Harness, Existing], None], str]] = {
    "upload refused": (":upload$", "POST", {"status": DENIED}, _create, "Could not upload model"),
    "upload failed": (":upload$", "POST", {"operationError": DENIED}, _create, "Could not upload model"),
    "relabel refused": ("/models/", "PATCH", {"status": DENIED}, _relabel, "Could not change model"),
    "delete refused": ("/models/", "DELETE", {"status": DENIED}, _delete, "Could not delete model"),
    "delete failed": ("/models/", "DELETE", {"operationError": DENIED}, _delete, "Could not delete model"),
    "scale refused": (MUTATE, "POST", {"status": DENIED}, _scale, "Could not change deployed model"),
    "scale failed": (MUTATE, "POST", {"operationError": DENIED}, _scale, "Could not change deployed model"),
    "undeploy refused": (
        UNDEPLOY,
        "POST",
        {"status": DENIED},
        _undeploy,
        "Could not undeploy deployed model",
    ),
    "undeploy failed": (
        UNDEPLOY,
        "POST",
        {"operationError": DENIED},
        _undeploy,
        "Could not undeploy deployed model",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_failure_names_cause_stage_and_remedy(
    cloud: LocalCloud, provider: Harness, model: Existing, name: str
) -> None:
    path, method, action, act, stage = OTHERS[name]
    cloud.admin.fault(path, method=method, **action)
    before = len(provider.sent(method, ""))
    with pytest.raises(Refused) as refused:
        act(provider, model)
    text = refused.value.text
    assert text.startswith(stage)
    assert f": permission is missing.\n  Google's answer: PERMISSION_DENIED: {DENIED['message']}" in text
    assert "Grant the caller the permission aiplatform.models.upload on project " in text
    struck = [each for each in provider.sent(method, "")[before:] if each.get("fault")]
    assert len(struck) == 1
    assert cloud.admin.unmet_faults() == []
