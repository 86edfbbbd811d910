"""The example of docs/import.md: what a notebook made is taken over by a stack, in place."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from infra.local.cloud.testing import PROJECT, REGION, LocalCloud
from infra.local.engine.steps import ROOT
from infra.local.stack.question import ask
from tests.engine.support import EngineStack

TOKEN = "hf_local"
BUCKET = "made-by-the-notebook"
ACCOUNT = f"notebook@{PROJECT}.iam.gserviceaccount.com"


@pytest.fixture
def made_by_hand(stack: EngineStack) -> str:
    """Bucket, account, model, endpoint and deployment, as the guide makes them; the endpoint's name."""
    cloud = stack.cloud
    cloud.admin.enable("aiplatform.googleapis.com", "compute.googleapis.com")
    bucket = {"name": BUCKET, "location": REGION.upper()}
    cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=bucket).raise_for_status()
    account = {"accountId": "notebook", "serviceAccount": {}}
    cloud.http.post(f"/v1/projects/{PROJECT}/serviceAccounts", json=account).raise_for_status()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "examples" / "import" / "notebook.py")],
        env=stack.env | {"PROJECT": PROJECT, "REGION": REGION, "SERVICE_ACCOUNT": ACCOUNT, "HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def adopt(stack: EngineStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`vertex-vllm adopt` in the copy of the project."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "adopt", *arguments],
        cwd=stack.folder,
        env=stack.env | {"PYTHONPATH": str(stack.folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def follow(stack: EngineStack, advice: str) -> None:
    """Types the lines that `adopt` printed."""
    settings = dict(re.findall(r"^  pulumi config set (\S+) (\S+)$", advice, re.MULTILINE))
    stack.configure_file({**settings, "vertex-vllm:bucket": BUCKET})
    imported = stack(
        "import",
        "--file",
        "import.json",
        "--protect=false",
        "--generate-code=false",
        "--yes",
        "--skip-preview",
    )
    assert imported.has("imported")
    assert TOKEN not in imported.output


def live(cloud: LocalCloud, endpoint: str) -> dict[str, Any]:
    """The endpoint."""
    content: dict[str, Any] = cloud.http.get(f"/v1/{endpoint}").raise_for_status().json()
    return content


def test_what_a_notebook_made_is_taken_over(stack: EngineStack, made_by_hand: str) -> None:
    cloud = stack.cloud
    id = made_by_hand.rpartition("/")[2]
    (deployed,) = live(cloud, made_by_hand)["deployedModels"]
    assert len(cloud.admin.requests(path=":deployModel")) == 1
    assert len(id) > 10

    said = adopt(stack, id, "--project", PROJECT, "--region", REGION)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "the stack file starts the same container: nothing is deployed anew" in said.stdout
    assert TOKEN not in said.stdout + said.stderr
    follow(stack, said.stdout)

    preview = stack.preview("--diff")
    assert "replace" not in preview.output, preview.output
    for kind in ("index:Model", "index:Deployment", "aiEndpoint:AiEndpoint"):
        assert f"{kind}: (create)" not in preview.output, preview.output
        assert f"{kind}: (delete)" not in preview.output, preview.output
    assert preview.has('"llama3_1-endpoint" => "Meta-Llama-3.1-8B-Instruct (local)"')

    up = stack.up()
    outputs = stack.outputs()
    assert outputs["endpoint"].endswith(f"/{id}")
    assert outputs["deployed_model_id"] == deployed["id"]
    assert outputs["model"] == deployed["model"]
    assert len(cloud.admin.requests(path=":deployModel")) == 1
    assert live(cloud, made_by_hand)["labels"]["vertex-vllm-stack"] == "local"
    assert ask(outputs, print).text
    stack.preview("--expect-no-changes")
    for text in (preview.output, up.output, stack("stack", "export").output):
        assert TOKEN not in text

    stack.configure(maxUsdPerHour=None)
    file = stack.folder / "stacks" / "meta-llama-3.1-8b-instruct.l4x1.imported.yaml"
    file.write_text(file.read_text().replace("max_replica_count: 1", "max_replica_count: 2"))
    assert stack.up().has("1 updated")
    assert len(cloud.admin.requests(path=":deployModel")) == 1

    file.write_text(file.read_text().replace("max_model_len: 4096", "max_model_len: 2048"))
    assert stack.up().has("2 replaced")
    (rolled,) = live(cloud, made_by_hand)["deployedModels"]
    assert rolled["id"] == stack.outputs()["deployed_model_id"] != deployed["id"]

    stack.destroy()
    state = cloud.admin.state()
    assert [state[kind] for kind in ("endpoints", "models", "deployedModels")] == [[], [], []]
    assert BUCKET in str(state["buckets"])
    assert ACCOUNT in str(state["service accounts"])


def redeploy_a_second_version(cloud: LocalCloud, endpoint: str) -> dict[str, Any]:
    """Uploads the same container once more, the token under its older name, and deploys that; what serves then."""
    (first,) = live(cloud, endpoint)["deployedModels"]
    model = cloud.http.get(f"/v1/{first['model']}").raise_for_status().json()
    spec = model["containerSpec"]
    for each in spec["env"]:
        each["name"] = {"HF_TOKEN": "HUGGING_FACE_HUB_TOKEN"}.get(each["name"], each["name"])
    parent, _, _ = endpoint.partition("/endpoints/")
    version = {"displayName": "again", "containerSpec": spec, "versionAliases": ["default"]}
    deployed = {key: first[key] for key in ("dedicatedResources", "serviceAccount")}
    deployed["model"] = f"{first['model']}@2"
    for path, body in (
        (f"{parent}/models:upload", {"parentModel": first["model"], "model": version}),
        (f"{endpoint}:undeployModel", {"deployedModelId": first["id"]}),
        (f"{endpoint}:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}}),
    ):
        started = cloud.http.post(f"/v1/{path}", json=body).raise_for_status().json()
        cloud.finished(f"/v1/{started['name']}")
    (second,) = live(cloud, endpoint)["deployedModels"]
    return dict(second)


def test_a_later_version_is_taken_over_stopped_and_started(stack: EngineStack, made_by_hand: str) -> None:
    cloud = stack.cloud
    second = redeploy_a_second_version(cloud, made_by_hand)
    assert second["modelVersionId"] == "2"
    deployments = len(cloud.admin.requests(path=":deployModel"))

    said = adopt(stack, made_by_hand.rpartition("/")[2], "--project", PROJECT, "--region", REGION)
    assert "the stack file starts the same container: nothing is deployed anew" in said.stdout, said.stderr
    assert "pulumi config set --secret vertex-vllm:hfToken" in said.stdout
    follow(stack, said.stdout)
    stack.up()

    assert stack.outputs()["model"] == f"{second['model']}@2"
    assert stack.outputs()["deployed_model_id"] == second["id"]
    assert len(cloud.admin.requests(path=":deployModel")) == deployments
    assert TOKEN not in stack("stack", "export").output
    stack.configure(stopped="true")
    stack.up()
    assert not live(cloud, made_by_hand).get("deployedModels")
    stack.configure(stopped=None)
    stack.up()
    (started,) = live(cloud, made_by_hand)["deployedModels"]
    assert (started["model"], started["modelVersionId"]) == (second["model"], "2")
    stack.preview("--expect-no-changes")


def test_another_token_rolls_without_a_gap(stack: EngineStack, made_by_hand: str) -> None:
    """The token cannot be read back; a digest tells that it is another one."""
    said = adopt(stack, made_by_hand.rpartition("/")[2], "--project", PROJECT, "--region", REGION)
    follow(stack, said.stdout)
    stack("config", "set", "--secret", "vertex-vllm:hfToken", "hf_localAnother")
    preview = stack.preview("--diff")
    assert preview.has("2 to replace"), preview.output
    assert "hf_localAnother" not in preview.output


def test_what_cannot_be_taken_over_says_why(stack: EngineStack, made_by_hand: str) -> None:
    where = ("--project", PROJECT, "--region", REGION)
    assert "is a project's number" in adopt(stack, made_by_hand).stderr
    adopt(stack, made_by_hand.rpartition("/")[2], *where)
    again = adopt(stack, made_by_hand.rpartition("/")[2], *where)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    absent = adopt(stack, "123", *where)
    assert absent.returncode == 2
