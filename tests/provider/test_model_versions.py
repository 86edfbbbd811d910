"""The resource Model with versions kept: one model, a version for each content, found again by its alias."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from tests.provider.harness import Existing, Harness, Refused, provider_on
from tests.provider.samples import CONTAINER, DEPLOY, MODEL, deployment

KEPT = {**MODEL, "keepVersions": True}
EAGER = {**KEPT, "containerSpec": {**CONTAINER, "args": [*CONTAINER["args"], "--enforce-eager"]}}


def versions(provider: Harness, model: Existing) -> dict[str, list[str]]:
    """Version id -> aliases."""
    answer = provider.get(f"{model.id}:listVersions")
    return {each["versionId"]: each["versionAliases"] for each in answer["models"]}


@pytest.fixture
def kept(provider: Harness) -> Existing:
    """A model whose versions are kept."""
    return provider.create("Model", KEPT)


def test_a_change_adds_a_version_in_place(provider: Harness, kept: Existing) -> None:
    assert kept.outputs["name"] == f"{kept.id}@1"
    answer = provider.diff("Model", kept, EAGER)
    assert list(answer.diffs) == ["containerSpec"]
    assert not answer.replaces
    second = provider.update("Model", kept, EAGER)
    assert second.outputs["name"] == f"{kept.id}@2"
    assert second.outputs["versionId"] == "2"
    found = versions(provider, kept)
    assert set(found) == {"1", "2"}
    assert "default" in found["2"]
    assert provider.diff("Model", second, EAGER).changes == answer.DIFF_NONE


def test_going_back_finds_the_earlier_version(provider: Harness, kept: Existing) -> None:
    second = provider.update("Model", kept, EAGER)
    back = provider.update("Model", second, KEPT)
    assert back.outputs["name"] == kept.outputs["name"]
    found = versions(provider, kept)
    assert set(found) == {"1", "2"}
    assert "default" in found["1"]
    assert "default" not in found["2"]


def test_a_repeated_upload_finds_its_own_work(cloud: LocalCloud, provider: Harness, kept: Existing) -> None:
    provider.update("Model", kept, EAGER)
    with provider_on(cloud) as again:  # killed before the engine saved it
        repeated = again.update("Model", kept, EAGER)
        created = again.create("Model", EAGER)
        assert repeated.outputs["name"] == created.outputs["name"] == f"{kept.id}@2"
        assert set(versions(again, kept)) == {"1", "2"}


def test_labels_and_name_change_without_a_version(provider: Harness, kept: Existing) -> None:
    second = provider.update("Model", kept, EAGER)
    third = provider.update("Model", second, {**EAGER, "displayName": "x", "labels": {"team": "ads"}})
    assert third.outputs["name"] == f"{kept.id}@2"
    live = provider.get(kept.id)
    assert live["displayName"] == "x"
    assert live["labels"]["team"] == "ads"
    read = provider.read("Model", third.id, third)
    assert read is not None
    assert (read.id, read.outputs, read.inputs) == (third.id, third.outputs, third.inputs)


def test_another_token_is_another_version(provider: Harness, kept: Existing) -> None:
    rotated = {**KEPT, "hfToken": "hf_anotherTokenOfNobody"}
    assert list(provider.diff("Model", kept, rotated).diffs) == ["hfToken"]
    assert provider.update("Model", kept, rotated).outputs["name"] == f"{kept.id}@2"


def test_both_ways_replace_each_other(provider: Harness, kept: Existing, model: Existing) -> None:
    for old, news in ((kept, MODEL), (model, KEPT)):
        answer = provider.diff("Model", old, news)
        assert list(answer.replaces) == ["modelId"]
        assert not answer.deleteBeforeReplace


def test_destroy_deletes_every_version(cloud: LocalCloud, provider: Harness, kept: Existing) -> None:
    second = provider.update("Model", kept, EAGER)
    with provider_on(cloud) as destroying:
        destroying.delete("Model", second)
    assert provider.cloud.http.get(f"/v1/{kept.id}").status_code == 404


def test_a_model_of_somebody_else_is_not_added_to(
    cloud: LocalCloud, provider: Harness, kept: Existing
) -> None:
    provider.patch(kept.id, "labels", {"labels": {}})
    with provider_on(cloud) as other, pytest.raises(Refused, match="that this stack did not upload"):
        other.create("Model", EAGER)


def test_a_version_rolls_behind_the_endpoint(provider: Harness, kept: Existing) -> None:
    inputs: dict[str, Any] = deployment(kept.outputs["name"])
    first = provider.create("Deployment", inputs)
    assert provider.diff("Deployment", first, inputs).changes == 1
    second = provider.update("Model", kept, EAGER)
    answer = provider.diff("Deployment", first, deployment(second.outputs["name"]))
    assert list(answer.replaces) == ["model"]
    new = provider.create("Deployment", deployment(second.outputs["name"]))
    live = {each["id"]: each["modelVersionId"] for each in provider.endpoint()["deployedModels"]}
    assert live[new.outputs["deployedModelId"]] == "2"
    assert provider.endpoint()["trafficSplit"] == {new.outputs["deployedModelId"]: 100}
    for each in (first, new):
        read = provider.read("Deployment", each.id, each)
        assert read is not None
        assert read.inputs["model"] == each.inputs["model"]
    imported = provider.read("Deployment", new.id)
    assert imported is not None
    assert imported.inputs["model"] == second.outputs["name"]
    again = provider.create("Deployment", deployment(second.outputs["name"]))
    assert again.id == new.id
    assert len(provider.sent("POST", DEPLOY)) == 2


def test_a_preview_does_not_know_the_next_version(provider: Harness, kept: Existing) -> None:
    from google.protobuf import struct_pb2

    from infra.plugin.protos import provider_pb2
    from infra.plugin.values import to_struct

    request = provider_pb2.UpdateRequest(
        id=kept.id,
        urn=provider.urn("Model"),
        olds=to_struct(kept.outputs),
        old_inputs=to_struct(kept.inputs),
        news=to_struct(provider.checked("Model", EAGER, kept.inputs)),
        preview=True,
    )
    properties: struct_pb2.Struct = provider.stub.Update(request).properties
    assert properties["name"] == "04da6b54-80e4-46f7-96ec-b56ff0331ba9", (
        "the engine's word for what is not known"
    )
