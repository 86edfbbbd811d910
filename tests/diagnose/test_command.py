"""`vertex-vllm diagnose`, on files and on a local Google Cloud."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli import diagnose as command
from infra.cli.app import app
from infra.cli.stack import plan_of
from infra.local.cloud.testing import NUMBER, REGION, LocalCloud, cloud_in_thread
from tests.local.cloud.aiplatform.helpers import Vertex

ROOT = Path(__file__).resolve().parents[2]
STACK = "meta-llama-3.1-8b-instruct.l4x1.yaml"
TOKEN = "hf_verySecretTokenOfNobody"
KV = (
    "ValueError: The model's max seq len (4096) is larger than the maximum number of tokens that can be stored in KV "
    "cache (2256). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`"
)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are not wrapped."""
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A stack file of the user's, with comments."""
    file = tmp_path / STACK
    text = (ROOT / "stacks" / STACK).read_text()
    file.write_text(text.replace("max_model_len: 4096", "max_model_len: 4096   # as long as the guide's"))
    return file


def run(*arguments: object, log: str | None = None) -> Result:
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)], input=log)


def test_cause_evidence_and_change(stack: Path) -> None:
    before = stack.read_text()
    result = run(stack, "--log", "-", log=f"INFO Loading model weights took 15.08 GB\n\x1b[31m{KV}\x1b[0m\n")
    assert result.exit_code == 0, result.output
    assert (
        "vllm.max_model_len (4096) is larger than the 2256 tokens that fit in the KV cache." in result.output
    )
    assert "line 2: ValueError: The model's max seq len (4096)" in result.output
    assert "-  max_model_len: 4096   # as long as the guide's" in result.output
    assert "+  max_model_len: 2256   # as long as the guide's" in result.output
    assert "--apply makes this change." in result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith("weights")]
    assert rows == [["weights", "15.08", "15.06", "to", "15.09", "15.08"]]
    assert stack.read_text() == before


def test_apply(stack: Path) -> None:
    before = stack.read_text()
    stack.chmod(0o640)
    result = run(stack, "--log", "-", "--apply", log=KV)
    assert result.exit_code == 0, result.output
    assert stack.read_text() == before.replace("max_model_len: 4096", "max_model_len: 2256")
    assert stack.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in stack.parent.iterdir()] == [STACK]
    again = run(stack, "--log", "-", "--apply", log=KV)
    assert "vllm.max_model_len is 2256 in the stack file and was 4096." in again.output
    assert stack.read_text().count("2256") == 1


def test_a_log_of_another_gpu_changes_nothing(stack: Path) -> None:
    before = stack.read_text()
    total = "INFO worker.py:1] the current vLLM instance can use total_gpu_memory (15.77GiB) x gpu_memory_utilization"
    result = run(stack, "--log", "-", "--apply", log=f"{total}\n{KV}")
    assert "a GPU has 22.03 GiB by the stack file and had 15.77." in result.output
    assert stack.read_text() == before
    found = json.loads(run(stack, "--log", "-", "--json", log=f"{total}\n{KV}").output)
    assert found["change"] is None
    assert len(found["other_settings"]) == 1


def test_applying_twice_changes_once(stack: Path) -> None:
    """The log stays that of the settings before; an error of memory names none, the server's first line does."""
    given = (
        "INFO 10-01 10:00:00 api_server.py] args: Namespace(max_model_len=65536, max_num_seqs=256, port=8080)"
    )
    log = f"{given}\nINFO Loading model weights took 15.08 GB\ntorch.OutOfMemoryError: CUDA out of memory."
    stack.write_text(stack.read_text().replace("max_model_len: 4096", "max_model_len: 65536"))
    first = run(stack, "--log", "-", "--apply", log=log)
    assert "+  max_model_len: 17488" in first.output
    assert "With it, it starts by the prediction" in first.output
    changed = stack.read_text()
    again = run(stack, "--log", "-", "--apply", log=log)
    assert "vllm.max_model_len is 17488 in the stack file and was 65536." in again.output
    assert (
        "GiB a GPU" not in again.output
    )  # nor is the prediction of other settings put beside the log's figures
    assert stack.read_text() == changed


def test_json(stack: Path) -> None:
    result = run(stack, "--log", "-", "--json", "--apply", log=KV)
    found = json.loads(result.output)
    assert found["failures"][0]["id"] == "kv-cache-too-small-v0"
    assert found["failures"][0]["evidence"]["line"] == 1
    assert found["failures"][0]["numbers"] == {"length": "4096", "tokens": "2256"}
    assert found["change"]["keys"] == {"vllm.max_model_len": 2256}
    assert found["change"]["applied"] is True
    assert found["change"]["starts"] is True
    assert {row["name"]: row["log"] for row in found["memory"]}["kv_tokens"] == 2256
    assert found["operation"] is None


def test_a_log_of_nothing_known(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("Segmentation fault\n" * 20)
    result = run("--log", log)
    assert result.exit_code == 3
    assert result.output.startswith("No known failure is in the log (20 lines). Its last lines:")
    assert result.output.count("Segmentation fault") == 8
    assert json.loads(run("--log", log, "--json").output)["failures"] == []


def test_a_failure_that_no_key_mends(stack: Path) -> None:
    result = run(stack, "--log", "-", "--apply", log="OSError: You are trying to access a gated repo.")
    assert result.exit_code == 0
    assert (
        "accept the model's licence there" in result.output.lower() or "Accept the model's" in result.output
    )
    assert "Nothing was changed: no key of the stack file mends this." in result.output


def test_a_token_is_never_shown() -> None:
    result = run("--log", "-", log=f"api_server.py: error: unrecognized arguments: --hf-token={TOKEN}")
    assert result.exit_code == 0
    assert TOKEN not in result.output
    assert TOKEN not in run("--log", "-", "--json", log=f"error: unrecognized arguments: --t={TOKEN}").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say what is diagnosed"),
        (["--log", "/no/such"], "/no/such cannot be read"),
        (["--stack", "dev", "--endpoint", "1"], "give one of them"),
        (["stacks/x.yaml", "--stack", "dev"], "has its own stack file"),
        (["--log", "-", "--apply"], "--apply changes a stack file"),
        (["--stack", "no-such"], "there is no such file"),
        (["stacks/no-such.yaml", "--log", "-"], "there is no such file"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    result = run(*arguments, log="")
    assert result.exit_code == 2
    assert said in result.output


# On a local Google Cloud -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    """An empty local cloud."""
    with cloud_in_thread() as running:
        yield running


def deploy(cloud: LocalCloud, endpoint_id: str, *extra: str) -> str:
    """A deployment of the shipped stack file with further arguments, which fails; the endpoint's name."""
    vertex = Vertex(cloud)
    vertex.enable()
    container = plan_of(ROOT / "stacks" / STACK)[0].container
    spec: dict[str, Any] = {
        "imageUri": container.image_uri,
        "args": [*container.args, *extra],
        "env": [{"name": "MODEL_ID", "value": "x"}, {"name": "HF_TOKEN", "value": "hf_local"}],
        "ports": [{"containerPort": 8080}],
        "predictRoute": "/generate",
        "healthRoute": "/ping",
        "sharedMemorySizeMb": "16384",
        "deploymentTimeout": "7200s",
    }
    model_id = f"m{endpoint_id}"
    vertex.done(
        "POST", "models:upload", {"modelId": model_id, "model": {"displayName": "m", "containerSpec": spec}}
    )
    name = vertex.endpoint(endpoint_id)
    body = vertex.deployment("1", model_id)
    operation = vertex.wait(vertex.ok("POST", f"endpoints/{endpoint_id}:deployModel", body))
    assert ("error" in operation) == bool(extra)
    return name


def test_the_last_deployment_of_an_endpoint(
    cloud: LocalCloud, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", cloud.url)
    name = deploy(cloud, "2001", "--no-such-flag=1")
    result = run(stack, "--endpoint", name)
    assert result.exit_code == 0, result.output
    assert re.match(r"The last deployment, begun \S+ \S+ UTC, failed\.\n", result.output)
    assert "The image's vLLM does not know --no-such-flag=1." in result.output
    assert "https://console.cloud.google.com/logs/query;query=" in result.output
    found = json.loads(run("--endpoint", "2001", "--project", NUMBER, "--region", REGION, "--json").output)
    assert [each["id"] for each in found["failures"]] == ["unknown-flag"]
    assert "/operations/" in found["operation"]
    assert found["operation_error"].startswith("Model server exited unexpectedly.")


def test_what_serves_beside_it_is_not_read(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", cloud.url)
    vertex = Vertex(cloud)
    name = deploy(cloud, "2004")
    count = len(
        vertex.ok("POST", "/v2/entries:list", {"resourceNames": ["projects/local-project"]})["entries"]
    )
    assert count
    message = "Machine type temporarily unavailable."
    cloud.admin.fault(":deployModel", operationError={"code": "UNAVAILABLE", "message": message})
    operation = vertex.wait(vertex.ok("POST", "endpoints/2004:deployModel", vertex.deployment("7", "m2004")))
    assert "error" in operation
    found = json.loads(run("--endpoint", name, "--json").output)
    query = {"resourceNames": ["projects/local-project"], "filter": 'resource.labels.endpoint_id="2004"'}
    wrote = vertex.ok("POST", "/v2/entries:list", query | {"pageSize": 1000})["entries"]
    served = [each for each in wrote if each["labels"]["deployed_model_id"] == "1"]
    assert served
    assert found["lines"] == len(wrote) - len(served)
    assert [each["id"] for each in found["failures"]] == ["stock-out"]
    assert found["failures"][0]["evidence"]["line"] is None


def test_an_endpoint_that_serves(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", cloud.url)
    result = run("--endpoint", deploy(cloud, "2002"))
    assert result.exit_code == 3
    assert re.match(
        r"The last deployment, begun 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC, went well\.\n"
        r"No known failure is in its containers' log \(\d+ lines\)\.\n",
        result.output,
    )
    assert "  | " not in result.output
    assert "Google says" not in result.output
    found = json.loads(run("--endpoint", "2002", "--project", NUMBER, "--region", REGION, "--json").output)
    assert found["state"] == "done"
    assert found["began"].startswith("20")


def test_google_s_own_answer_is_evidence(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", cloud.url)
    message = "Machine type temporarily unavailable, please deploy with a different machine type or retry."
    cloud.admin.fault(":deployModel", operationError={"code": "UNAVAILABLE", "message": message})
    name = deploy_failing(cloud, "2003")
    result = run("--endpoint", name)
    assert result.exit_code == 0, result.output
    assert f"Google's answer: {message}" in result.output


def deploy_failing(cloud: LocalCloud, endpoint_id: str) -> str:
    """A deployment that Google ends."""
    vertex = Vertex(cloud)
    vertex.enable()
    vertex.upload(f"m{endpoint_id}")
    name = vertex.endpoint(endpoint_id)
    body = vertex.deployment("1", f"m{endpoint_id}")
    assert "error" in vertex.wait(vertex.ok("POST", f"endpoints/{endpoint_id}:deployModel", body))
    return name


def test_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", "http://127.0.0.1:9")
    result = run("--endpoint", f"projects/p/locations/{REGION}/endpoints/1")
    assert result.exit_code == 8
    assert "127.0.0.1:9 cannot be reached" in result.output


@pytest.mark.parametrize("name", ["dev", "local"])
def test_by_stack(cloud: LocalCloud, stack: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A first deployment that failed left no outputs: the settings alone say which endpoint it is."""
    from infra import settings
    from infra.program import stack_endpoint_id
    from infra.settings.file import read_file

    root = stack.parent
    text = stack.read_text().replace("gpu_memory_utilization: 0.9", "gpu_memory_utilization: 0.76")
    stack.write_text(f"{text}fit: warn\n")
    (root / "Pulumi.yaml").write_text("name: vertex-vllm\nruntime: python\n")
    local = "  vertex-vllm:localCloud: true\n" if name == "local" else ""
    (root / f"Pulumi.{name}.yaml").write_text(
        f"config:\n  gcp:project: local-project\n  gcp:region: {REGION}\n  vertex-vllm:hfToken: {{secure: v1:abc}}\n"
        f"  vertex-vllm:stackFile: {STACK}\n{local}"
    )
    monkeypatch.setattr(command, "ROOT", root)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    environ = {
        "HF_TOKEN": TOKEN,
        "LOCAL_CLOUD_URL": cloud.url,
        "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": cloud.url,
    }
    endpoint_id = stack_endpoint_id(settings.parse(read_file(root, name, environ)[0], root))
    deploy(cloud, endpoint_id, "--gpu-memory-utilization=0.76")
    if name == "local":  # `make up` wrote the addresses there
        (root / ".local").mkdir()
        (root / ".local" / "env").write_text(
            "".join(f"export {key}={value}\n" for key, value in environ.items())
        )
    else:
        monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", cloud.url)
    result = run("--stack", name, "--apply")
    assert result.exit_code == 0, result.output
    assert "vllm.max_model_len (4096) is larger than" in result.output
    assert f"{STACK} was changed." in result.output
    assert "max_model_len: 4096" not in stack.read_text()
    assert TOKEN not in result.output
