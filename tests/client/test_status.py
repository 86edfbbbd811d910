"""What an endpoint serves and costs: the figures and their limits, and `vertex-vllm status` on a local Google Cloud."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from infra.cli import status as command
from infra.cli.app import app
from infra.client.endpoint import find
from infra.client.google import Google
from infra.client.logs import Entry
from infra.client.status import Status, operations_of, requests_of, status_of
from infra.ids import endpoint_id
from tests.client.conftest import Served, model
from tests.local.cloud.aiplatform.helpers import Vertex
from tests.loopback import Answer, Request, serving

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 26, 18, 0, tzinfo=UTC)
L4 = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}


def deployed(id: str = "1", **changes: Any) -> dict[str, Any]:
    """A deployed model as Vertex AI answers it; ten hours old, 1.15069 USD an hour and replica."""
    resources = {"machineSpec": L4, "minReplicaCount": 1, "maxReplicaCount": 3} | changes.pop("resources", {})
    return {
        "id": id,
        "displayName": "llama",
        "model": "projects/1/locations/us-central1/models/m",
        "modelVersionId": "2",
        "createTime": "2026-11-26T08:00:00.123456789Z",
        "dedicatedResources": resources,
        "status": {"availableReplicaCount": 2},
    } | changes


def of(*found: dict[str, Any], **changes: Any) -> Status:
    """The status of an endpoint with these deployments."""
    document = {
        "name": "projects/1/locations/us-central1/endpoints/12",
        "displayName": "chat",
        "createTime": "2026-11-25T18:00:00Z",
        "labels": {"expiry": "2026-11-30"},
        "deployedModels": list(found),
        "trafficSplit": {"1": 90, "2": 10},
    }
    return status_of({**document, **changes}, region="us-central1", at=NOW)


def test_cost_is_price_times_time_for_the_least_and_the_most_replicas() -> None:
    now = of(deployed())
    assert now.usd_per_hour_now == pytest.approx(2 * 1.15069)
    assert now.usd_so_far == pytest.approx((11.5069, 34.5207), rel=1e-4)
    assert now.as_dict()["cost"] == {
        "now_usd_per_hour": 2.30138,
        "so_far_usd": {"least": pytest.approx(11.5069, rel=1e-4), "most": pytest.approx(34.5207, rel=1e-4)},
    }


def test_replicas_that_nobody_counted_are_not_none() -> None:
    now = of(deployed(status={}))
    assert now.deployments[0].available is None
    assert not now.ready
    assert now.usd_per_hour_now == pytest.approx(1.15069)  # the least
    assert now.as_dict()["deployments"][0]["replicas"] == {"available": None, "min": 1, "max": 3}


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    other = {"machineSpec": {"machineType": "z9-mega-1g"}}
    now = of(deployed(), deployed("2", resources=other))
    assert now.usd_per_hour_now is None
    assert now.usd_so_far is None
    assert now.as_dict()["cost"] == {"now_usd_per_hour": "unknown", "so_far_usd": "unknown"}
    assert now.deployments[0].usd_so_far is not None


def test_more_traffic_first_and_none_is_zero() -> None:
    now = of(deployed("3"), deployed("2"), deployed("1"))
    assert [(each.id, each.traffic) for each in now.deployments] == [("1", 90), ("2", 10), ("3", 0)]
    assert of(deployed("3")).ready is False  # it has a replica, but gets nothing


def test_no_deployment_costs_nothing() -> None:
    now = of(trafficSplit={})
    assert (now.ready, now.usd_per_hour_now, now.usd_so_far) == (False, 0, (0, 0))


@pytest.mark.parametrize(
    ("label", "days", "text"),
    [
        ("2026-11-30", 4, "2026-11-30, in 4 days"),
        ("2026-11-27", 1, "2026-11-27, in 1 day"),
        ("2026-11-26", 0, "2026-11-26, today"),
        ("2026-11-25", -1, "2026-11-25, passed 1 day ago"),
        ("never", None, "never"),
        ("", None, "no label expiry"),
    ],
)
def test_expiry(label: str, days: int | None, text: str) -> None:
    found = of(labels={"expiry": label} if label else {}).expiry
    assert (found.days_left, found.text) == (days, text)


@pytest.mark.parametrize(
    ("label", "passed", "text"),
    [
        ("12h", False, "12h after the deployment, in 2 h"),
        ("8h", True, "8h after the deployment, passed 2 h ago"),
        ("7d", False, "7d after the deployment, in 6 days"),
    ],
)
def test_a_duration_counts_from_the_deployment(label: str, passed: bool, text: str) -> None:
    found = of(deployed(), labels={"expiry": label}).expiry
    assert (found.passed, found.text) == (passed, text)
    assert of(labels={"expiry": label}, trafficSplit={}).expiry.text == f"{label} after a deployment"


def test_a_canary_has_its_own_expiry_and_not_the_endpoints() -> None:
    main = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "main", "expiry": "7d"}
    canary = {**main, "vertex-vllm-stack": "can", "expiry": "8h"}
    old = deployed(
        "2", createTime="2026-11-10T08:00:00Z", model="projects/1/locations/us-central1/models/can"
    )
    document = {
        "labels": main,
        "name": "projects/1/locations/us-central1/endpoints/12",
        "deployedModels": [deployed(), old],
    }
    models = {
        "projects/1/locations/us-central1/models/m": main,
        "projects/1/locations/us-central1/models/can": canary,
    }
    now = status_of(document, region="us-central1", at=NOW, models=models)
    assert now.expiry.text == "7d after the deployment, in 6 days"  # not counted from the canary's deployment
    found = {each.id: each.expiry for each in now.deployments}
    assert found["1"] is None
    assert found["2"] is not None
    assert found["2"].text == "8h after the deployment, passed 16 days ago"
    assert [each.get("expiry", {}).get("passed") for each in now.as_dict()["deployments"]] == [None, True]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({}, "shared"),
        (
            {"dedicatedEndpointEnabled": True, "dedicatedEndpointDns": "x.prediction.vertexai.goog"},
            "dedicated",
        ),
        ({"privateServiceConnectConfig": {"enablePrivateServiceConnect": True}}, "private"),
    ],
)
def test_kind(document: dict[str, Any], kind: str) -> None:
    assert of(**document).kind == kind


def operation(minute: int, kind: str = "DeployModel", **state: Any) -> dict[str, Any]:
    """An operation as Vertex AI answers it."""
    return {
        "name": f"projects/1/locations/us-central1/endpoints/12/operations/{minute}",
        "metadata": {
            "@type": f"type.googleapis.com/google.cloud.aiplatform.v1.{kind}OperationMetadata",
            "genericMetadata": {"createTime": f"2026-11-26T17:{minute:02d}:00Z"},
            **({"deploymentStage": state.pop("stage")} if "stage" in state else {}),
        },
        **state,
    }


def test_operations_that_run_or_failed_last() -> None:
    failed: dict[str, Any] = {"done": True, "error": {"code": 9, "message": "Model server \x1b[31mexited"}}
    found = operations_of(
        [
            operation(4, stage="ADDING_NODES_TO_CLUSTER"),
            operation(3, stage="DEPLOYMENT_TERMINATED", **failed),
            operation(2, "UndeployModel", done=True, response={}),
            operation(1, "UndeployModel", **failed),  # and the next one succeeded
            operation(0, **failed),  # another came after it
        ]
    )
    assert [(each.id, each.kind, each.done, each.stage, each.error) for each in found] == [
        ("3", "DeployModel", True, "DEPLOYMENT_TERMINATED", "Model server exited"),
        ("4", "DeployModel", False, "ADDING_NODES_TO_CLUSTER", ""),
    ]
    assert found[0].as_dict()["began"] == "2026-11-26T17:03:00Z"


def series(code: str, *values: str) -> dict[str, Any]:
    """A series of response_count, as Cloud Monitoring answers it."""
    points = [{"value": {"int64Value": value}} for value in values]
    return {"metric": {"labels": {"response_code": code}}, "points": points}


def test_requests_by_class() -> None:
    found = requests_of({"timeSeries": [series("200", "90", "5"), series("429", "3"), series("503", "2")]})
    assert (found.total, found.failed) == (100, 5)
    assert found.as_dict()["by_class"] == {"2xx": 95, "4xx": 3, "5xx": 2}
    assert requests_of({}).total == 0
    with pytest.raises(ValueError, match="no time series of response_count"):
        requests_of({"timeSeries": [{"points": []}]})


def test_what_monitoring_is_asked(served: Served) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(body=json.dumps({"timeSeries": [series("200", "7")]}).encode())

    environ = {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": served.cloud.url}
    endpoint = find(endpoint=served.names["shared"], environ=environ)
    with serving(answer) as url:
        environ["GOOGLE_MONITORING_CUSTOM_ENDPOINT"] = url
        with Google(endpoint, environ) as google:
            assert requests_of(google.responses(NOW)).total == 7
    from urllib.parse import parse_qs

    (request,) = asked
    query = {name: values[0] for name, values in parse_qs(request.query).items()}
    assert request.path == "/v3/projects/123456789012/timeSeries"
    assert query["filter"] == (
        'metric.type = "aiplatform.googleapis.com/prediction/online/response_count"'
        f' AND resource.labels.endpoint_id = "{endpoint.id}"'
    )
    assert (query["interval.startTime"], query["interval.endTime"]) == (
        "2026-11-26T17:00:00Z",
        "2026-11-26T18:00:00Z",
    )


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def outputs(served: Served, tmp_path: Path) -> str:
    """A file with the outputs of the stack with the dedicated endpoint."""
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(served.outputs("dedicated")))
    return str(file)


def run(*options: str) -> Result:
    result = CliRunner().invoke(app, ["status", *options])
    assert "Traceback" not in result.output
    return result


def test_page(outputs: str, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = run("--outputs", outputs)
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[0].startswith("dedicated  serves  20")
    assert f"endpoint  {served.names['dedicated']}" in lines
    assert f"kind      dedicated, {served.dns['dedicated']}" in lines
    assert "expiry    no label expiry" in lines
    assert any(line.endswith("nothing here: this is the local Google Cloud") for line in lines)
    assert any("g2-standard-12" in line and "1 of 1" in line and "100 %" in line for line in lines)
    assert any(line.strip() == "1 x L4" for line in lines)
    assert "No errors in the containers' logs of 24 hours." in lines
    assert "not read: requests: Cloud Monitoring has no figures of this project's predictions yet." in lines
    assert "\x1b[" not in result.output


@pytest.mark.parametrize("width", [30, 70, 80, 120])
def test_every_fact_of_a_deployment_is_shown_at_any_width(
    outputs: str, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("--outputs", outputs).stdout.splitlines()
    assert max(map(len, lines)) <= width
    for fact in ("deployment", "g2-standard-12", "1 x L4", "1 of 1", "100 %", " min", "USD so far"):
        assert any(fact in line for line in lines), fact


def test_a_pipe_is_wide(outputs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    (cost,) = [line for line in run("--outputs", outputs).stdout.splitlines() if line.startswith("cost ")]
    assert cost.rstrip().endswith("nothing here: this is the local Google Cloud")


def test_an_error_names_its_deployment_where_that_is_not_the_one_that_serves() -> None:
    def page(whose: str) -> str:
        error = Entry("2026-11-26T17:00:00Z", "ERROR", "it broke", whose, f"{whose}-0")
        now = replace(of(deployed("1")), errors=(error,))
        out = Console(width=200, file=StringIO())
        out.print(command._page(now))
        return str(out.file.getvalue())  # type: ignore[attr-defined]

    assert "17:00:00 ERROR    2-0 it broke" in page("2")
    assert "17:00:00 ERROR    it broke" in page("1")


def test_what_is_being_deployed_is_not_said_to_cost_nothing() -> None:
    out = Console(width=200, file=StringIO())
    now = replace(of(trafficSplit={}), operations=operations_of([operation(4)]))
    out.print(command._page(now))
    assert "No deployment yet: it serves nothing.\n" in out.file.getvalue()  # type: ignore[attr-defined]


def test_a_stopped_stack_behind_whose_endpoint_another_serves_is_said_to_be_stopped() -> None:
    out = Console(width=200, file=StringIO())
    out.print(command._page(replace(of(deployed("1")), stopped="The stack dev is stopped.")))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "The stack dev is stopped. What is deployed here is of other stacks" in text
    assert "No replica is billed" not in text


def test_json(outputs: str, served: Served) -> None:
    document = json.loads(run("--outputs", outputs, "--json").stdout)
    assert (document["ready"], document["kind"], document["local"]) == (True, "dedicated", True)
    assert document["endpoint"] == served.names["dedicated"]
    (found,) = document["deployments"]
    assert found["replicas"] == {"available": 1, "min": 1, "max": 1}
    assert found["cost"]["replica_usd_per_hour"] == 1.15069
    assert document["requests_last_hour"] is None
    assert document["last_errors"] == []


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(outputs: str, served: Served) -> None:
    fault = {"code": "PERMISSION_DENIED", "message": "Permission denied for all log views"}
    served.cloud.admin.fault("/v2/entries:list", status=fault)
    document = json.loads(run("--outputs", outputs, "--json").stdout)
    assert document["ready"]
    assert document["last_errors"] is None
    assert any(note.startswith("errors: ") and "roles/logging.viewer" in note for note in document["notes"])


def test_a_deployment_that_failed_is_told_with_its_error(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    vertex = Vertex(served.cloud)
    vertex.endpoint("1003", displayName="broken")
    large: Any = model()
    large["containerSpec"]["args"].append("--max-model-len=131072")
    vertex.done("POST", "models:upload", {"modelId": "m3", "model": large})
    begun = vertex.ok("POST", "endpoints/1003:deployModel", vertex.deployment(model_id="m3"))
    assert "error" in served.cloud.finished(f"/v1/{begun['name']}")
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", served.cloud.url)
    monkeypatch.setenv("COLUMNS", "300")
    name = served.names["shared"].replace("/1001", "/1003")
    page = CliRunner().invoke(app, ["status", "--endpoint", name]).stdout
    assert "broken  does not serve" in page
    assert re.search(r"DeployModel of 20[-0-9: ]+ failed, FAILED_TO_DEPLOY: Model server exited", page)
    assert f"why: vertex-vllm diagnose --endpoint {name}" in page
    assert "Last errors" in page
    assert "ERROR    1-0 torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate " in page
    document = json.loads(CliRunner().invoke(app, ["status", "--endpoint", name, "--json"]).stdout)
    assert document["ready"] is False
    assert document["operations"][0]["done"]
    assert len(document["last_errors"]) <= 5


def test_a_stack_without_outputs_is_looked_up_by_its_settings(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stacks").mkdir()
    stack_file = "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
    (tmp_path / stack_file).write_text((ROOT / stack_file).read_text())
    (tmp_path / "Pulumi.yaml").write_text("name: vertex-vllm\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config:\n  gcp:project: local-project\n  gcp:region: us-central1\n"
        f"  vertex-vllm:hfToken: {{secure: v1:abc}}\n  vertex-vllm:stackFile: {stack_file}\n"
    )
    monkeypatch.setattr("infra.client.endpoint.ROOT", tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HF_TOKEN", "hf_local")
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", served.cloud.url)
    result = run("--stack", "dev", "--json")
    assert result.exit_code == 8  # no pulumi, and no such endpoint
    assert "There is no pulumi on PATH" in result.stderr
    chosen = endpoint_id("local-project", "us-central1", "vertex-vllm/dev")
    Vertex(served.cloud).endpoint(chosen, displayName="not yet")
    result = run("--stack", "dev", "--json")
    assert result.exit_code == 0, result.output
    assert (
        f"By its settings the endpoint is projects/123456789012/locations/us-central1/endpoints/{chosen}."
        in (result.stderr)
    )
    document = json.loads(result.stdout)
    assert (document["name"], document["ready"], document["deployments"]) == ("not yet", False, [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stack", "dev", "--outputs", "FILE"), "--endpoint ID, not --stack and --outputs."),
        (("--outputs", "FILE", "--project", "p"), "--project is for --endpoint ID"),
        (("--stack", "dev", "--region", "r"), "--region is for --endpoint ID"),
        (("--stack", ""), "--stack is empty"),
    ],
)
def test_options_that_contradict_each_other(outputs: str, options: tuple[str, ...], said: str) -> None:
    result = run(*(outputs if each == "FILE" else each for each in options))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "By its settings" not in result.stderr


def test_watch_looks_again_until_it_is_interrupted(
    outputs: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            served.cloud.admin.fault(
                "/endpoints/", method="GET", status={"code": "UNAVAILABLE", "message": "down"}
            )
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("infra.cli.status.time.sleep", sleep)
    result = run("--outputs", outputs, "--watch", "--every", "2", "--json")
    assert result.exit_code == 130
    assert slept == [2, 2, 2]
    assert [json.loads(line)["ready"] for line in result.stdout.splitlines()] == [True, True]
    assert "answers 503: down It is asked again." in result.stderr
    assert served.cloud.admin.unmet_faults() == []


@pytest.mark.parametrize("terminal", [False, True])
def test_watch_for_people(outputs: str, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("infra.cli.status.time.sleep", sleep)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    result = run("--outputs", outputs, "--watch")
    assert result.exit_code == 130
    assert slept == [10, 10]
    assert result.stdout.count("1 of 1") >= 2
    assert ("\x1b[" in result.stdout) == terminal


def test_an_endpoint_that_is_gone(tmp_path: Path, served: Served) -> None:
    file = tmp_path / "outputs.json"
    old = {
        name: value.replace("/1002", "/1999") if isinstance(value, str) else value
        for name, value in served.outputs("shared").items()
    }
    file.write_text(json.dumps({**old, "endpoint": served.names["shared"].replace("/1001", "/1999")}))
    result = run("--outputs", str(file))
    assert result.exit_code == 2
    assert "endpoints/1999 any more. pulumi refresh" in result.stderr
