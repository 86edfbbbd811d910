from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud

_LOG = "projects/local-project/logs/app"


def _write(cloud: LocalCloud, *entries: dict[str, Any], **common: Any) -> None:
    body = {"resource": {"type": "global"}, "logName": _LOG, **common, "entries": list(entries)}
    cloud.http.post("/v2/entries:write", json=body).raise_for_status()


def _list(cloud: LocalCloud, **body: Any) -> dict[str, Any]:
    answer = cloud.http.post("/v2/entries:list", json={"resourceNames": ["projects/local-project"], **body})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def test_written_entries_are_read_in_order(cloud: LocalCloud) -> None:
    _write(
        cloud,
        {"textPayload": "second", "timestamp": "2026-01-02T00:00:00Z", "severity": "error"},
        {"textPayload": "first", "timestamp": "2026-01-01T00:00:00.123456789Z", "labels": {"b": "2"}},
        labels={"a": "1"},
    )
    entries = _list(cloud)["entries"]
    assert [entry["textPayload"] for entry in entries] == ["first", "second"]
    first = entries[0]
    assert first["labels"] == {"a": "1", "b": "2"}
    assert (first["severity"], entries[1]["severity"]) == ("DEFAULT", "ERROR")
    assert first["resource"] == {"type": "global", "labels": {"project_id": "local-project"}}
    assert first["timestamp"] == "2026-01-01T00:00:00.123456Z"
    assert {"insertId", "receiveTimestamp"} <= set(first)
    newest = _list(cloud, orderBy="timestamp desc", pageSize=1)
    assert newest["entries"][0]["textPayload"] == "second"
    assert _list(cloud, filter='textPayload="none"') == {}


@pytest.mark.parametrize("order", ["timestamp asc", "timestamp desc"])
def test_paging(cloud: LocalCloud, order: str) -> None:
    _write(cloud, *({"textPayload": f"{number:02d}"} for number in range(25)))
    found: list[str] = []
    token = ""
    while True:
        page = _list(cloud, orderBy=order, pageSize=10, pageToken=token)
        found += [entry["textPayload"] for entry in page.get("entries", [])]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert found == sorted(found, reverse=order.endswith("desc"))
    assert len(found) == 25


def test_an_entry_sent_twice_is_kept_once(cloud: LocalCloud) -> None:
    entry = {"textPayload": "x", "insertId": "same", "timestamp": "2026-01-01T00:00:00Z"}
    _write(cloud, entry)
    _write(cloud, entry, {**entry, "insertId": "other"})
    assert len(_list(cloud)["entries"]) == 2


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"entries": [{"logName": "x", "resource": {"type": "global"}}]}, "Log name 'x' of entry 0"),
        ({"entries": [{"logName": _LOG}]}, "A monitored resource must be specified for log entry 0"),
        (
            {"logName": _LOG, "resource": {"type": "g"}, "entries": [{"severity": "LOUD"}]},
            "Invalid severity 'LOUD'",
        ),
        ({"logName": _LOG, "resource": {"type": "g"}, "entries": [{"timestamp": "x"}]}, '(Timestamp), "x"'),
        (
            {
                "logName": _LOG,
                "resource": {"type": "g"},
                "entries": [{"textPayload": "a", "jsonPayload": {}}],
            },
            "more than one payload",
        ),
        ({"entires": []}, 'Unknown name "entires"'),
    ],
)
def test_bad_writes(cloud: LocalCloud, body: dict[str, Any], text: str) -> None:
    answer = cloud.http.post("/v2/entries:write", json=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "resource_names"),
        ({"resourceNames": ["projects/local-project"], "orderBy": "severity"}, "Invalid order_by"),
        ({"resourceNames": ["folders/1"]}, "projects/PROJECT"),
        ({"resourceNames": ["projects/local-project"], "filter": "a="}, "Unparseable filter"),
    ],
)
def test_bad_reads(cloud: LocalCloud, body: dict[str, Any], text: str) -> None:
    answer = cloud.http.post("/v2/entries:list", json=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_rights_and_log_names(cloud: LocalCloud, account: Callable[..., Any]) -> None:
    _write(cloud, {"textPayload": "x"})
    body = {"resourceNames": ["projects/local-project"]}
    assert account("stranger").post("/v2/entries:list", json=body).status_code == 403
    assert (
        account("log-reader", "roles/logging.viewer").post("/v2/entries:list", json=body).status_code == 200
    )
    assert cloud.http.get("/v2/projects/local-project/logs").json() == {"logNames": [_LOG]}
    assert cloud.http.delete("/v2/projects/local-project/logs/app").status_code == 200
    assert _list(cloud) == {}
    assert cloud.http.delete("/v2/projects/local-project/logs/app").status_code == 404


def test_services_write_lines_for_their_resources(tmp_path: Any) -> None:
    from infra.local.cloud.core import Cloud, CloudConfig

    cloud = Cloud(CloudConfig(tmp_path))
    cloud.logs.append(
        "p", "a%2Fb", "t/Endpoint", {"endpoint_id": "1"}, [("INFO", "one"), ("ERROR", "two")], {"l": "m"}
    )
    entries = [entry for _, entry in cloud.logs.entries("p")]
    assert [entry["textPayload"] for entry in entries] == ["one", "two"]
    assert entries[0]["logName"] == "projects/p/logs/a%2Fb"
    assert entries[0]["resource"]["labels"] == {"project_id": "p", "endpoint_id": "1"}
    assert entries[0]["labels"] == {"l": "m"}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("severity>=²", 400),
        ("severity=99999999999999999999", 400),
        ('timestamp>="0001-01-01T00:00:00+01:00"', 400),
        ("jsonPayload.n>1", 200),
        ("jsonPayload.n=²", 200),
    ],
)
def test_odd_numbers_and_times_in_filters(cloud: LocalCloud, text: str, status: int) -> None:
    entry = {"jsonPayload": {"n": 10**400}}
    body = {"logName": "projects/local-project/logs/l", "resource": {"type": "global"}, "entries": [entry]}
    assert cloud.http.post("/v2/entries:write", json=body).status_code == 200
    answer = cloud.http.post(
        "/v2/entries:list", json={"resourceNames": ["projects/local-project"], "filter": text}
    )
    assert answer.status_code == status
