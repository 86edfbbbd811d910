"""The resource Deployment on the local cloud: what fails, and what is said of it."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from infra.local.cloud.testing import REGION, LocalCloud
from tests.provider.harness import Existing, Harness, Refused
from tests.provider.samples import CONTAINER, DEPLOY, L4_QUOTA, MODEL, deployment

# Failures


def test_quota_is_conclusive_and_named(provider: Harness, model: Existing) -> None:
    provider.admin.quota(L4_QUOTA, REGION, 0)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    text = refused.value.text
    assert text.startswith(
        f"Vertex AI could not deploy model {model.outputs['modelId']} on endpoint 123456: the quota is too small."
    )
    assert f"Google's answer: RESOURCE_EXHAUSTED: The following quotas are exceeded: {L4_QUOTA}" in text
    assert f"Ask for more of {L4_QUOTA} in us-central1: It takes 1 NVIDIA_L4 in us-central1." in text
    assert "https://console.cloud.google.com/iam-admin/quotas?project=local-project" in text
    assert text.endswith("Nothing of it is deployed.")
    assert refused.value.partial is None
    assert len(provider.sent("POST", DEPLOY)) == 1
    provider.admin.quota(L4_QUOTA, REGION, None)


def test_a_stock_out_is_tried_three_times(provider: Harness, model: Existing) -> None:
    provider.admin.stock(REGION, "NVIDIA_L4", 0)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    provider.admin.stock(REGION, "NVIDIA_L4", None)
    text = refused.value.text
    assert "the region has no such machine free at present" in text
    assert (
        "1 x g2-standard-12 with 1 x NVIDIA_L4 each cannot be had in us-central1 now: run `pulumi up` again later"
        in text
    )
    assert len(provider.sent("POST", DEPLOY)) == 3
    assert any("trying again in" in text for text in provider.texts("INFO", ephemeral=True))


def test_a_stock_out_that_passes_is_forgotten(provider: Harness, model: Existing) -> None:
    message = "Machine type temporarily unavailable, please deploy with a different machine type or retry."
    provider.admin.fault(DEPLOY, operationError={"code": "UNAVAILABLE", "message": message})
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100


def test_an_internal_error_is_tried_again(provider: Harness, model: Existing) -> None:
    provider.admin.fault(
        DEPLOY, operationError={"code": "INTERNAL", "message": "Internal error occurred."}, times=2
    )
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
    assert len(provider.sent("POST", DEPLOY)) == 3


def test_a_container_that_fails_is_shown_with_its_log(provider: Harness) -> None:
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--no-such-flag=1"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(bad.id))
    text = refused.value.text
    assert "on endpoint 123456: the container did not start." in text
    assert "Google's answer: FAILED_PRECONDITION: Model server exited unexpectedly." in text
    assert "after the start (operation projects/" in text
    assert "The container's last lines:" in text
    assert "error: unrecognized arguments: --no-such-flag=1" in text
    assert "The image's vLLM does not know --no-such-flag=1: take it out of vllm.extra_args" in text
    assert "Shown by: error api_server.py: error: unrecognized arguments: --no-such-flag=1" in text
    # This stack has no settings in this folder, so only the user can say which stack file it was.
    assert f"./vertex-vllm diagnose --stack {provider.stack} looks for a change of the stack file" in text
    assert len(provider.sent("POST", DEPLOY)) == 1
    assert provider.deployed() == []


CHANGE: dict[str, Any] = {
    "change": {
        "diff": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-  extra_args: [--no-such-flag=1]\n",
        "why": "without what vLLM refused",
        "refused": None,
    },
    "memory": [
        {"name": "weights", "unit": "GiB", "predicted": 15.08, "log": 15.0787},
        {"name": "kv_cache", "unit": "GiB", "predicted": 3.2, "log": None},
        {"name": "kv_tokens", "unit": "tokens", "predicted": 26768, "log": 2256},
    ],
}


@pytest.mark.parametrize("refused", [None, "no."])
def test_a_failure_brings_the_change_of_the_stack_file(
    provider: Harness, monkeypatch: pytest.MonkeyPatch, refused: str | None
) -> None:
    """As `vertex-vllm diagnose` says it, without being asked; a change that a preview would refuse is none."""
    asked: list[tuple[str, list[str]]] = []

    def command(stack: str, lines: list[str]) -> dict[str, Any]:
        asked.append((stack, lines))
        return {**CHANGE, "change": {**CHANGE["change"], "refused": refused}}

    monkeypatch.setattr("infra.provider.diagnosis._command", command)
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--no-such-flag=1"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    with pytest.raises(Refused) as caught:
        provider.create("Deployment", deployment(bad.id))
    text = caught.value.text
    assert asked[0][0] == provider.stack
    assert asked[0][1][-1].startswith("Model server exited unexpectedly.")
    assert "Predicted, then in the log: weights 15.08 GiB, 15.08 GiB; kv tokens 26,768, 2,256" in text
    said = (
        f"The change to the stack file, which ./vertex-vllm diagnose --stack {provider.stack} --apply makes "
        "(without what vLLM refused):\n    --- a/x\n    +++ b/x\n    @@ -1 +1 @@\n    -  extra_args: [--no-such-flag=1]"
    )
    assert (said in text) is (refused is None)


def test_the_last_stage_of_a_failure_is_told(manual: LocalCloud, provider: Harness, model: Existing) -> None:
    error = {
        "code": "FAILED_PRECONDITION",
        "message": "Model server exited unexpectedly.",
        "stage": "STARTING_MODEL_SERVER",
    }
    manual.admin.fault(DEPLOY, operationError=error)
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    while not call.done():
        manual.admin.advance(stages=1)
        time.sleep(0.1)
    with pytest.raises(Refused, match=r"Last stage: [A-Z_]+, \d+s after the start") as refused:
        call.result()
    assert (
        "The container's log: gcloud logging read 'resource.type=\"aiplatform.googleapis.com/Endpoint\" AND "
        'resource.labels.endpoint_id="123456" AND labels.deployed_model_id="'
    ) in refused.value.text


def test_a_repeated_failure_shows_its_own_lines_only(provider: Harness) -> None:
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--no-such-flag=1"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            provider.create("Deployment", deployment(bad.id))
        lines = [line for line in refused.value.text.splitlines() if line.startswith("    | ")]
        assert lines[0] == "    | error usage: api_server.py [-h] [--allow-credentials]"
        assert re.fullmatch(r"    \| \.\.\. \(\d+ more lines of usage\)", lines[1])
        assert lines[2:] == ["    | error api_server.py: error: unrecognized arguments: --no-such-flag=1"]


def test_a_gated_model_without_token_is_diagnosed(provider: Harness) -> None:
    gated = provider.create("Model", {key: value for key, value in MODEL.items() if key != "hfToken"})
    with pytest.raises(
        Refused, match="accept the model's licence there, then run `pulumi config set --secret"
    ) as refused:
        provider.create("Deployment", deployment(gated.id))
    assert "The container's last lines:" in refused.value.text


def test_a_failed_replacement_leaves_the_old_one_serving(provider: Harness, served: Existing) -> None:
    spec = {**CONTAINER, "args": ["--no-such-flag"]}
    bad = provider.create("Model", {**MODEL, "containerSpec": spec})
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(bad.id))
    old = served.outputs["deployedModelId"]
    assert refused.value.text.endswith(f"Nothing of it is deployed. Deployed model {old} goes on serving.")
    assert provider.endpoint()["trafficSplit"] == {old: 100}


def test_a_refused_service_account_is_explained(provider: Harness, model: Existing) -> None:
    message = "You do not have permission to act as service account: a@b.c. (or it may not exist)."
    provider.admin.fault(DEPLOY, status={"code": "PERMISSION_DENIED", "message": message}, times=3)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id, serviceAccount="a@b.c"))
    assert "Grant yourself roles/iam.serviceAccountUser on a@b.c" in refused.value.text
    assert len(provider.sent("POST", DEPLOY)) == 3


def test_expired_credentials_are_explained(provider: Harness, model: Existing) -> None:
    provider.admin.fault(
        "/endpoints/", status={"code": "UNAUTHENTICATED", "message": "Request had invalid credentials."}
    )
    with pytest.raises(Refused, match="Run `gcloud auth application-default login`"):
        provider.create("Deployment", deployment(model.id))


def test_reading_survives_an_outage(provider: Harness, model: Existing) -> None:
    provider.admin.fault(
        "/endpoints/",
        method="GET",
        times=4,
        status={"code": "UNAVAILABLE", "message": "The service is currently unavailable."},
    )
    provider.admin.fault("/operations/", method="GET", times=2, reset="before")
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
