"""The resource Model on the local cloud: its whole life, and what a crash leaves behind."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.provider.retry import Pace
from tests.provider.harness import FAST, Existing, Harness, Refused, provider_on
from tests.provider.samples import CONTAINER, MODEL, NUMBER, PARENT, TOKEN, deployment


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(MODEL), **changes}


def with_container(**changes: Any) -> dict[str, Any]:
    return changed(containerSpec={**copy.deepcopy(CONTAINER), **changes})


def test_create_uploads_the_container_with_the_token_as_environment(provider: Harness) -> None:
    model = provider.create("Model", MODEL)

    live = provider.get(model.id)
    assert model.id == f"{PARENT}/models/{model.outputs['modelId']}"
    assert live["containerSpec"]["args"] == CONTAINER["args"]
    assert "command" not in live["containerSpec"]
    assert {"name": "HF_TOKEN", "value": TOKEN} in live["containerSpec"]["env"]
    assert live["containerSpec"]["deploymentTimeout"] == "7200s"
    assert live["containerSpec"]["sharedMemorySizeMb"] == "16384"
    assert live["labels"] == {
        "team": "search",
        "vertex-vllm-project": "vertex-vllm",
        "vertex-vllm-stack": "test",
    }
    assert model.outputs["versionId"] == "1"
    assert model.outputs["createTime"] == live["createTime"]


def test_outputs_never_repeat_the_token(provider: Harness) -> None:
    model = provider.create("Model", MODEL)

    assert TOKEN not in json.dumps(model.outputs)
    read = provider.read("Model", model.id, model)
    assert read is not None
    assert TOKEN not in json.dumps(read.outputs)
    assert read.inputs == model.inputs
    imported = provider.read("Model", model.id)
    assert imported is not None
    assert TOKEN not in json.dumps([imported.inputs, imported.outputs])
    assert not [m for m in provider.engine.messages if TOKEN in m.text]


def test_the_id_follows_from_the_content(provider: Harness) -> None:
    def id_of(inputs: dict[str, Any]) -> str:
        return str(provider.checked("Model", inputs)["modelId"])

    first = id_of(MODEL)
    assert first.startswith("meta-llama-3-1-8b-instruct-")
    assert id_of(changed(displayName="other", labels={})) == first
    assert id_of(with_container(command=[])) == first
    different = [
        changed(hfToken="hf_another"),
        with_container(args=[*CONTAINER["args"], "--enforce-eager"]),
        changed(artifactUri="gs://bucket/weights"),
        {key: value for key, value in MODEL.items() if key != "hfToken"},
    ]
    assert len({first, *map(id_of, different)}) == 5


def test_another_stack_gets_another_id(cloud: LocalCloud, provider: Harness) -> None:
    first = provider.checked("Model", MODEL)["modelId"]
    with provider_on(cloud, stack="other") as other:
        assert other.checked("Model", MODEL)["modelId"] != first


def test_a_repeated_create_adopts_its_earlier_upload(cloud: LocalCloud, provider: Harness) -> None:
    first = provider.create("Model", MODEL)
    with provider_on(cloud) as again:
        second = again.create("Model", changed(displayName="renamed"))
        assert second.id == first.id
        assert len(again.sent("POST", "models:upload")) == 1
        assert again.get(first.id)["displayName"] == "renamed"
        assert any("adopted" in text for text in again.texts("INFO"))


def test_a_repeated_create_waits_for_an_upload_under_way(cloud: LocalCloud) -> None:
    cloud.admin.timing(mode="manual")
    with provider_on(cloud) as crashed:
        first = crashed.meanwhile(lambda: crashed.create("Model", MODEL))
        crashed.engine.wait_for("(uploading, up to 30 min)")
        with provider_on(cloud) as again:
            second = again.meanwhile(lambda: again.create("Model", MODEL))
            again.engine.wait_for("(uploading")
            again.finish(lambda: second.done() and first.done())
            assert second.result().id == first.result().id
            assert len(again.sent("POST", "models:upload")) == 1


def test_a_lost_answer_to_the_upload_is_not_uploaded_again(provider: Harness) -> None:
    provider.admin.fault("models:upload", method="POST", reset="after")

    model = provider.create("Model", MODEL)

    assert provider.get(model.id)["displayName"] == "llama"
    assert not provider.admin.unmet_faults()
    versions = provider.get(f"{model.id}:listVersions")["models"]
    assert len(versions) == 1


def test_an_internal_error_of_the_upload_is_repeated(provider: Harness) -> None:
    provider.admin.fault(
        "models:upload", method="POST", operationError={"code": "INTERNAL", "message": "Internal error."}
    )
    assert provider.create("Model", MODEL).id
    assert len(provider.sent("POST", "models:upload")) == 2


def test_an_interrupted_upload_is_saved_and_finished_by_the_next_up(cloud: LocalCloud) -> None:
    cloud.admin.timing(mode="manual")
    with provider_on(cloud) as first:
        call = first.meanwhile(lambda: first.create("Model", MODEL))
        first.engine.wait_for("(uploading")
        first.cancel()
        with pytest.raises(Refused, match="goes on at Google") as refused:
            call.result(5)
    state = refused.value.state
    assert state["operation"].startswith(refused.value.id)
    assert TOKEN not in json.dumps(state)
    cloud.admin.timing(mode="immediate")
    cloud.admin.advance()
    with provider_on(cloud) as second:
        saved = Existing(refused.value.id, state, second.checked("Model", MODEL))
        done = second.update("Model", saved, MODEL)
        assert done.outputs["name"] == saved.id
        assert done.outputs["operation"] is None
        assert len(second.sent("POST", "models:upload")) == 1


def test_an_interrupted_upload_can_be_destroyed(cloud: LocalCloud) -> None:
    cloud.admin.timing(mode="manual")
    with provider_on(cloud) as first:
        call = first.meanwhile(lambda: first.create("Model", MODEL))
        first.engine.wait_for("(uploading")
        first.cancel()
        with pytest.raises(Refused) as refused:
            call.result(5)
    with provider_on(cloud) as second:
        saved = Existing(refused.value.id, refused.value.state, {})
        deletion = second.meanwhile(lambda: second.delete("Model", saved))
        second.engine.wait_for("waiting for the upload to end, then deleting")
        second.finish(deletion.done)
        deletion.result()
        assert cloud.http.get(f"/v1/{saved.id}").status_code == 404


@pytest.mark.parametrize(
    ("news", "replaces", "diffs"),
    [
        (MODEL, [], []),
        (with_container(command=[]), [], []),
        (changed(displayName="other"), [], ["displayName"]),
        (changed(labels={"team": "ads"}), [], ["labels"]),
        (
            with_container(args=["--other"]),
            ["modelId", "containerSpec"],
            ["containerSpec", "modelId"],
        ),
        (changed(artifactUri="gs://bucket/x"), ["modelId", "artifactUri"], ["artifactUri", "modelId"]),
        (changed(hfToken="hf_rotated"), ["modelId", "hfToken"], ["hfToken", "modelId"]),
        (changed(location="europe-west4"), ["location"], ["location"]),
    ],
)
def test_diff(
    provider: Harness, model: Existing, news: dict[str, Any], replaces: list[str], diffs: list[str]
) -> None:
    answer = provider.diff("Model", model, news)

    assert list(answer.replaces) == replaces
    assert list(answer.diffs) == diffs
    assert (answer.changes == answer.DIFF_SOME) is bool(diffs)
    assert not answer.deleteBeforeReplace


def test_an_operation_in_the_state_is_a_difference(provider: Harness, model: Existing) -> None:
    unfinished = Existing(model.id, {**model.outputs, "operation": f"{model.id}/operations/1"}, model.inputs)
    answer = provider.diff("Model", unfinished, MODEL)
    assert (answer.changes == answer.DIFF_SOME, list(answer.replaces)) == (True, [])


def test_a_chosen_id_can_only_be_replaced_by_deleting_first(provider: Harness) -> None:
    fixed = provider.create("Model", changed(modelId="mine"))
    answer = provider.diff("Model", fixed, with_container(args=["--other"]) | {"modelId": "mine"})
    assert list(answer.replaces) == ["containerSpec"]
    assert answer.deleteBeforeReplace


def test_name_and_labels_change_in_place(provider: Harness, model: Existing) -> None:
    updated = provider.update("Model", model, changed(displayName="new", labels={"team": "ads"}))

    live = provider.get(model.id)
    assert live["displayName"] == updated.outputs["displayName"] == "new"
    assert live["labels"]["team"] == "ads"
    assert live["labels"]["vertex-vllm-stack"] == "test"
    (request,) = provider.sent("PATCH", "models/")
    assert "displayName" in json.dumps(request)


def test_refresh_finds_drift(provider: Harness, model: Existing) -> None:
    provider.patch(model.id, "displayName,labels", {"displayName": "by hand", "labels": {"x": "y"}})

    read = provider.read("Model", model.id, model)

    assert read is not None
    assert read.inputs["displayName"] == "by hand"
    assert read.inputs["labels"] == {"x": "y"}
    assert read.inputs["hfToken"] == TOKEN
    answer = provider.diff("Model", read, MODEL)
    assert list(answer.diffs) == ["displayName", "labels"]
    assert not answer.replaces


def test_a_model_that_is_gone_is_gone(provider: Harness, model: Existing) -> None:
    provider.delete("Model", Existing(model.id.replace(model.outputs["modelId"], "none"), {}, {}))
    assert provider.read("Model", f"{PARENT}/models/none") is None


@pytest.mark.parametrize("token", [TOKEN, None])
def test_an_import_agrees_with_the_program_that_made_it(provider: Harness, token: str | None) -> None:
    inputs = changed(hfToken=token)
    made = provider.create("Model", inputs)

    imported = provider.read(
        "Model", made.id.replace(PARENT, f"projects/{MODEL['project']}/locations/us-central1")
    )

    assert imported is not None
    assert imported.id == made.id
    answer = provider.diff("Model", imported, inputs)
    assert answer.changes == answer.DIFF_NONE


@pytest.mark.parametrize(
    ("environment", "project"), [(None, NUMBER), ("local-project", "local-project"), ("elsewhere", NUMBER)]
)
def test_an_import_by_the_projects_number_agrees_with_the_program(
    provider: Harness, model: Existing, monkeypatch: pytest.MonkeyPatch, environment: str | None, project: str
) -> None:
    if environment:
        monkeypatch.setenv("GOOGLE_PROJECT", environment)
    assert NUMBER in model.id
    imported = provider.read("Model", model.id)
    assert imported is not None
    assert imported.inputs["project"] == project
    answer = provider.diff("Model", imported, MODEL)
    assert answer.changes == answer.DIFF_NONE
    assert list(provider.diff("Model", imported, changed(project="999")).replaces) == ["project"]


def test_an_imported_model_without_token_keeps_a_foreign_id(provider: Harness) -> None:
    body = {
        "model": {
            "displayName": "by hand",
            "containerSpec": {"imageUri": CONTAINER["imageUri"], "args": CONTAINER["args"]},
        }
    }
    provider.post(f"{PARENT}/models:upload", body)
    (live,) = provider.get(f"{PARENT}/models")["models"]
    imported = provider.read(
        "Model", live["name"].replace(PARENT, f"projects/{MODEL['project']}/locations/us-central1")
    )
    assert imported is not None
    program = {
        "project": MODEL["project"],
        "location": MODEL["location"],
        "displayName": "by hand",
        "containerSpec": {"imageUri": CONTAINER["imageUri"], "args": CONTAINER["args"]},
    }

    answer = provider.diff("Model", imported, program)

    assert list(answer.diffs) == ["labels"]
    assert not answer.replaces


def test_a_token_that_an_imported_model_lacks_replaces_it(provider: Harness) -> None:
    made = provider.create("Model", changed(hfToken=None, modelId="mine"))
    imported = provider.read("Model", made.id)
    assert imported is not None
    answer = provider.diff("Model", imported, changed(modelId="mine", project="123456789012"))
    assert list(answer.replaces) == ["hfToken"]


def test_a_foreign_model_with_our_id_is_refused(provider: Harness) -> None:
    body = {
        "modelId": "mine",
        "model": {"displayName": "x", "containerSpec": {"imageUri": CONTAINER["imageUri"]}},
    }
    provider.post(f"{PARENT}/models:upload", body)
    with pytest.raises(Refused) as refused:
        provider.create("Model", changed(modelId="mine"))
    assert refused.value.text == (
        "There is a model with the id mine that this stack did not upload (its labels: none).\n"
        "  Give this one another modelId, or take that one over with `pulumi import vertexserving:index:Model served "
        f"{PARENT}/models/mine`."
    )
    assert refused.value.partial is None


def test_other_content_under_our_id_is_refused(cloud: LocalCloud, provider: Harness) -> None:
    provider.create("Model", changed(modelId="mine"))
    with provider_on(cloud) as again, pytest.raises(Refused) as refused:
        again.create("Model", with_container(args=["--x=1"]) | {"modelId": "mine"})
    assert refused.value.text == (
        "There is another model with the id mine: containerSpec.args[0] is 'python' there and '--x=1' here.\n"
        "  Give this one another modelId, or, if nothing needs that one, run "
        "`gcloud ai models delete mine --region us-central1 --project local-project`."
    )


def test_a_foreign_token_under_our_id_is_refused_without_telling_it(
    cloud: LocalCloud, provider: Harness
) -> None:
    provider.create("Model", changed(modelId="mine"))
    with (
        provider_on(cloud) as again,
        pytest.raises(Refused, match="the Hugging Face token differs") as refused,
    ):
        again.create("Model", changed(modelId="mine", hfToken="hf_otherToken123"))
    assert "hf_other" not in refused.value.text
    assert TOKEN not in refused.value.text


def test_delete_deletes(cloud: LocalCloud, model: Existing) -> None:
    with provider_on(cloud) as other:
        other.delete("Model", model)
        assert cloud.http.get(f"/v1/{model.id}").status_code == 404
        other.delete("Model", model)


def test_a_forced_replacement_by_itself_does_not_delete(provider: Harness, model: Existing) -> None:
    again = provider.create("Model", MODEL)
    assert again.id == model.id
    provider.delete("Model", model)
    assert provider.get(model.id)["name"] == model.id
    assert any("is in use again, its content is the same" in text for text in provider.texts("INFO"))


def test_what_a_later_run_still_has_is_not_deleted(cloud: LocalCloud, model: Existing) -> None:
    with provider_on(cloud) as up:
        answer = up.diff("Model", model, MODEL)
        assert answer.changes == answer.DIFF_NONE
        up.delete("Model", model)
        assert up.get(model.id)["name"] == model.id
        (told,) = up.texts("INFO")
        assert told == f"{model.id} stays: what was to be deleted is in use again, its content is the same."
    with provider_on(cloud) as up:
        assert list(up.diff("Model", model, changed(hfToken="hf_rotated")).replaces) == ["modelId", "hfToken"]
        up.delete("Model", model)
        assert cloud.http.get(f"/v1/{model.id}").status_code == 404


def test_delete_waits_for_an_undeployment_under_way(
    cloud: LocalCloud, provider: Harness, model: Existing
) -> None:
    served = provider.create("Deployment", deployment(model.id))
    cloud.admin.timing(mode="manual")
    with provider_on(cloud, pace=_impatient()) as destroy:
        undeployment = destroy.meanwhile(lambda: destroy.delete("Deployment", served))
        destroy.engine.wait_for("(undeploying")
        deletion = destroy.meanwhile(lambda: destroy.delete("Model", model))
        destroy.engine.wait_for("trying again")
        destroy.finish(lambda: undeployment.done() and deletion.done())
        undeployment.result()
        deletion.result()
    assert cloud.http.get(f"/v1/{model.id}").status_code == 404


def test_delete_waits_until_an_undeployment_is_noticed(cloud: LocalCloud, model: Existing) -> None:
    message = (
        "The Model is deployed or being deployed at the following Endpoint(s): x. Please undeploy the model."
    )
    cloud.admin.fault(
        "/models/", method="DELETE", times=2, status={"code": "FAILED_PRECONDITION", "message": message}
    )
    with provider_on(cloud) as other:
        other.delete("Model", model)
        assert len(other.sent("DELETE", "/models/")) == 3
        assert not cloud.admin.unmet_faults()


def test_delete_names_the_endpoints_that_still_use_it(
    cloud: LocalCloud, provider: Harness, model: Existing
) -> None:
    served = provider.create("Deployment", deployment(model.id))
    with provider_on(cloud, pace=_impatient()) as other, pytest.raises(Refused) as refused:
        other.delete("Model", model)
    endpoint = served.id.partition("/deployedModels/")[0]
    assert refused.value.text == (
        f"Model {model.id} is still deployed: {endpoint} ({served.outputs['deployedModelId']}).\n"
        "  Undeploy it there, then run `pulumi destroy` again."
    )


def test_permission_is_told_with_the_permission(provider: Harness) -> None:
    message = (
        "Permission 'aiplatform.models.upload' denied on resource '//x/projects/p' (or it may not exist)."
    )
    provider.admin.fault("models:upload", status={"code": "PERMISSION_DENIED", "message": message})
    with pytest.raises(Refused) as refused:
        provider.create("Model", MODEL)
    assert refused.value.text == (
        f"Could not upload model {provider.checked('Model', MODEL)['modelId']} in us-central1: permission is missing.\n"
        f"  Google's answer: PERMISSION_DENIED: {message}\n"
        "  Grant the caller the permission aiplatform.models.upload on project local-project (roles/aiplatform.user "
        "has those needed here). A grant takes two to seven minutes to work."
    )
    assert len(provider.sent("POST", "models:upload")) == 1


def test_an_api_enabled_a_moment_ago_is_waited_for(provider: Harness) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]
    status = {"code": "PERMISSION_DENIED", "message": "Vertex AI API has not been used.", "details": details}
    provider.admin.fault("/models", times=3, status=status)
    assert provider.create("Model", MODEL).id
    assert not provider.admin.unmet_faults()


def test_a_wrong_import_id_is_explained(provider: Harness) -> None:
    with pytest.raises(Refused, match="'models/x' is not the id of a model"):
        provider.read("Model", "models/x")


def _impatient() -> Pace:
    return replace(FAST, in_use=0.0)
