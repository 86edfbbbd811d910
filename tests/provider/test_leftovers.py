"""The resource LeftoverCheck: what a destroy says of what is left, and that it never fails or waits for long."""

from __future__ import annotations

from typing import Any

import pytest

from infra.provider import leftovers
from infra.provider.connect import Connector
from infra.provider.leftovers import LeftoverCheck
from infra.provider.retry import Pace
from tests.local.cloud.aiplatform.helpers import Vertex, model
from tests.provider.harness import Existing, Harness
from tests.provider.samples import PROJECT, REGION, Quiet

INPUTS = {"project": PROJECT, "location": REGION}
LABELS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "test"}
ENDPOINT = f"projects/{PROJECT}/locations/{REGION}/endpoints/"


def check(provider: Harness, **changes: Any) -> Existing:
    return provider.create("LeftoverCheck", {**INPUTS, **changes})


@pytest.fixture
def left(provider: Harness) -> Vertex:
    """A deployment with the stack's labels on endpoint 77, and an empty endpoint of another stack."""
    vertex = Vertex(provider.cloud)
    vertex.endpoint("77", labels=LABELS)
    vertex.endpoint("78", labels={**LABELS, "vertex-vllm-stack": "other"})
    vertex.done("POST", "models:upload", {"modelId": "lost", "model": {**model(), "labels": LABELS}})
    vertex.deploy("77", model_id="lost")
    return vertex


def test_what_is_left_is_named_with_its_cost(provider: Harness, left: Vertex) -> None:
    provider.delete("LeftoverCheck", check(provider))
    (text,) = provider.texts("WARNING")
    first, deployed, endpoint, model, last = text.splitlines()
    assert first == "Left in the cloud with the labels of stack test, in no state:"
    assert "on endpoint 77 in us-central1, g2-standard-12 with 1 x NVIDIA_L4" in deployed
    assert deployed.endswith("USD so far")
    assert (endpoint.split()[:2], model.split()[:2]) == (["endpoint", "77"], ["model", "lost"])
    assert last == "  ./vertex-vllm sweep --stack test --remove removes it."


def test_before_the_endpoint_goes_only_its_deployments_count(provider: Harness, left: Vertex) -> None:
    provider.delete("LeftoverCheck", check(provider, endpoint=f"{ENDPOINT}77"))
    (text,) = provider.texts("WARNING")
    assert len(text.splitlines()) == 3
    assert text.endswith("removes it, then pulumi destroy again.")


def test_what_others_have_on_the_endpoint_is_named_before_it_fails(provider: Harness, left: Vertex) -> None:
    canary = {**LABELS, "vertex-vllm-stack": "can"}
    for name, labels in (("canary", canary), ("notebook", {})):
        left.done("POST", "models:upload", {"modelId": name, "model": {**model(), "labels": labels}})
    left.endpoint("79", labels=LABELS)
    left.deploy("79", model_id="canary")
    left.deploy("79", "2", model_id="notebook")
    provider.delete("LeftoverCheck", check(provider, endpoint=f"{ENDPOINT}79"))
    (text,) = provider.texts("WARNING")
    head, *lines = text.splitlines()
    assert head == "On the endpoint of stack test, which cannot be deleted before they are undeployed:"
    assert len(lines) == 2
    assert any(
        line.endswith("of stack can: pulumi destroy of that stack, then of this one again") for line in lines
    )
    assert any(
        "of no stack: gcloud ai endpoints undeploy-model 79 --deployed-model-id" in line for line in lines
    )
    # Behind another stack's endpoint there is nothing to delete, and nothing to say.
    provider.delete("LeftoverCheck", check(provider, endpoint=f"{ENDPOINT}78"))
    assert len(provider.texts("WARNING")) == 1


def test_nothing_left_is_said_once(provider: Harness) -> None:
    provider.delete("LeftoverCheck", check(provider, endpoint=f"{ENDPOINT}77"))
    assert provider.texts("INFO") == []
    provider.delete("LeftoverCheck", check(provider))
    assert provider.texts("INFO") == [
        f"no endpoint, deployment or model with the labels of stack test is left in {REGION}"
    ]
    assert provider.texts("WARNING") == []


def test_a_refusal_is_told_and_fails_nothing(provider: Harness) -> None:
    provider.admin.fault(
        "/endpoints", method="GET", status={"code": "PERMISSION_DENIED", "message": "denied"}
    )
    provider.delete("LeftoverCheck", check(provider))
    (text,) = provider.texts("WARNING")
    assert text.startswith("Whether anything of stack test is left is not known: PERMISSION_DENIED: denied")
    assert text.endswith("./vertex-vllm sweep --stack test looks again.")


def test_no_answer_holds_nothing_up(provider: Harness) -> None:
    provider.admin.fault("/endpoints", method="GET", delaySeconds=60)
    ctx: Any = Quiet()
    ctx.config = {"apiEndpoint": f"{provider.cloud.url}/v1beta1/", "accessToken": "local"}
    LeftoverCheck(Connector(Pace()), limit=0.3).delete(ctx, "x", dict(INPUTS), dict(INPUTS))
    assert ctx.warnings == [
        "Whether anything of stack test is left is not known: Google did not answer within 0 s. "
        "./vertex-vllm sweep --stack test looks again."
    ]
    assert leftovers.LIMIT <= 30


def test_another_region_changes_in_place(provider: Harness) -> None:
    old = check(provider)
    changed = provider.diff("LeftoverCheck", old, {**INPUTS, "location": "europe-west4"})
    assert not changed.replaces
    assert provider.update("LeftoverCheck", old, {**INPUTS, "location": "europe-west4"}).outputs[
        "location"
    ] == ("europe-west4")
