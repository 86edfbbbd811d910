"""The vertexserving provider under the real engine, in a program that has nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import ROOT
from tests.engine.support import LIMIT, EngineStack, kill_group
from tests.provider.harness import until
from tests.provider.samples import CONTAINER, ENDPOINT, MACHINE, NUMBER, PROJECT, REGION

TOKEN = "hf_secretOfTheEngineTests"
PROGRAM = """
import json
import pathlib
import pulumi
from infra.provider.resources import Deployment, Model

inputs = json.loads(pathlib.Path("inputs.json").read_text())
common = {"project": inputs["project"], "location": inputs["location"], "display_name": "llama"}
model = Model(
    "served",
    **common,
    container_spec=inputs["container"],
    hf_token=pulumi.Config().require_secret("hfToken"),
    labels=inputs["labels"],
    opts=pulumi.ResourceOptions(import_=inputs["import_model"]),
)
deployment = Deployment(
    "served",
    **common,
    endpoint=inputs["endpoint"],
    model=model.name,
    machine_spec=inputs["machine"],
    max_replica_count=inputs["replicas"],
    deploy_request_timeout_seconds=inputs["timeout"],
    opts=pulumi.ResourceOptions(import_=inputs["import_deployment"]),
)
pulumi.export("model", model.name)
pulumi.export("deployed", deployment.deployed_model_id)
pulumi.export("operation", deployment.operation)
"""


class Program:
    """The program's folder, with its inputs in a file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        plugins = {"providers": [{"name": "vertexserving", "path": str(ROOT / "infra" / "provider")}]}
        project = {"name": "vertex-vllm", "runtime": "python", "plugins": plugins}
        (folder / "Pulumi.yaml").write_text(json.dumps(project))
        (folder / "Pulumi.local.yaml").write_text(json.dumps({"config": {}}))
        (folder / "__main__.py").write_text(PROGRAM)
        self.inputs: dict[str, Any] = {}
        self.set(
            project=PROJECT,
            location=REGION,
            endpoint=ENDPOINT,
            container=CONTAINER,
            machine=MACHINE,
            labels={"team": "search"},
            replicas=1,
            timeout=600,
            import_model=None,
            import_deployment=None,
        )

    def set(self, **inputs: Any) -> None:
        """Changes inputs."""
        self.inputs |= inputs
        (self.folder / "inputs.json").write_text(json.dumps(self.inputs))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program."""
    return Program(tmp_path / "a program")


@pytest.fixture
def serving(engine: Engine, program: Program, pulumi_home: Path, cloud: LocalCloud) -> EngineStack:
    """A stack of the program on a cloud with an endpoint."""
    cloud.admin.enable("aiplatform.googleapis.com", "compute.googleapis.com")
    parent, _, id = ENDPOINT.rpartition("/")
    cloud.http.post(f"/v1/{parent}", params={"endpointId": id}, json={"displayName": "e"}).raise_for_status()
    stack = EngineStack(engine, program.folder, pulumi_home, cloud)
    stack.extra_environment = {"PYTHONPATH": str(ROOT)}
    stack("config", "set", "--secret", "hfToken", TOKEN)
    return stack


def endpoint(cloud: LocalCloud) -> dict[str, Any]:
    content: dict[str, Any] = cloud.http.get(f"/v1/{ENDPOINT}").json()
    return content


def deployed(cloud: LocalCloud) -> list[str]:
    return [each["id"] for each in endpoint(cloud).get("deployedModels", ())]


def with_argument(argument: str) -> dict[str, Any]:
    return {**CONTAINER, "args": [*CONTAINER["args"], argument]}


def assert_no_token(stack: EngineStack, *outputs: str) -> None:
    """Neither in what was printed nor anywhere in the backend."""
    for output in outputs:
        assert TOKEN not in output
    for path in stack.backend.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


class Watcher:
    """Looks at the endpoint all the time, and remembers every moment in which not all traffic had somewhere to go."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.gaps: list[dict[str, Any]] = []
        self.looks = 0
        self._cloud = cloud
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            seen = endpoint(self._cloud)
            ids = {each["id"] for each in seen.get("deployedModels", ())}
            served = sum(share for id, share in seen.get("trafficSplit", {}).items() if id in ids)
            self.looks += 1
            if served != 100:
                self.gaps.append(seen)


def test_life(serving: EngineStack, program: Program, cloud: LocalCloud) -> None:
    up = serving.up("--debug")
    first = serving.outputs()
    assert deployed(cloud) == [first["deployed"]]
    assert up.has("deployed as")
    assert "Warning" not in up.output
    assert serving.preview("--expect-no-changes").status == 0
    assert_no_token(serving, up.output)

    program.set(replicas=3, labels={"team": "ads"})
    change = serving.preview("--diff")
    assert change.has("2 to update")
    assert not change.has("to replace")
    serving.up()
    assert serving.outputs()["deployed"] == first["deployed"]
    (live,) = endpoint(cloud)["deployedModels"]
    assert live["dedicatedResources"]["maxReplicaCount"] == 3

    body = {
        "deployedModel": {
            "id": live["id"],
            "dedicatedResources": {"machineSpec": MACHINE, "maxReplicaCount": 5},
        },
        "updateMask": "dedicatedResources.maxReplicaCount",
    }
    cloud.http.post(f"/v1/{ENDPOINT}:mutateDeployedModel", json=body).raise_for_status()
    assert serving.refresh().has("1 updated")
    assert serving.preview("--diff").has("maxReplicaCount", "1 to update")
    serving.up()
    assert endpoint(cloud)["deployedModels"][0]["dedicatedResources"]["maxReplicaCount"] == 3

    program.set(container=with_argument("--enforce-eager"))
    with Watcher(cloud) as watcher:
        replaced = serving.up("--debug")
    assert replaced.has("2 replaced")
    second = serving.outputs()
    assert second["model"] != first["model"]
    assert second["deployed"] != first["deployed"]
    assert deployed(cloud) == [second["deployed"]]
    assert watcher.looks
    assert not watcher.gaps
    assert cloud.http.get(f"/v1/{first['model']}").status_code == 404

    serving("config", "set", "--secret", "hfToken", f"{TOKEN}Rotated")
    rotated = serving.preview("--diff")
    assert rotated.has("2 to replace")
    serving.up()
    assert serving.outputs()["deployed"] != second["deployed"]
    assert_no_token(serving, replaced.output, rotated.output, serving("stack", "export").output)

    destroyed = serving.destroy()
    assert deployed(cloud) == []
    assert cloud.http.get(f"/v1/{ENDPOINT.rpartition('/endpoints/')[0]}/models").json() == {}
    assert_no_token(serving, destroyed.output)


def test_what_was_undeployed_by_hand_is_deployed_again(serving: EngineStack, cloud: LocalCloud) -> None:
    serving.up()
    (id,) = deployed(cloud)
    cloud.http.post(f"/v1/{ENDPOINT}:undeployModel", json={"deployedModelId": id}).raise_for_status()
    until(lambda: not deployed(cloud))
    assert serving.refresh().has("1 deleted")
    assert serving.up().has("1 created")
    assert deployed(cloud) == [id]
    serving.destroy()


def interrupt(stack: EngineStack, cloud: LocalCloud, how: signal.Signals) -> str:
    """Starts `up`, ends it while a deployment is under way, answers what it printed."""
    child = stack.start("up", "--yes", "--skip-preview", "--non-interactive", "--color", "never")
    try:
        until(lambda: bool(cloud.admin.requests(path=":deployModel")), 60)
        until(lambda: len(cloud.admin.requests(path="/operations/")) > 1, 60)
        if how is signal.SIGKILL:
            kill_group(child)
            return ""
        os.kill(child.pid, how)
        output, _ = child.communicate(timeout=LIMIT)
        return output
    finally:
        kill_group(child)


def finishing(stack: EngineStack, cloud: LocalCloud, *arguments: str) -> str:
    """Runs a command while operations of the manual mode go on."""
    child = stack.start(*arguments, "--non-interactive", "--color", "never")
    box: list[str] = []
    reader = threading.Thread(target=lambda: box.append(child.communicate()[0]), daemon=True)
    reader.start()
    try:
        until(lambda: (bool(cloud.admin.advance()) and False) or child.poll() is not None, LIMIT)
        reader.join(10)
        assert child.returncode == 0, box
        return box[0]
    finally:
        kill_group(child)


def deploy_operations_only(stack: EngineStack, program: Program, cloud: LocalCloud) -> None:
    """Uploads the model, then makes operations wait."""
    stack.up("--target", "**vertexserving:index:Model**")
    cloud.admin.timing(mode="manual")
    assert program.inputs


def test_ctrl_c_is_saved_and_continued(serving: EngineStack, program: Program, cloud: LocalCloud) -> None:
    deploy_operations_only(serving, program, cloud)
    output = interrupt(serving, cloud, signal.SIGINT)
    assert "but you interrupted the wait" in output
    (saved,) = serving.resources("vertexserving:index:Deployment")
    assert saved["initErrors"]
    assert saved["outputs"]["operation"]
    assert_no_token(serving, output)
    finishing(serving, cloud, "up", "--yes", "--skip-preview")
    assert deployed(cloud) == [serving.outputs()["deployed"]]
    assert len(cloud.admin.requests(path=":deployModel")) == 1
    cloud.admin.timing(mode="immediate")
    assert serving.preview("--expect-no-changes").status == 0
    serving.destroy()
    assert deployed(cloud) == []


def test_ctrl_c_then_destroy(serving: EngineStack, program: Program, cloud: LocalCloud) -> None:
    deploy_operations_only(serving, program, cloud)
    interrupt(serving, cloud, signal.SIGINT)
    finishing(serving, cloud, "destroy", "--yes", "--skip-preview")
    assert deployed(cloud) == []
    assert serving.resources("vertexserving:") == []


def test_kill_is_continued_without_a_second_deployment(
    serving: EngineStack, program: Program, cloud: LocalCloud
) -> None:
    deploy_operations_only(serving, program, cloud)
    interrupt(serving, cloud, signal.SIGKILL)
    assert serving.state().get("pending_operations")
    serving("cancel", "--yes")
    finishing(serving, cloud, "up", "--yes", "--skip-preview")
    assert deployed(cloud) == [serving.outputs()["deployed"]]
    assert len(cloud.admin.requests(path=":deployModel")) == 1


def test_an_interrupted_replacement_leaves_no_gap(
    serving: EngineStack, program: Program, cloud: LocalCloud
) -> None:
    serving.up()
    (old,) = deployed(cloud)
    program.set(container=with_argument("--enforce-eager"))
    cloud.admin.timing(mode="manual")
    with Watcher(cloud) as watcher:
        child = serving.start("up", "--yes", "--skip-preview", "--non-interactive", "--color", "never")
        try:
            until(lambda: (bool(cloud.admin.advance()) and False) or _deploys(cloud) == 2, 60)
            polls = _polls(cloud)
            until(lambda: _polls(cloud) > polls, 60)
            os.kill(child.pid, signal.SIGINT)
            child.communicate(timeout=LIMIT)
        finally:
            kill_group(child)
        assert old in deployed(cloud)
        finishing(serving, cloud, "up", "--yes", "--skip-preview")
        (new,) = deployed(cloud)
    assert new != old
    assert not watcher.gaps
    assert _deploys(cloud) == 2


def _deploys(cloud: LocalCloud) -> int:
    return len(cloud.admin.requests(path=":deployModel"))


def _polls(cloud: LocalCloud) -> int:
    return len(cloud.admin.requests(path="/operations/"))


def test_the_limit_is_saved_and_continued(serving: EngineStack, program: Program, cloud: LocalCloud) -> None:
    deploy_operations_only(serving, program, cloud)
    program.set(timeout=1)
    failed = serving.up(ok=False)
    assert failed.has("but the wait of 1s is over", "raise deploy_request_timeout (now 1 s)")
    program.set(timeout=600)
    finishing(serving, cloud, "up", "--yes", "--skip-preview")
    assert len(deployed(cloud)) == 1
    assert _deploys(cloud) == 1


def test_a_forced_replacement_changes_nothing(serving: EngineStack, cloud: LocalCloud) -> None:
    serving.up()
    before = deployed(cloud)
    (state,) = serving.resources("vertexserving:index:Deployment")
    serving.up("--target-replace", state["urn"])
    assert deployed(cloud) == before


def forgotten(stack: EngineStack) -> tuple[str, str]:
    """Deploys and takes everything out of the state; the ids, by the project's number as the state had them."""
    stack.up()
    resources = stack.resources("vertexserving:index:")
    for resource in reversed(resources):
        stack("state", "delete", "--yes", resource["urn"])
    model, deployment = (resource["id"] for resource in resources)
    assert f"projects/{NUMBER}/" in model
    assert f"projects/{NUMBER}/" in deployment
    return model, deployment


@pytest.mark.parametrize("project", [PROJECT, NUMBER])
def test_import_into_the_program(
    serving: EngineStack, program: Program, cloud: LocalCloud, project: str
) -> None:
    model, deployment = (each.replace(NUMBER, project) for each in forgotten(serving))
    program.set(import_model=model, import_deployment=deployment)
    imported = serving.up()
    assert imported.has("2 imported")
    assert_no_token(serving, imported.output)
    program.set(import_model=None, import_deployment=None)
    assert serving.preview("--expect-no-changes").status == 0
    assert len(deployed(cloud)) == 1
    assert _deploys(cloud) == 1


@pytest.mark.parametrize("project", [PROJECT, NUMBER])
def test_import_by_command(serving: EngineStack, cloud: LocalCloud, project: str) -> None:
    model, deployment = (each.replace(NUMBER, project) for each in forgotten(serving))
    for kind, id in (("Model", model), ("Deployment", deployment)):
        options = ("--yes", "--skip-preview", "--protect=false", "--generate-code=false")
        serving("import", f"vertexserving:index:{kind}", "served", id, *options)
    change = serving.preview("--diff")
    assert not change.has("replace")
    serving.up()
    assert serving.preview("--expect-no-changes").status == 0
    assert _deploys(cloud) == 1
    serving.destroy()
    assert deployed(cloud) == []


def going_back(stack: EngineStack, program: Program, cloud: LocalCloud, how: signal.Signals) -> str:
    """Starts `up` with what was deployed first and more replicas, ends it while the replicas change."""
    program.set(container=CONTAINER, replicas=3)
    cloud.admin.timing(mode="manual")
    child = stack.start("up", "--yes", "--skip-preview", "--non-interactive", "--color", "never")
    try:
        until(lambda: bool(cloud.admin.requests(path=":mutateDeployedModel")), 60)
        polls = _polls(cloud)
        until(lambda: _polls(cloud) > polls, 60)
        if how is signal.SIGKILL:
            kill_group(child)
            stack("cancel", "--yes")
            return ""
        os.kill(child.pid, how)
        output, _ = child.communicate(timeout=LIMIT)
        return output
    finally:
        kill_group(child)
        cloud.admin.timing(mode="immediate")
        cloud.admin.advance()


def twice(stack: EngineStack) -> list[str]:
    """The types of which the state has one id both live and still to be deleted."""
    resources = stack.resources("vertexserving:")
    live = {each["id"] for each in resources if not each.get("delete")}
    return sorted(each["type"] for each in resources if each.get("delete") and each["id"] in live)


@pytest.mark.soak
@pytest.mark.parametrize("end", ["up", "destroy"])
def test_back_to_the_old_token_after_a_failed_replacement(
    serving: EngineStack, program: Program, cloud: LocalCloud, end: str
) -> None:
    serving.up()
    first = serving.outputs()
    serving("config", "set", "--secret", "hfToken", "hf_deniedToEverybody")
    assert serving.up(ok=False).has("Hugging Face refused the download", "goes on serving")
    serving("config", "set", "--secret", "hfToken", TOKEN)
    output = going_back(serving, program, cloud, signal.SIGINT)
    assert "The change of deployed model" in output
    assert "to 1 to 3 replicas goes on at Google" in output
    assert twice(serving) == ["vertexserving:index:Model"]
    if end == "up":
        again = serving.up()
        assert again.has(f"{first['model']} stays")
        assert serving.outputs() == first
        assert deployed(cloud) == [first["deployed"]]
        assert endpoint(cloud)["deployedModels"][0]["dedicatedResources"]["maxReplicaCount"] == 3
        assert cloud.http.get(f"/v1/{first['model']}").status_code == 200
        assert not [each for each in serving.resources() if each.get("delete")]
        assert serving.preview("--expect-no-changes").status == 0
    serving.destroy()
    assert deployed(cloud) == []
    assert cloud.http.get(f"/v1/{ENDPOINT.rpartition('/endpoints/')[0]}/models").json() == {}


@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_back_to_what_is_still_to_be_undeployed(
    serving: EngineStack, program: Program, cloud: LocalCloud, how: signal.Signals
) -> None:
    serving.up()
    first = serving.outputs()
    program.set(container=with_argument("--enforce-eager"))
    cloud.admin.fault(":undeployModel", status={"code": "PERMISSION_DENIED", "message": "Not now."})
    serving.up(ok=False)
    assert len(deployed(cloud)) == 2
    with Watcher(cloud) as watcher:
        going_back(serving, program, cloud, how)
        if how is signal.SIGINT:
            assert twice(serving) == ["vertexserving:index:Deployment", "vertexserving:index:Model"]
        again = serving.up()
    assert again.has(f"deployedModels/{first['deployed']} stays")
    assert not watcher.gaps
    assert serving.outputs() == first
    assert deployed(cloud) == [first["deployed"]]
    assert not [each for each in serving.resources() if each.get("delete")]
    assert serving.preview("--expect-no-changes").status == 0
    assert _deploys(cloud) == 2
    serving.destroy()
    assert deployed(cloud) == []


def test_a_destroy_that_runs_the_program_leaves_nothing(serving: EngineStack, cloud: LocalCloud) -> None:
    serving.up()
    serving.destroy("--run-program")
    assert deployed(cloud) == []
    assert cloud.http.get(f"/v1/{ENDPOINT.rpartition('/endpoints/')[0]}/models").json() == {}
    assert serving.resources("vertexserving:") == []


def test_a_refused_input_names_it_and_never_the_token(serving: EngineStack, program: Program) -> None:
    program.set(container={**CONTAINER, "shareMemorySizeMb": 1})
    refused = serving.preview(ok=False)
    assert refused.has(
        "containerSpec.shareMemorySizeMb: is not a property here; did you mean sharedMemorySizeMb?"
    )
    program.set(container=CONTAINER)
    serving("config", "set", "--secret", "hfToken", f"{TOKEN} x")
    refused = serving.preview(ok=False)
    assert refused.has("hfToken: the value (not shown, it is a secret) is not a Hugging Face token")
    assert_no_token(serving, refused.output)


def test_quota_ends_the_run_and_leaves_nothing(serving: EngineStack, cloud: LocalCloud) -> None:
    cloud.admin.quota("CustomModelServingL4GPUsPerProjectPerRegion", REGION, 0)
    failed = serving.up(ok=False)
    assert failed.has(
        "the quota is too small", "CustomModelServingL4GPUsPerProjectPerRegion", "Nothing of it is deployed."
    )
    assert serving.resources("vertexserving:index:Deployment") == []
    assert deployed(cloud) == []
    serving.destroy()


def test_a_plugin_without_its_packages_says_so(tmp_path: Path) -> None:
    executable = ROOT / "infra" / "provider" / "pulumi-resource-vertexserving"
    bare = tmp_path / "clone" / "infra" / "provider"
    bare.mkdir(parents=True)
    (bare / executable.name).write_bytes(executable.read_bytes())
    (bare / executable.name).chmod(0o755)
    fake = tmp_path / "venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\necho "$PYTHONPATH|$*"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [bare / executable.name, "127.0.0.1:1"],
        env={"PATH": os.environ["PATH"], "VIRTUAL_ENV": str(tmp_path / "venv")},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout.strip() == f"{tmp_path / 'clone'}|-P -m infra.provider 127.0.0.1:1"
