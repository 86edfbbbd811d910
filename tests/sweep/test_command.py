"""`vertex-vllm sweep` on a local Google Cloud: what it lists, what it keeps, what it removes, and in which order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli.app import app
from infra.cli.common import Exit
from infra.local.cloud.testing import PROJECT, LocalCloud, cloud_in_thread
from tests.local.cloud.aiplatform.helpers import Vertex, model

REGION = "us-central1"
LABELS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "dev"}


class Swept:
    """A local cloud, and a `pulumi` that knows the stack dev with these ids."""

    def __init__(self, cloud: LocalCloud, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cloud = cloud
        self.vertex = Vertex(cloud)
        self._folder = folder
        (folder / "whoami.json").write_text(json.dumps({"url": f"file://{folder}"}))
        (folder / "config.json").write_text(json.dumps({"gcp:project": {"value": PROJECT}}))
        (folder / "ls.json").write_text(json.dumps([{"name": "dev", "lastUpdate": "2026"}]))
        program = folder / "pulumi"
        program.write_text(
            f'#!/bin/sh\necho "$*" >> "{folder}/asked"\n'
            'case "$*" in *whoami*) f=whoami ;; *export*) f=export ;; *config*) f=config ;; *) f=ls ;; esac\n'
            f'cat "{folder}/$f.json"\n'
        )
        program.chmod(0o755)
        self.knows()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", f"{cloud.url}/v1beta1/")
        for name in ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_PROJECT", "PULUMI_BACKEND_URL", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)

    def knows(self, *ids: str, written: str = "") -> None:
        """The stack's state from now on, written then."""
        resources = [{"urn": f"urn:{each}", "type": "t", "id": each} for each in ids]
        document = {"deployment": {"manifest": {"time": written}, "resources": resources}}
        (self._folder / "export.json").write_text(json.dumps(document))

    @property
    def asked(self) -> str:
        """What pulumi was called with."""
        return (self._folder / "asked").read_text()

    def endpoint(self, id: str, labels: dict[str, str] | None = None) -> None:
        self.vertex.done("POST", "endpoints", {"displayName": id, "labels": labels or {}}, endpointId=id)

    def model(self, id: str, labels: dict[str, str] | None = None) -> None:
        self.vertex.done(
            "POST", "models:upload", {"modelId": id, "model": {**model(), "labels": labels or {}}}
        )

    def deploy(self, endpoint: str, of: str, id: str, **more: str) -> None:
        machine = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
        deployed = {
            "id": id,
            "model": f"projects/{PROJECT}/locations/{REGION}/models/{of}",
            "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
            **more,
        }
        self.vertex.done(
            "POST",
            f"endpoints/{endpoint}:deployModel",
            {"deployedModel": deployed, "trafficSplit": {"0": 100}},
        )

    def live(self, endpoint: str) -> list[str]:
        found = self.vertex.ok("GET", f"endpoints/{endpoint}")
        return [each["id"] for each in found.get("deployedModels", ())]

    def __call__(self, *words: str) -> Result:
        options = ["--project", PROJECT] if "--project" not in words else []
        return CliRunner().invoke(app, ["sweep", *options, "--region", REGION, *words])

    def things(self, *words: str) -> list[tuple[str, str, str]]:
        """Kind, last part of the name, verdict."""
        document = json.loads(self(*words, "--json").stdout)
        return [
            (each["kind"], each["name"].rpartition("/")[2], each["verdict"]) for each in document["things"]
        ]


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swept]:
    with cloud_in_thread() as cloud:
        found = Swept(cloud, tmp_path, monkeypatch)
        found.vertex.enable()
        yield found


@pytest.fixture
def orphan(swept: Swept) -> Swept:
    """An endpoint, a model and a deployment with the stack's labels, in no state."""
    swept.endpoint("12", LABELS)
    swept.model("m", LABELS)
    swept.deploy("12", "m", "7")
    return swept


def test_nothing_is_nothing(swept: Swept) -> None:
    done = swept()
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Nothing is in no state and nothing has expired in {PROJECT}, {REGION}.")


def test_what_is_in_no_state_is_listed_and_nothing_is_touched(orphan: Swept) -> None:
    done = orphan("--dry-run")
    assert done.exit_code == Exit.LEFT_OVER
    assert "deployment 7 on 12" in done.stdout
    assert "in no state: stack dev has it not" in done.stdout
    assert (
        "3 things are in no state or expired in local-project, us-central1: 1.15 USD an hour" in done.stdout
    )
    assert orphan.live("12") == ["7"]
    assert not [each for each in orphan.cloud.admin.requests() if each["method"] == "DELETE"]


def test_what_is_in_a_state_is_kept(orphan: Swept) -> None:
    base = f"projects/{PROJECT}/locations/{REGION}"
    orphan.knows(f"{base}/endpoints/12", f"{base}/models/m@1", f"{base}/endpoints/12/deployedModels/7")
    done = orphan("--yes")
    assert (done.exit_code, orphan.live("12")) == (0, ["7"])
    assert "3 things are in a state" in done.stdout


def test_removal_begins_with_what_bills(orphan: Swept) -> None:
    assert orphan("--yes").exit_code == 0
    state = orphan.cloud.admin.state()
    assert (state["endpoints"], state["models"], state["deployedModels"]) == ([], [], [])
    changes = [
        each["path"].rpartition("/")[2]
        for each in orphan.cloud.admin.requests()
        if each["method"] == "DELETE" or ":undeploy" in each["path"]
    ]
    assert changes == ["12:undeployModel", "12", "m"]


def test_a_stack_that_came_back_meanwhile_is_kept(orphan: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.sweep import remove

    base = f"projects/{PROJECT}/locations/{REGION}"
    order = remove.in_order

    def later(cases: Any) -> Any:
        orphan.knows(f"{base}/endpoints/12", f"{base}/models/m", f"{base}/endpoints/12/deployedModels/7")
        return order(cases)

    monkeypatch.setattr(remove, "in_order", later)
    done = orphan("--yes")
    assert done.exit_code == Exit.LEFT_OVER
    assert "kept: deployment 7 on 12: it is in a state by now" in done.stdout
    assert orphan.live("12") == ["7"]


def test_one_failure_does_not_keep_the_others(orphan: Swept) -> None:
    orphan.endpoint("13", LABELS)
    denied = {"code": "PERMISSION_DENIED", "message": "no"}
    orphan.cloud.admin.fault("/endpoints/12:undeployModel", method="POST", status=denied)
    done = orphan("--yes")
    assert done.exit_code == Exit.LEFT_OVER
    assert "failed: deployment 7 on 12" in done.stdout
    assert "kept: endpoint 12: deployed model 7 is on it" in done.stdout
    assert "kept: model m: deployed model 7 serves it" in done.stdout
    assert "removed: endpoint 13" in done.stdout
    assert orphan("--yes").exit_code == 0  # the next one finds it again


def test_without_our_labels_nothing_is_touched(swept: Swept) -> None:
    swept.endpoint("12")
    swept.model("m")
    swept.deploy("12", "m", "7")
    assert swept("--yes").exit_code == 0
    assert swept.live("12") == ["7"]
    assert "never removed" not in swept().stdout
    assert "deployed model 7 on endpoint 12" in swept("--all").stdout


def test_what_is_shared_with_another_owner_is_kept(swept: Swept) -> None:
    swept.endpoint("12", LABELS)
    swept.endpoint("13")
    swept.model("ours", LABELS)
    swept.model("theirs")
    swept.deploy("12", "theirs", "7")
    swept.deploy("13", "ours", "8")
    swept("--yes")
    assert (swept.live("12"), swept.live("13")) == (["7"], ["8"])
    verdicts = {name: verdict for _, name, verdict in swept.things()}
    assert (verdicts["7"], verdicts["8"]) == ("not ours alone", "not ours alone")


def test_states_that_cannot_be_read_keep_everything(orphan: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    (orphan._folder / "ls.json").write_text("[]")
    done = orphan("--yes")
    assert (done.exit_code, orphan.live("12")) == (3, ["7"])
    assert "no stack of this backend has the label vertex-vllm-stack=dev" in done.stdout
    assert orphan("--gone", "dev", "--yes").exit_code == 0
    assert orphan.cloud.admin.state()["endpoints"] == []


def test_a_stack_of_the_same_name_in_another_project_knows_nothing_of_this_one(orphan: Swept) -> None:
    (orphan._folder / "config.json").write_text(json.dumps({"gcp:project": {"value": "another-project"}}))
    done = orphan("--yes")
    assert (done.exit_code, orphan.live("12")) == (3, ["7"])
    assert "stack dev of this backend is of another-project, not of local-project" in done.stdout


def test_a_stack_that_can_be_read_is_not_gone(orphan: Swept) -> None:
    done = orphan("--gone", "dev", "--yes")
    assert (done.exit_code, orphan.live("12")) == (2, ["7"])
    assert "--gone dev: the state of this stack can be read" in done.stderr


def test_what_a_stack_of_the_same_name_in_another_backend_serves_is_kept(orphan: Swept) -> None:
    orphan.knows(written="2026-01-01T00:00:00Z")  # destroyed here, long before
    done = orphan("--yes")
    assert (done.exit_code, orphan.live("12")) == (3, ["7"])
    assert "after the last run on stack dev of this backend (2026-01-01 00:00 UTC)" in done.stdout
    assert "3 things above are kept" in done.stdout
    assert orphan("--gone", "dev", "--yes").exit_code == 0
    assert orphan.cloud.admin.state()["endpoints"] == []


def test_the_account_that_a_deployment_runs_as_is_kept(swept: Swept) -> None:
    described = " ".join(f"{name}={value}" for name, value in LABELS.items())
    for id in ("used-account", "idle-account"):
        account = {"accountId": id, "serviceAccount": {"description": described}}
        path = f"/v1/projects/{PROJECT}/serviceAccounts"
        swept.cloud.http.post(path, json=account).raise_for_status()
    email = f"used-account@{PROJECT}.iam.gserviceaccount.com"
    members = [
        f"serviceAccount:{each}-account@{PROJECT}.iam.gserviceaccount.com" for each in ("used", "idle")
    ]
    policy = f"/v1/projects/{PROJECT}"
    asked = {"options": {"requestedPolicyVersion": 3}}
    before = swept.cloud.http.post(f"{policy}:getIamPolicy", json=asked).raise_for_status().json()
    condition = {"title": "until", "expression": 'request.time < timestamp("2030-01-01T00:00:00Z")'}
    granted: list[dict[str, Any]] = [
        *before.get("bindings", []),
        {"role": "roles/aiplatform.user", "members": members},
        {"role": "roles/storage.admin", "members": members[1:]},
        {"role": "roles/viewer", "members": members[:1], "condition": condition},
    ]
    wanted: dict[str, Any] = {**before, "version": 3, "bindings": granted}
    swept.cloud.http.post(f"{policy}:setIamPolicy", json={"policy": wanted}).raise_for_status()
    swept.endpoint("13")
    swept.model("theirs")
    swept.deploy("13", "theirs", "8", serviceAccount=email)
    done = swept("--yes")
    assert done.exit_code == Exit.LEFT_OVER
    assert (
        f"kept: service account {email}: deployed model 8 on endpoint 13 in {REGION} runs as it"
        in done.stdout
    )
    assert f"removed: service account idle-account@{PROJECT}" in done.stdout
    after = swept.cloud.http.post(f"{policy}:getIamPolicy", json=asked).raise_for_status().json()
    roles = ("roles/aiplatform.user", "roles/storage.admin", "roles/viewer")
    assert [each for each in after["bindings"] if each["role"] in roles] == [
        {"role": "roles/aiplatform.user", "members": members[:1]},
        {"role": "roles/viewer", "members": members[:1], "condition": condition},
    ]
    assert len(after["bindings"]) == len(granted) - 1


def test_an_account_goes_also_where_the_projects_policy_may_not_be_written(swept: Swept) -> None:
    described = " ".join(f"{name}={value}" for name, value in LABELS.items())
    body = {"accountId": "idle-account", "serviceAccount": {"description": described}}
    swept.cloud.http.post(f"/v1/projects/{PROJECT}/serviceAccounts", json=body).raise_for_status()
    for code, outcome in (("ABORTED", "failed"), ("PERMISSION_DENIED", "removed")):
        status = {"code": code, "message": "no"}
        swept.cloud.admin.fault(":getIamPolicy", method="POST", status=status)
        done = swept("--yes")
        assert f"{outcome}: service account idle-account@{PROJECT}" in done.stdout
    assert "stay in the project's policy as deleted: entries, which grant nothing" in done.stderr


def test_a_service_that_is_off_in_another_project_is_not_known_to_be_empty(
    orphan: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.sweep.google import Google

    # As Google answers a service account of another project, or a user with that quota project.
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}
    for consumer, status in (("projects/999", Exit.NO_ANSWER), (f"projects/{PROJECT}", Exit.FINE)):
        details = [{**info, "metadata": {"consumer": consumer}}]
        for method in ("endpoints", "models"):
            denied = {"code": "PERMISSION_DENIED", "message": "no", "details": details}
            orphan.cloud.admin.fault(f"/{method}", method="GET", times=1, status=denied)
        init = Google.__init__

        def elsewhere(self: Google, *words: Any, init: Any = init) -> None:
            init(self, *words)
            self.local = False  # which is one project, whatever it says

        monkeypatch.setattr(Google, "__init__", elsewhere)
        done = orphan()
        monkeypatch.setattr(Google, "__init__", init)
        orphan.cloud.admin.call("DELETE", "faults")
        assert done.exit_code == status, done.output
        if status:
            assert "is not enabled in projects/999" in done.stdout
            assert f"set-quota-project {PROJECT}" in done.stdout


def test_what_was_asked_for_is_what_is_said_to_be_nothing(orphan: Swept) -> None:
    assert orphan("--expired-only").stdout.startswith(
        f"No deployment goes for its expiry in {PROJECT}, {REGION}."
    )
    orphan.knows(*(f"projects/{PROJECT}/locations/{REGION}/{each}" for each in ("endpoints/12", "models/m")))
    done = orphan("--stack", "dev")
    assert "1 thing of stack dev is in no state or expired" in done.stdout
    done = orphan("--stack", "dve")
    assert "Nothing of stack dve is in no state" in done.stdout
    assert "--stack dve: this backend has no such stack" in done.stderr


def test_what_expired_and_cannot_be_read_is_told(orphan: Swept) -> None:
    labels = {**LABELS, "expiry": "2026-01-01"}
    orphan.vertex.ok("PATCH", "endpoints/12", {"labels": labels}, updateMask="labels")
    assert orphan.things("--expired-only") == []  # in no state: another affair, and never removed by this
    (orphan._folder / "ls.json").write_text("[]")
    assert orphan.things("--expired-only") == [("deployment", "7", "state not readable from here")]
    done = orphan("--expired-only", "--yes")
    assert (done.exit_code, orphan.live("12")) == (3, ["7"])


def test_stacks_of_two_projects_are_not_swept_at_once(
    swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.client import pulumi

    monkeypatch.setattr(pulumi, "ROOT", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: vertex-vllm\nruntime: python\n")
    for name, project in (("dev", "my-project"), ("prod", "another-project")):
        (tmp_path / f"Pulumi.{name}.yaml").write_text(f"config:\n  gcp:project: {project}\n")
    done = CliRunner().invoke(app, ["sweep", "--stack", "dev", "--stack", "prod"])
    assert done.exit_code == 2
    assert "--stack dev is of my-project, --stack prod of another-project" in done.stderr


def test_what_expired_is_undeployed_alone_and_read_back(orphan: Swept) -> None:
    base = f"projects/{PROJECT}/locations/{REGION}"
    orphan.vertex.ok(
        "PATCH", "endpoints/12", {"labels": {**LABELS, "expiry": "2026-01-01"}}, updateMask="labels"
    )
    orphan.knows(f"{base}/endpoints/12", f"{base}/models/m", f"{base}/endpoints/12/deployedModels/7")
    orphan.endpoint("13", LABELS)  # in no state, and no affair of --expired-only
    assert orphan.things("--expired-only") == [("deployment", "7", "expired")]
    assert orphan("--expired-only", "--yes").exit_code == 0
    assert orphan.live("12") == []
    assert f"refresh --yes --skip-preview --target urn:{base}/endpoints/12/deployedModels/7" in orphan.asked
    assert len(orphan.cloud.admin.state()["endpoints"]) == 2


def test_a_deployment_that_google_is_making(swept: Swept) -> None:
    swept.endpoint("12", LABELS)
    swept.model("m", LABELS)
    swept.cloud.admin.timing(mode="manual")
    machine = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
    deployed = {
        "id": "7",
        "model": f"projects/{PROJECT}/locations/{REGION}/models/m",
        "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
    }
    swept.vertex.ok(
        "POST", "endpoints/12:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}}
    )
    kind, name, verdict = swept.things()[0]
    assert (kind, name, verdict) == ("deployment", "7", "in no state")
    assert "deployment being made on 12" in swept().stdout
    swept.cloud.admin.timing(mode="timed", stageSeconds=0.05)
    assert swept("--yes").exit_code == 0
    state = swept.cloud.admin.state()
    assert (state["endpoints"], state["deployedModels"]) == ([], [])


def test_a_deployment_that_another_stack_makes_on_the_endpoint_goes_on(swept: Swept) -> None:
    canary = {**LABELS, "vertex-vllm-stack": "can"}
    swept.endpoint("12", LABELS)
    swept.model("m", canary)
    swept.knows(f"projects/{PROJECT}/locations/{REGION}/endpoints/12")
    swept.cloud.admin.timing(mode="manual")
    machine = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
    deployed = {
        "id": "7",
        "model": f"projects/{PROJECT}/locations/{REGION}/models/m",
        "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
    }
    body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
    name = swept.vertex.ok("POST", "endpoints/12:deployModel", body)["name"]
    assert ("deployment", "7", "not ours alone") in swept.things()
    swept("--yes")
    assert swept("--stack", "dev", "--yes").exit_code == 0
    assert not swept.cloud.http.get(f"/v1/{name}").json().get("done")


def test_a_canary_that_expired_is_undeployed_from_anothers_endpoint(swept: Swept) -> None:
    base = f"projects/{PROJECT}/locations/{REGION}"
    swept.endpoint("12", {**LABELS, "vertex-vllm-stack": "main"})
    swept.model("main", {**LABELS, "vertex-vllm-stack": "main"})
    swept.model("m", {**LABELS, "expiry": "2026-01-01"})
    swept.deploy("12", "main", "6")
    swept.deploy("12", "m", "7")
    assert [each for each in swept.things() if each[1] == "7"] == [("deployment", "7", "not ours alone")]
    swept.knows(f"{base}/models/m", f"{base}/endpoints/12/deployedModels/7")
    assert swept.things("--expired-only") == [("deployment", "7", "expired")]
    assert swept("--expired-only", "--yes").exit_code == 0
    assert swept.live("12") == ["6"]


def test_a_bucket_goes_only_empty(swept: Swept) -> None:
    for name in ("left-empty", "left-full"):
        body = {"name": name, "location": "US-CENTRAL1", "labels": LABELS}
        swept.cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=body).raise_for_status()
    swept.cloud.http.post(
        "/upload/storage/v1/b/left-full/o", params={"uploadType": "media", "name": "w"}, content=b"x"
    ).raise_for_status()
    done = swept("--yes")
    assert done.exit_code == 0  # what a destroy keeps on purpose is no mistake
    assert "removed: bucket left-empty" in done.stdout
    assert "kept: bucket left-full: it holds objects; gcloud storage rm" in done.stdout


def test_a_region_that_does_not_answer_is_named(orphan: Swept) -> None:
    for method in ("endpoints", "models"):
        orphan.cloud.admin.fault(
            f"/{method}", method="GET", times=50, status={"code": "PERMISSION_DENIED", "message": "no"}
        )
    done = orphan()
    assert done.exit_code == 8
    assert f"not asked: {REGION}: " in done.stdout
    assert "Nothing is in no state" in done.stdout
    assert json.loads(orphan("--json").stdout)["unanswered"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dry-run", "--yes"), "--dry-run only lists"),
        (("--remove",), "There is nobody to ask"),
        (("--region", "us-centrl1"), "no region where Vertex AI serves"),
        (("--project", "No Project"), "this is no name of a project"),
        (("--project", "123456789012"), "is a project's number; the states of the stacks have its id"),
    ],
)
def test_wrong_usage(swept: Swept, words: tuple[str, ...], said: str) -> None:
    done = swept(*words)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_no_project_is_named(swept: Swept) -> None:
    done = CliRunner().invoke(app, ["sweep"])
    assert done.exit_code == 2
    assert "--project PROJECT, or --stack STACK" in done.stderr
