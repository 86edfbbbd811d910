"""Container logs: the filter, times, reading in pages, following, and `vertex-vllm logs` on a local Google Cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli import completion
from infra.cli import logs as command
from infra.cli.app import app
from infra.client.google import Google
from infra.client.logs import (
    SEVERITIES,
    Entry,
    console_url,
    follow,
    log_filter,
    newest,
    parse_since,
    printable,
)
from infra.local.cloud.cloudlogging.filters import compile_filter
from tests.client.conftest import Served

NOW = datetime(2026, 11, 26, 18, 0, tzinfo=UTC)


def entry(second: int, text: str = "", **more: Any) -> dict[str, Any]:
    """An entry as Cloud Logging answers it."""
    moment = (NOW + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "timestamp": moment,
        "insertId": f"i{second}{text}",
        "textPayload": text or f"line {second}",
        **more,
    }


# The filter --------------------------------------------------------------------------------------------------------


def test_filter() -> None:
    assert log_filter("12") == (
        'resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id="12"'
        ' AND NOT log_id("aiplatform.googleapis.com/prediction_access")'
    )
    whole = log_filter("12", deployed_model_id="7", severity="DEBUG", text='a "b" \\', since=NOW, access=True)
    assert whole == (
        'resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id="12"'
        ' AND labels.deployed_model_id="7" AND severity>=DEBUG'
        ' AND (textPayload:"a \\"b\\" \\\\" OR jsonPayload.message:"a \\"b\\" \\\\")'
        ' AND timestamp>="2026-11-26T18:00:00.000000Z"'
    )


LEVELS = [
    # what Cloud Logging calls it (stderr is ERROR, stdout INFO), the line, its level
    ("INFO", "INFO 11-26 18:00:00 api_server.py:528] vLLM API server version 0.6.2", "INFO"),
    ("INFO", "WARNING 11-26 18:00:00 config.py:321] To see benefits of async output processing", "WARNING"),
    ("INFO", "ERROR 11-26 18:00:00 engine.py:366] CUDA out of memory", "ERROR"),
    ("INFO", "(EngineCore_DP0 pid=132) ERROR 11-26 18:00:00 [core.py:700] EngineCore failed", "ERROR"),
    ("INFO", "\x1b[1;36m(Worker rank=1 pid=7)\x1b[0;0m WARNING 11-26 18:00:00 [x.py:1] a", "WARNING"),
    ("INFO", 'INFO:     10.0.0.1:34 - "POST /generate HTTP/1.1" 200 OK', "INFO"),
    ("ERROR", "INFO:     Application startup complete.", "INFO"),
    ("ERROR", "ERROR:    Application startup failed. Exiting.", "ERROR"),
    ("ERROR", "CRITICAL: out of everything", "CRITICAL"),
    ("ERROR", "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03]", "INFO"),
    ("ERROR", "Capturing CUDA graph shapes:  10%|█         | 3/35 [00:01<00:15,  2.1it/s]", "INFO"),
    ("ERROR", "Traceback (most recent call last):", "ERROR"),
    ("ERROR", "INFORMATION that is no level", "ERROR"),
    ("DEFAULT", "a line", "DEFAULT"),
]


@pytest.mark.parametrize("payload", ["textPayload", "jsonPayload"])
@pytest.mark.parametrize("at_least", SEVERITIES)
def test_a_line_has_the_level_that_it_says(at_least: str, payload: str) -> None:
    """The filter selects by it, and it is shown: what is asked for is what is seen."""
    resource = {"type": "aiplatform.googleapis.com/Endpoint", "labels": {"endpoint_id": "12"}}
    selects = compile_filter(log_filter("12", severity=at_least))
    for number, (given, line, level) in enumerate(LEVELS):
        said = line if payload == "textPayload" else {"message": line}
        found = entry(number) | {"textPayload": None, payload: said, "severity": given, "resource": resource}
        ask, _ = pages({"entries": [found]})
        (shown,) = newest(ask, "p", "", 1)
        assert shown.severity == level
        assert selects(found) is (SEVERITIES.index(level) >= SEVERITIES.index(at_least)), line


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {"old", "json", "error", "other"}),
        ({"severity": "WARNING"}, {"error"}),
        ({"text": "CACHE"}, {"json", "error"}),
        ({"deployed_model_id": "8"}, {"other"}),
        ({"since": NOW}, {"json", "error", "other"}),
        ({"access": True}, {"old", "json", "error", "other", "access"}),
    ],
)
def test_what_the_filter_selects(options: dict[str, Any], wanted: set[str]) -> None:
    resource = {"type": "aiplatform.googleapis.com/Endpoint", "labels": {"endpoint_id": "12"}}
    log = "projects/p/logs/aiplatform.googleapis.com%2Fprediction_container"
    common = {"resource": resource, "logName": log, "labels": {"deployed_model_id": "7"}}
    entries = {
        "old": common | entry(-9),
        "json": common | entry(1) | {"textPayload": None, "jsonPayload": {"message": "KV cache size"}},
        "error": common | entry(2, "no cache", severity="ERROR"),
        "other": common | entry(3) | {"labels": {"deployed_model_id": "8"}},
        "access": common | entry(-9) | {"logName": log.replace("_container", "_access")},
        "elsewhere": common | entry(5) | {"resource": resource | {"labels": {"endpoint_id": "13"}}},
    }
    selects = compile_filter(log_filter("12", **options))
    assert {name for name, each in entries.items() if selects(each)} == wanted


def test_link() -> None:
    assert console_url("my-project", 'a="b" AND c') == (
        "https://console.cloud.google.com/logs/query;query=a%3D%22b%22%20AND%20c?project=my-project"
    )


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1.5h", 5400),
        (" 2d ", 172800),
        ("1w", 604800),
        ("2026-11-26T17:00:00Z", 3600),
    ],
)
def test_since(text: str, ago: float) -> None:
    assert NOW - parse_since(text, NOW) == timedelta(seconds=ago)


@pytest.mark.parametrize("text", ["", "5", "yesterday", "-1h", "99999999999w"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a duration"):
        parse_since(text, NOW)


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    assert printable("\x1b[1;36m(Engine pid=7)\x1b[0m\tERROR\x1b]0;title\x07 a\x07\r\nb\u200e ñ 漢") == (
        "(Engine pid=7)    ERROR a·\nb· ñ 漢"
    )


# Reading and following ---------------------------------------------------------------------------------------------


def pages(*answers: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """A service that gives these answers one after the other, and what it was asked."""
    asked: list[dict[str, Any]] = []

    def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        asked.append(body)
        return answers[len(asked) - 1]

    return ask, asked


def test_the_newest_in_pages_oldest_first() -> None:
    ask, asked = pages(
        {"entries": [entry(5), entry(4)], "nextPageToken": "a"},
        {"nextPageToken": "b"},  # a search that took too long
        {"entries": [entry(3)], "nextPageToken": "c"},
    )
    found = newest(ask, "p", "f", 3)
    assert [each.text for each in found] == ["line 3", "line 4", "line 5"]
    assert [each.get("pageToken") for each in asked] == [None, "a", "b"]
    assert [each["pageSize"] for each in asked] == [3, 1, 1]
    assert asked[0]["resourceNames"] == ["projects/p"]
    assert asked[0]["orderBy"] == "timestamp desc"


def test_following_shows_each_once_also_what_comes_late() -> None:
    ask, asked = pages(
        {"entries": [entry(1), entry(10)], "nextPageToken": "a"},
        {"entries": [entry(11)]},
        {"entries": [entry(9, "late"), entry(10), entry(11), entry(11, "same moment")]},
        {"entries": [entry(60)]},
    )
    slept: list[float] = []
    queries: list[datetime] = []

    def query(since: datetime) -> str:
        queries.append(since)
        return since.isoformat()

    shown = [Entry(entry(1)["timestamp"], "INFO", "line 1", insert_id="i1")]
    begin = NOW - timedelta(hours=1)
    lines = follow(ask, "p", query, shown=shown, since=begin, every_s=7, sleep=slept.append)
    assert [each.text for each in islice(lines, 5)] == [
        "line 10",
        "line 11",
        "late",
        "same moment",
        "line 60",
    ]
    assert slept == [7, 7]
    assert [(each - NOW).total_seconds() for each in queries] == [-29, -19, -19]
    assert asked[1]["pageToken"] == "a"


def test_following_does_not_show_what_was_beyond_the_limit() -> None:
    had, got = (
        {"receiveTimestamp": (NOW + timedelta(seconds=seconds)).isoformat()} for seconds in (2.0, 2.000001)
    )
    ask, _ = pages({"entries": [entry(0, **had), entry(0, "late", **got), entry(1, **had), entry(2, **got)]})
    shown = [Entry(entry(1)["timestamp"], "INFO", "line 1", insert_id="i1", received=had["receiveTimestamp"])]
    lines = follow(ask, "p", datetime.isoformat, shown=shown, since=NOW)
    assert [each.text for each in islice(lines, 2)] == ["late", "line 2"]


def test_following_begins_no_earlier_than_asked() -> None:
    ask, asked = pages({"entries": [entry(1)]})
    next(follow(ask, "p", datetime.isoformat, shown=[], since=NOW))
    assert asked[0]["filter"] == NOW.isoformat()


def test_a_token_that_a_container_wrote_is_not_shown() -> None:
    token = "hf_" + "a1" * 17
    ask, _ = pages({"entries": [entry(1, f"token={token} is not valid")]})
    (found,) = newest(ask, "p", "f", 1)
    assert token not in found.text
    assert found.text.endswith(" is not valid")


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def outputs(served: Served, tmp_path: Path) -> str:
    """A file with the outputs of the stack with the shared endpoint."""
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(served.outputs("shared")))
    return str(file)


def run(*options: str) -> Result:
    result = CliRunner().invoke(app, ["logs", *options])
    assert "Traceback" not in result.output
    return result


def test_lines_on_stdout_filter_and_link_on_stderr(outputs: str) -> None:
    result = run("--outputs", outputs, "-n", "3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith(
        "INFO     INFO:     Uvicorn running on http://0.0.0.0:8080 (Press CTRL+C to quit)"
    )
    assert "Only the newest 3; --limit N shows more." in result.stderr
    assert 'filter: resource.type="aiplatform.googleapis.com/Endpoint"' in result.stderr
    assert 'labels.deployed_model_id="1"' in result.stderr
    assert "console: https://console.cloud.google.com/logs/query;query=resource.type%3D" in result.stderr
    assert "\x1b[" not in result.output


def test_json_holds_the_filter_that_finds_the_same(outputs: str, served: Served) -> None:
    document = json.loads(run("--outputs", outputs, "--text", "gpu blocks", "--json").stdout)
    (found,) = document["entries"]
    assert "# GPU blocks:" in found["text"]
    assert (found["severity"], found["deployed_model_id"], found["replica_id"]) == ("INFO", "1", "1-0")
    body = {"resourceNames": ["projects/local-project"], "filter": document["filter"]}
    answer = served.cloud.http.post("/v2/entries:list", json=body).json()
    assert [each["textPayload"] for each in answer["entries"]] == [found["text"]]


def test_by_endpoint_every_deployment_is_shown_with_its_replica(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", served.cloud.url)
    result = run("--endpoint", served.names["dedicated"], "-n", "1")
    assert result.exit_code == 0, result.output
    assert " INFO     1-0 INFO: " in result.stdout
    assert "deployed_model_id" not in result.stderr


def test_nothing_selected(outputs: str) -> None:
    result = run("--outputs", outputs, "--severity", "error", "--since", "2h")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No such entries since 2h. --since 7d looks further back." in result.stderr
    assert "further back" not in run("--outputs", outputs, "--severity", "error", "--since", "8d").stderr


def test_only_the_query(outputs: str) -> None:
    document = json.loads(run("--outputs", outputs, "--query", "--severity", "warn", "--json").stdout)
    assert " AND ((severity>=WARNING AND NOT (textPayload=~" in document["filter"]
    assert document["console"].startswith("https://console.cloud.google.com/logs/query;query=")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--severity", "loud"), "--severity loud: there is no such level. One of default, debug, "),
        (("--since", "noon"), "--since 'noon' is neither a duration (30m, 2h, 1d) nor a time"),
        (("--all", "--deployment", "1"), "--all and --deployment ID exclude each other."),
    ],
)
def test_wrong_usage(outputs: str, options: tuple[str, ...], said: str) -> None:
    result = run("--outputs", outputs, *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_following_goes_on_until_it_is_interrupted(
    outputs: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, endpoint_id = "projects/local-project", served.names["shared"].rpartition("/")[2]

    def write_or_interrupt(_: float) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(True)
        body = {
            "logName": f"{project}/logs/aiplatform.googleapis.com%2Fprediction_container",
            "resource": {
                "type": "aiplatform.googleapis.com/Endpoint",
                "labels": {"endpoint_id": endpoint_id},
            },
            "labels": {"deployed_model_id": "1"},
            "entries": [{"severity": "WARNING", "textPayload": "a new line\nand its second"}],
        }
        served.cloud.http.post("/v2/entries:write", json=body).raise_for_status()

    written: list[bool] = []
    monkeypatch.setattr(
        follow, "__kwdefaults__", {**(follow.__kwdefaults__ or {}), "sleep": write_or_interrupt}
    )
    result = run("--outputs", outputs, "-n", "1", "--follow", "--json")
    assert result.exit_code == 130
    first, second = (json.loads(each) for each in result.stdout.splitlines())
    assert first["severity"] == "INFO"
    assert (second["severity"], second["text"]) == ("WARNING", "a new line\nand its second")


def test_a_service_that_refuses_has_a_status_of_its_own(
    outputs: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"code": "PERMISSION_DENIED", "message": "Permission denied for all log views"}
    served.cloud.admin.fault("/v2/entries:list", status=fault)
    result = run("--outputs", outputs)
    assert result.exit_code == 8
    assert (
        "answers 403: Permission denied for all log views\n  the role roles/logging.viewer" in result.stderr
    )


def test_a_local_endpoint_sends_nothing_elsewhere(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.client import find

    environ = {
        "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": served.cloud.url,
        "GOOGLE_LOGGING_CUSTOM_ENDPOINT": "https://logging.googleapis.com/v2",
        "GOOGLE_MONITORING_CUSTOM_ENDPOINT": "https://monitoring.googleapis.com/v3",
    }
    google = Google(find(endpoint=served.names["shared"], environ=environ), environ)
    assert google._logging == f"{served.cloud.url}/v2"
    assert google._monitoring == f"{served.cloud.url}/v3"


def test_levels_are_cloud_loggings_and_complete() -> None:
    assert command._LEVELS == SEVERITIES
    assert [level.upper() for level in completion.levels("")] == list(SEVERITIES[1:])
