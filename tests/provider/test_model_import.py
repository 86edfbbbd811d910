"""Models that others made and `pulumi import` takes over: their versions, and the secrets in their containers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.provider import content
from infra.provider.deployed import same_model
from tests.provider.harness import Existing, Harness
from tests.provider.samples import CONTAINER, MODEL, PARENT, TOKEN, deployment

SPEC = {
    "imageUri": CONTAINER["imageUri"],
    "args": CONTAINER["args"],
    "env": [{"name": "MODEL_ID", "value": CONTAINER["env"]["MODEL_ID"]}],
}
PROGRAM: dict[str, Any] = {
    "project": MODEL["project"],
    "location": MODEL["location"],
    "displayName": "by hand",
    "containerSpec": {**SPEC, "env": {"MODEL_ID": CONTAINER["env"]["MODEL_ID"]}},
}


def upload(provider: Harness, spec: dict[str, Any], parent: str = "") -> str:
    """Uploads by hand; the model's name."""
    model = {"displayName": "by hand", "containerSpec": spec}
    body = {"parentModel": parent, "model": {**model, "versionAliases": ["default"]} if parent else model}
    provider.post(f"{PARENT}/models:upload", body)
    (live,) = provider.get(f"{PARENT}/models")["models"]
    return str(live["name"]).partition("@")[0]


def imported(provider: Harness, name: str) -> Existing:
    found = provider.read("Model", name.replace(PARENT, f"projects/{MODEL['project']}/locations/us-central1"))
    assert found is not None
    return found


@pytest.mark.parametrize("asked", ["", "@2"])
def test_a_later_version_is_imported_with_its_number(provider: Harness, asked: str) -> None:
    """Its deployment is one of that version: without it the stack would deploy another one."""
    name = upload(provider, {**SPEC, "args": [*CONTAINER["args"], "--enforce-eager"]})
    upload(provider, SPEC, parent=name)

    model = imported(provider, name + asked)

    assert model.id == name
    assert model.outputs["name"] == f"{name}@2"
    assert not provider.diff("Model", model, PROGRAM).replaces
    changed = provider.update("Model", model, {**PROGRAM, "displayName": "ours"})
    assert changed.outputs["name"] == f"{name}@2"
    refreshed = provider.read("Model", model.id, changed)
    assert refreshed is not None
    assert refreshed.outputs["name"] == f"{name}@2"
    live = Existing(f"{PARENT}/endpoints/1/deployedModels/2", {}, deployment(f"{name}@2"))
    assert not provider.diff("Deployment", live, deployment(refreshed.outputs["name"])).replaces


def test_the_version_that_is_asked_for_is_read_whatever_the_default_is(provider: Harness) -> None:
    name = upload(provider, {**SPEC, "args": [*CONTAINER["args"], "--enforce-eager"]})
    upload(provider, SPEC, parent=name)
    upload(provider, {**SPEC, "args": ["other"]}, parent=name)
    model = imported(provider, f"{name}@2")
    assert model.outputs["name"] == f"{name}@2"
    assert model.inputs["containerSpec"]["args"] == CONTAINER["args"]


def test_a_first_version_is_imported_without_a_number(provider: Harness) -> None:
    name = upload(provider, SPEC)
    model = imported(provider, name)
    assert model.outputs["name"] == name
    assert same_model(name, f"{name}@1")


def test_a_lost_state_of_kept_versions_is_imported_without_a_change(provider: Harness) -> None:
    kept = {**MODEL, "keepVersions": True}
    made = provider.create("Model", kept)
    eager = {**kept, "containerSpec": {**CONTAINER, "args": [*CONTAINER["args"], "--enforce-eager"]}}
    second = provider.update("Model", made, eager)

    model = imported(provider, made.id)

    assert model.outputs["name"] == second.outputs["name"] == f"{made.id}@2"
    answer = provider.diff("Model", model, eager)
    assert answer.changes == answer.DIFF_NONE, answer


def test_labels_that_somebody_took_away_do_not_keep_a_version_from_being_added(provider: Harness) -> None:
    """What the state has is the stack's; the labels are what is put right."""
    kept = {**MODEL, "keepVersions": True}
    made = provider.create("Model", kept)
    provider.patch(made.id, "labels", {"labels": {"owner": "somebody"}})
    found = provider.read("Model", made.id, made)
    assert found is not None
    eager = {**kept, "containerSpec": {**CONTAINER, "args": [*CONTAINER["args"], "--enforce-eager"]}}

    second = provider.update("Model", found, eager)

    assert second.outputs["name"] == f"{made.id}@2"
    assert provider.get(made.id)["labels"]["vertex-vllm-stack"] == "test"


def test_a_token_under_its_older_name_is_the_token(provider: Harness) -> None:
    name = upload(
        provider, {**SPEC, "env": [*SPEC["env"], {"name": "HUGGING_FACE_HUB_TOKEN", "value": TOKEN}]}
    )
    model = imported(provider, name)
    assert TOKEN not in json.dumps([model.inputs, model.outputs])
    assert not provider.diff("Model", model, {**PROGRAM, "hfToken": TOKEN}).replaces
    assert list(provider.diff("Model", model, {**PROGRAM, "hfToken": "hf_another"}).replaces) == ["hfToken"]


def test_other_secrets_of_a_container_do_not_reach_the_state(provider: Harness) -> None:
    token = "hf_" + "aB3" * 11
    secrets = ["opens-nothing", "opens-nothing-either", "nor-this", token]
    spec = {
        **SPEC,
        "args": [
            *CONTAINER["args"],
            f"--api-key={secrets[0]}",
            *("--hf-token", secrets[1]),
            f"--seed={token}",
            "--max-prompt-adapter-token=8",
        ],
        "env": [*SPEC["env"], {"name": "VLLM_API_KEY", "value": secrets[2]}],
    }
    name = upload(provider, spec)

    model = imported(provider, name)
    again = provider.read("Model", model.id, model)

    assert again is not None
    for found in (model, again):
        text = json.dumps([found.inputs, found.outputs])
        assert not [each for each in secrets if each in text], text
        assert "--max-prompt-adapter-token=8" in text
    assert again.inputs == model.inputs
    assert "containerSpec" in provider.diff("Model", model, PROGRAM).replaces


def test_what_the_program_says_itself_is_compared_as_it_is() -> None:
    """A value that the program gives is in the state already; hiding it would be a difference for ever."""
    spec = {
        "imageUri": "a",
        "args": ["--seed=1", "--download-dir=/tmp/hf_downloads"],
        "env": {"A": "hf_short"},
    }
    assert content.without_secrets(spec) == spec
