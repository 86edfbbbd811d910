"""The program with mocks: what it exports, what it makes of settings, and that a wrong one registers nothing.

Proves nothing about an engine; `tests/engine/test_program.py` does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.config import set_all_config

from infra import program
from infra.ids import endpoint_id
from infra.preflight import run as preflight
from infra.preflight.finding import Finding, Status
from infra.preflight.run import Report
from infra.preflight.subject import Subject
from tests.adapters import write_adapter
from tests.components import conftest as mocked
from tests.components.recording import Recorder, Run

recorder = mocked.recorder
run = mocked.run

ROOT = Path(__file__).resolve().parents[1]
LLAMA = "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
CONFIG = {
    "gcp:project": "my-project",
    "gcp:region": "us-central1",
    "vertex-vllm:stackFile": LLAMA,
    "vertex-vllm:hfToken": "hf_verySecretToken",
    "vertex-vllm:labels": '{"owner": "me"}',
    "vertex-vllm:preflight": "off",
}
GET_OBJECT = "gcp:storage/getBucketObjectContent:getBucketObjectContent"
GET_BUCKET = "gcp:storage/getBucket:getBucket"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the program exports, by name."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(pulumi, "export", found.__setitem__)
    return found


def own(**changes: str) -> None:
    """Configures keys of our namespace."""
    set_all_config(
        {**CONFIG, **{f"vertex-vllm:{key}": value for key, value in changes.items()}}, ["vertex-vllm:hfToken"]
    )


def result(exported: dict[str, Any], run: Run) -> dict[str, Any]:
    """Runs the program and gives its exports with outputs resolved."""

    def body() -> pulumi.Output[dict[str, Any]]:
        program.run()
        return pulumi.Output.all(**exported)

    found: dict[str, Any] = run(body)
    return found


def test_exports(recorder: Recorder, exported: dict[str, Any], run: Run) -> None:
    own()
    found = result(exported, run)
    name = "vllm-endpoint-id"
    cost = found.pop("cost")
    assert cost["at_most"] == {"replicas": 1, "usd_per_hour": 1.15069, "usd_per_month": 840.0}
    assert set(found["snippets"]) == {"curl", "openai", "litellm", "langchain"}
    assert all(found["openai_base_url"] in text for text in found.pop("snippets").values())
    assert found.pop("curl").startswith(
        f'curl -sS "https://us-central1-aiplatform.googleapis.com/v1beta1/{name}/chat/completions"'
    )
    assert found == {
        "endpoint": name,
        "deployed_model_id": "1234567890",
        "model": "projects/123456789012/locations/us-central1/models/m-0123456789",
        "openai_base_url": f"https://us-central1-aiplatform.googleapis.com/v1beta1/{name}",
        "predict_url": f"https://us-central1-aiplatform.googleapis.com/v1/{name}:predict",
        "dedicated_endpoint_dns": None,
        "bucket": "vllm-artifacts-1234567",
        "model_uri": "gs://vllm-artifacts-1234567/models",
        "staging_uri": "gs://vllm-artifacts-1234567/staging",
        "service_account": "vertex-vllm-local@my-project.iam.gserviceaccount.com",
        "region": "us-central1",
        "hourly_cost_usd": 1.1507,
        "warnings": [],
    }


def test_a_stopped_stack_costs_nothing_and_asks_nothing(
    recorder: Recorder, exported: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.preflight.run.run", None)
    own(stopped="true", preflight="enforce")
    found = result(exported, run)
    assert (found["stopped"], found["deployed_model_id"], found["hourly_cost_usd"]) == (True, "", 0)
    assert found["cost"]["at_most"] == {"replicas": 0, "usd_per_hour": 0.0, "usd_per_month": 0.0}
    assert found["endpoint"] == "vllm-endpoint-id"
    assert recorder.of("index:Deployment") == []


def test_a_stopped_stack_is_not_said_to_be_undeployed_for_its_expiry(
    recorder: Recorder, exported: dict[str, Any], run: Run
) -> None:
    own(labels=json.dumps({"expiry": "2020-01-01"}))
    result(exported, run)
    assert any("the stack expired" in text for _, text in recorder.messages)
    recorder.messages.clear()
    own(labels=json.dumps({"expiry": "2020-01-01"}), stopped="true")
    result(exported, run)
    assert not any("expired" in text for _, text in recorder.messages)


def test_telemetry_is_made_by_one_key(recorder: Recorder, exported: dict[str, Any], run: Run) -> None:
    channel = "projects/my-project/notificationChannels/7"
    own(telemetry="true", notificationChannels=json.dumps([channel]))
    found = result(exported, run)
    assert found["dashboard"] == (
        "https://console.cloud.google.com/monitoring/dashboards/builder/vllm-telemetry-id?project=my-project"
    )
    assert [each.inputs["notificationChannels"] for each in recorder.of("AlertPolicy")] == [[channel]] * 3
    idle = recorder.one("AlertPolicy", "vllm-telemetry-idle").inputs
    assert "$1.15 an hour" in idle["documentation"]["content"]
    endpoint = recorder.one("AiEndpoint").inputs["name"]
    assert f'endpoint_id="{endpoint}"' in str(idle["conditions"])


def test_adapters_are_named_and_readable(
    recorder: Recorder, exported: dict[str, Any], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        ROOT / LLAMA
    ).read_text() + "lora:\n  sql: gs://adapters/sql\n  tone: gs://adapters/tone\n  hub: me/a\n"
    (tmp_path / "lora.yaml").write_text(text)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    own(stackFile="lora.yaml")
    found = result(exported, run)
    assert found["lora"] == {"sql": "gs://adapters/sql", "tone": "gs://adapters/tone", "hub": "me/a"}
    grant = recorder.one("BucketIAMMember", "vllm-artifacts-adapters-storage-objectViewer").inputs
    assert (grant["bucket"], grant["role"]) == ("adapters", "roles/storage.objectViewer")
    # Requests name adapters; the container's arguments do not, so that a further one rolls nothing.
    assert "adapters" not in str(recorder.one("index:Model").inputs["containerSpec"])


def test_adapters_beside_the_stack_file_are_uploaded_and_named(
    recorder: Recorder, exported: dict[str, Any], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(tmp_path / "adapters" / "sql")
    text = (ROOT / LLAMA).read_text() + "lora:\n  sql: ./adapters/sql\n  hub: me/a\n"
    (tmp_path / "lora.yaml").write_text(text)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    own(stackFile="lora.yaml")
    found = result(exported, run)
    assert found["lora"]["hub"] == "me/a"
    prefix = f"{found['model_uri']}/lora/sql/"
    assert found["lora"]["sql"].startswith(prefix)
    uploaded = [each.inputs for each in recorder.of("BucketObject")]
    assert {f"gs://{each['bucket']}/{each['name']}" for each in uploaded} == {
        f"{found['lora']['sql']}/{file}" for file in ("adapter_config.json", "adapter_model.safetensors")
    }
    # A state is the same whatever folder the clone is in.
    assert sorted(each["source"].path for each in uploaded) == [
        "adapters/sql/adapter_config.json",
        "adapters/sql/adapter_model.safetensors",
    ]
    # The bucket's own grant lets the container read it.
    assert [each.name for each in recorder.of("BucketIAMMember")] == ["vllm-artifacts-storage-objectViewer"]


def test_labels_say_whose_and_what(recorder: Recorder, exported: dict[str, Any], run: Run) -> None:
    own()
    result(exported, run)
    expected = {
        "owner": "me",
        "vertex-vllm-project": "vertex-vllm",
        "vertex-vllm-stack": "local",
        "vertex-vllm-model": "meta-llama-3-1-8b-instruct",
    }
    for kind in ("storage/bucket:Bucket", "AiEndpoint", "index:Model"):
        assert recorder.one(kind).inputs["labels"] == expected


def test_token_is_marked_as_secret(recorder: Recorder, exported: dict[str, Any], run: Run) -> None:
    own()
    result(exported, run)
    token = recorder.one("index:Model").inputs["hfToken"]
    assert token["value"] == "hf_verySecretToken"
    others = [each for each in recorder.resources.values() if not each.type.endswith("index:Model")]
    assert not [each for each in others if "hf_verySecretToken" in str(each)]


def test_endpoint_id_is_the_stacks(recorder: Recorder, exported: dict[str, Any], run: Run) -> None:
    own()
    result(exported, run)
    expected = endpoint_id("my-project", "us-central1", "vertex-vllm/local")
    assert recorder.one("AiEndpoint").inputs["name"] == expected


def test_dedicated_endpoint_has_an_id_and_urls_of_its_own(
    recorder: Recorder, exported: dict[str, Any], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / LLAMA).read_text().replace("dedicated: false", "dedicated: true")
    (tmp_path / "dedicated.yaml").write_text(text)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    own(stackFile="dedicated.yaml")
    found = result(exported, run)
    number = endpoint_id("my-project", "us-central1", "vertex-vllm/local/dedicated")
    assert recorder.one("AiEndpoint").inputs["name"] == number
    dns = f"{number}.us-central1-123456789012.prediction.vertexai.goog"
    assert found["dedicated_endpoint_dns"] == dns
    assert found["openai_base_url"] == f"https://{dns}/v1beta1/vllm-endpoint-id"


def test_buckets_that_the_stack_file_reads_are_granted(
    recorder: Recorder, exported: dict[str, Any], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / LLAMA).read_text().replace("weights: huggingface", "weights: gs://weights/llama")
    (tmp_path / "weights.yaml").write_text(
        text.replace("vllm:\n", "vllm:\n  chat_template: gs://templates/chat/x.jinja\n")
    )
    monkeypatch.setattr(program, "ROOT", tmp_path)
    recorder.answers[GET_OBJECT] = lambda args: {**args, "content": "{{ messages }}\n"}
    own(stackFile="weights.yaml")
    result(exported, run)
    granted = {each.inputs["bucket"] for each in recorder.of("BucketIAMMember")}
    assert granted == {"vllm-artifacts-1234567", "weights"}
    model = recorder.one("index:Model").inputs
    assert "hfToken" not in model
    assert recorder.calls == [(GET_OBJECT, {"bucket": "templates", "name": "chat/x.jinja"})]
    assert "--chat-template={{ messages }}" in str(model)
    assert "gs://templates" not in str(model)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: 404: * no object chat/x.jinja"),
        ("hello", "holds no {{ or {%: it is no template."),
    ],
)
def test_a_template_that_cannot_be_read_stops_the_program(
    recorder: Recorder,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    words: str,
) -> None:
    def answer(args: dict[str, Any]) -> dict[str, Any]:
        if content is None:
            why = f"invocation of {GET_OBJECT} returned an error: 404:\n\t* no object {args['name']}"
            raise RuntimeError(f"invoke of {GET_OBJECT} failed: {why}")
        return {**args, "content": content}

    text = (ROOT / LLAMA).read_text()
    (tmp_path / "a.yaml").write_text(
        text.replace("vllm:\n", "vllm:\n  chat_template: gs://templates/chat/x.jinja\n")
    )
    monkeypatch.setattr(program, "ROOT", tmp_path)
    recorder.answers[GET_OBJECT] = answer
    own(stackFile="a.yaml")
    message = stopped(recorder, run)
    assert message.startswith(
        f"a.yaml: vllm.chat_template = 'gs://templates/chat/x.jinja': {words}\n    fix: "
    )


def test_existing_bucket_in_the_serving_region(
    recorder: Recorder, exported: dict[str, Any], run: Run
) -> None:
    recorder.answers[GET_BUCKET] = lambda args: {**args, "location": "US-CENTRAL1"}
    own(bucket="gs://mine")
    assert result(exported, run)["bucket"] == "mine"
    assert recorder.calls == [(GET_BUCKET, {"name": "mine"})]
    assert recorder.of("storage/bucket:Bucket") == []


BUCKET = Finding(check="bucket", status=Status.PASS, evidence="gs://mine is in us-central1.")
WARNED = Finding(check="endpoint", status=Status.WARN, evidence="Shared.", remedy="dedicate it")
FAILED = Finding(
    check="quota-gpu",
    status=Status.FAIL,
    evidence="1 L4 needed, 0 of 8 left.",
    remedy="ask for more",
    by_hand="gcloud beta quotas",
)
SKIPPED = Finding(check="image", status=Status.SKIP, evidence="The registry did not answer within 4.5 s.")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Subject]:
    """What the program has checked; `answers` decides what the checks say."""
    seen: list[Subject] = []

    def fake(subject: Subject) -> Report:
        seen.append(subject)
        return Report(answers, 0.2)

    monkeypatch.setattr(preflight, "run", fake)
    return seen


answers: tuple[Finding, ...] = ()


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the checks say."""

    def set_answers(*findings: Finding) -> None:
        monkeypatch.setattr(sys.modules[__name__], "answers", findings)

    return set_answers


def test_preflight_warns_and_goes_on(
    recorder: Recorder,
    exported: dict[str, Any],
    run: Run,
    asked: list[Subject],
    says: Callable[..., None],
) -> None:
    says(BUCKET, WARNED, FAILED, SKIPPED)
    own(preflight="")
    assert result(exported, run)["warnings"] == []
    assert recorder.of("index:Model")
    assert recorder.messages == [
        ("warning", "preflight: quota-gpu: 1 L4 needed, 0 of 8 left.\n    fix: ask for more"),
        ("warning", "preflight: endpoint: Shared.\n    fix: dedicate it"),
        (
            "info",
            "preflight: 1 passed, 1 failed, 1 to look at, 1 skipped (image), in 0.2 s; "
            "./vertex-vllm preflight --stack local shows each",
        ),
    ]
    (subject,) = asked
    assert (subject.project, subject.region, subject.stack) == ("my-project", "us-central1", "local")
    assert subject.hosts.vertex == "https://us-central1-aiplatform.googleapis.com/v1"
    assert subject.hf_token == "hf_verySecretToken"
    assert "hf_verySecretToken" not in repr(subject)


def test_enforced_preflight_registers_nothing_after_a_no(
    recorder: Recorder, run: Run, asked: list[Subject], says: Callable[..., None]
) -> None:
    says(BUCKET, WARNED, FAILED, SKIPPED)
    own(preflight="enforce")
    assert stopped(recorder, run) == (
        "preflight: 1 check failed, nothing was registered.\n"
        "  quota-gpu: 1 L4 needed, 0 of 8 left.\n"
        "    fix: ask for more\n"
        "    by hand: gcloud beta quotas\n"
        "  All checks: ./vertex-vllm preflight --stack local. To see them as warnings only: pulumi config set "
        "vertex-vllm:preflight warn"
    )
    assert recorder.calls == []


def test_enforced_preflight_lets_warnings_and_skips_pass(
    recorder: Recorder,
    exported: dict[str, Any],
    run: Run,
    asked: list[Subject],
    says: Callable[..., None],
) -> None:
    says(WARNED, SKIPPED)
    own(preflight="enforce")
    result(exported, run)
    assert recorder.of("index:Model")


def test_preflight_that_is_off_asks_nothing(
    recorder: Recorder, exported: dict[str, Any], run: Run, asked: list[Subject]
) -> None:
    own(preflight="off")
    result(exported, run)
    assert asked == []
    assert recorder.messages == []


def test_bucket_that_preflight_has_seen_is_not_looked_up_again(
    recorder: Recorder,
    exported: dict[str, Any],
    run: Run,
    asked: list[Subject],
    says: Callable[..., None],
) -> None:
    says(BUCKET)
    own(bucket="mine", preflight="warn")
    result(exported, run)
    assert recorder.calls == []


@pytest.mark.parametrize("status", [Status.SKIP, Status.FAIL])
def test_bucket_that_preflight_has_not_seen_is_looked_up(
    recorder: Recorder, run: Run, asked: list[Subject], says: Callable[..., None], status: Status
) -> None:
    recorder.answers[GET_BUCKET] = lambda args: {**args, "location": "EUROPE-WEST4"}
    says(replace(BUCKET, status=status))
    own(bucket="mine", preflight="warn")
    assert "the bucket is in europe-west4, the model is served in us-central1." in stopped(recorder, run)


def stopped(recorder: Recorder, run: Run) -> str:
    """Runs a program that must stop; gives its one message and makes sure that nothing was registered."""
    with pytest.raises(SystemExit) as caught:
        run(program.run)
    assert caught.value.code == 32
    assert recorder.resources == {}
    ((level, text),) = recorder.messages
    assert level == "error"
    return text


def test_existing_bucket_in_another_region(recorder: Recorder, run: Run) -> None:
    recorder.answers[GET_BUCKET] = lambda args: {**args, "location": "EUROPE-WEST4"}
    own(bucket="mine")
    assert stopped(recorder, run) == (
        "Pulumi.local.yaml: vertex-vllm:bucket = 'mine': the bucket is in europe-west4, the model is served in "
        "us-central1.\n"
        "    fix: name a bucket in us-central1, or pulumi config rm vertex-vllm:bucket to have one made, or pulumi "
        "config set gcp:region europe-west4"
    )


def test_existing_bucket_in_a_multi_region(recorder: Recorder, run: Run) -> None:
    recorder.answers[GET_BUCKET] = lambda args: {**args, "location": "US"}
    own(bucket="mine")
    assert stopped(recorder, run) == (
        "Pulumi.local.yaml: vertex-vllm:bucket = 'mine': the bucket is in us, the model is served in us-central1.\n"
        "    fix: name a bucket in us-central1, or pulumi config rm vertex-vllm:bucket to have one made"
    )


def test_bucket_that_does_not_exist(recorder: Recorder, run: Run) -> None:
    def answer(args: dict[str, Any]) -> dict[str, Any]:
        why = f"invocation of {GET_BUCKET} returned an error: 404:\n\t* no bucket {args['name']}"
        raise RuntimeError(f"invoke of {GET_BUCKET} failed: {why}")

    recorder.answers[GET_BUCKET] = answer
    own(bucket="mine")
    assert stopped(recorder, run) == (
        "Pulumi.local.yaml: vertex-vllm:bucket = 'mine': cannot be looked up: 404: * no bucket mine\n"
        "    fix: name a bucket that exists and that you may read, or pulumi config rm vertex-vllm:bucket to have one "
        "made"
    )


def test_bad_setting_registers_nothing(recorder: Recorder, run: Run) -> None:
    own(grants="everything", bukcet="x")
    text = stopped(recorder, run)
    assert text.startswith("2 problems in Pulumi.local.yaml:\n")
    assert recorder.calls == []


def test_bad_stack_file_registers_nothing(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    own(stackFile="stacks/no-such.yaml")
    assert "there is no such file" in stopped(recorder, run)


def test_warnings_are_shown_and_exported(
    recorder: Recorder, exported: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_CLOUD_URL", "http://127.0.0.1:8099")
    own()
    warning = "LOCAL_CLOUD_URL is set: stack local goes to http://127.0.0.1:8099"
    assert result(exported, run)["warnings"] == [warning]
    assert recorder.messages == [("warning", warning)]


def test_the_program_imports_no_google_client() -> None:
    code = (
        "import sys, infra.program\n"
        "heavy = ('google.cloud.', 'google.api_core', 'google.auth', 'vertexai', 'openai', 'starlette', 'uvicorn',"
        " 'httpx', 'infra.local', 'infra.plugin')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_of_pulumi_gcp_only_what_is_used_is_imported() -> None:
    code = (
        "import sys, infra.program\n"
        "import importlib.util as u\n"
        "print(sorted({n.split('.')[1] for n, m in sys.modules.items() if n.startswith('pulumi_gcp.')"
        " and type(m).__name__ == 'module' and n.count('.') == 2}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", (
        "pulumi_gcp's modules are loaded when a resource is made, not on import"
    )
