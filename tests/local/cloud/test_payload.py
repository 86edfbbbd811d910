"""Bodies as other people's clients send them: compressed, as forms, with proto names, in a posted GET; broken ones."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest

from infra.local.cloud.errors import GoogleError
from infra.local.cloud.payload import MAX_DEPTH, decode_json
from infra.local.cloud.testing import LocalCloud

_PROJECT = "/v1/projects/local-project"
_JSON = {"content-type": "application/json"}
#: One method of every service that reads JSON.
_METHODS = [
    ("POST", f"{_PROJECT}/serviceAccounts"),
    ("POST", f"{_PROJECT}:setIamPolicy"),
    ("POST", "/v3/projects/local-project:testIamPermissions"),
    ("POST", f"{_PROJECT}/services:batchEnable"),
    ("POST", "/v2/entries:write"),
    ("POST", "/v2/entries:list"),
    ("POST", "/storage/v1/b?project=local-project"),
    ("POST", f"{_PROJECT}/locations/us-central1/endpoints"),
    ("POST", f"{_PROJECT}/locations/us-central1/models:upload"),
    ("PUT", "/_local/quotas"),
]


def _nested(depth: int) -> bytes:
    return b'{"labels":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(("method", "path"), _METHODS)
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_nested(200_000), "Message too deep"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "Message too deep"),
        (b'{"displayName": NaN}', "Unexpected token"),
        (b'{"displayName": "\\ud800"}', "Missing low surrogate"),
        (b'{"displayName": "\xff"}', "Unexpected token"),
    ],
)
def test_broken_json_is_refused_everywhere(
    cloud: LocalCloud, method: str, path: str, body: bytes, text: str
) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    answer = cloud.http.request(method, path, content=body, headers=_JSON)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_how_deep_is_too_deep() -> None:
    assert decode_json(_nested(MAX_DEPTH - 1))["labels"]
    with pytest.raises(GoogleError, match="Message too deep"):
        decode_json(_nested(MAX_DEPTH))
    assert len(decode_json(b"[" + b"[],[{}]," * 500 + b"0]")) == 1001
    assert decode_json(b'["\\ud83d\\ude00"]') == ["\N{GRINNING FACE}"]


def test_requests_may_be_compressed(cloud: LocalCloud) -> None:
    def send(content: bytes, encoding: str = "gzip") -> httpx.Response:
        headers = {**_JSON, "content-encoding": encoding}
        return cloud.http.post(f"{_PROJECT}/serviceAccounts", content=content, headers=headers)

    body = b'{"accountId": "abcdef"}'
    assert send(gzip.compress(body)).json()["email"].startswith("abcdef@")
    assert send(gzip.compress(b'{"accountId": "ghijkl"}'), "GZIP").status_code == 200
    for content, encoding, text in (
        (body, "gzip", "is not gzip"),
        (gzip.compress(body)[:-9], "gzip", "ends too early"),
        (body, "br", "Unsupported content encoding 'br'"),
        (gzip.compress(bytes(40 * 2**20)), "gzip", "exceeds the limit"),
    ):
        answer = send(content, encoding)
        assert (answer.status_code, text in answer.text) == (400, True), answer.text


def test_json_that_is_sent_as_a_form_is_refused(cloud: LocalCloud) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = cloud.http.post(
        f"{_PROJECT}/serviceAccounts", content=b'{"accountId":"abcdef"}', headers=headers
    )
    assert answer.status_code == 400
    assert 'Unknown name "{"accountId":"abcdef"}": Cannot bind query' in answer.json()["error"]["message"]
    assert cloud.http.post(f"{_PROJECT}:getIamPolicy", content=b"", headers=headers).status_code == 200


def test_fields_may_have_their_proto_names(cloud: LocalCloud) -> None:
    body: dict[str, Any] = {"account_id": "abcdef", "service_account": {"display_name": "Shown"}}
    made = cloud.http.post(f"{_PROJECT}/serviceAccounts", json=body)
    assert made.json()["displayName"] == "Shown"
    assert len(cloud.http.get(f"{_PROJECT}/services?page_size=1").json()["services"]) == 1
    named = f"{_PROJECT}/services:batchGet"
    service = "projects/local-project/services/storage.googleapis.com"
    assert cloud.http.get(named, params={"names": service}).json()["services"][0]["state"] == "ENABLED"
    entries = [{"text_payload": "x", "labels": {"snake_key": "stays"}, "json_payload": None}]
    log = {
        "log_name": "projects/local-project/logs/l",
        "resource": {"type": "global"},
        "dry_run": False,
        "entries": entries,
    }
    assert cloud.http.post("/v2/entries:write", json=log).status_code == 200
    listed = cloud.http.post("/v2/entries:list", json={"resource_names": ["projects/local-project"]}).json()
    assert (listed["entries"][0]["textPayload"], listed["entries"][0]["labels"]) == (
        "x",
        {"snake_key": "stays"},
    )
    twice = cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "a", "account_id": "b"})
    assert 'Unknown name "account_id"' in twice.json()["error"]["message"]
    bucket = cloud.http.post(
        "/storage/v1/b?project=local-project", json={"name": "bucket", "storage_class": "X"}
    )
    assert 'Unknown name "storage_class"' in bucket.json()["error"]["message"]


def test_a_get_may_be_posted(cloud: LocalCloud) -> None:
    # What googleapiclient does when a URL would have more than 2,048 characters.
    path = f"{_PROJECT}/services"
    answer = cloud.http.post(
        f"{path}?pageSize=1",
        content=b"filter=state%3AENABLED&fields=services%2Fstate",
        headers={"x-http-method-override": "GET", "content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.json() == {"services": [{"state": "ENABLED"}]}
    made = cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"}).json()
    gone = cloud.http.post(f"/v1/{made['name']}", headers={"x-http-method-override": "DELETE"})
    assert gone.status_code == 200
    assert cloud.http.get(f"/v1/{made['name']}").status_code == 404
    assert cloud.http.post(path, headers={"x-http-method-override": "EXPLODE"}).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "fields=" + "a(" * 3000,
        "fields=" + "a/" * 3000 + "a",
        "filter=" + "(" * 3000,
        "filter=" + "NOT " * 3000 + "a",
    ],
)
def test_expressions_are_not_endlessly_deep(cloud: LocalCloud, query: str) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    name, _, text = query.partition("=")
    answer = cloud.http.get(f"{_PROJECT}/locations/us-central1/endpoints", params={name: text})
    assert answer.status_code == 400
    if name == "filter":
        answer = cloud.http.post(
            "/v2/entries:list", json={"resourceNames": ["projects/local-project"], name: text}
        )
        assert answer.status_code == 400
        assert "nested deeper than" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", b'{"advanceSeconds": 1e308}'),
        ("clock", b'{"offsetSeconds": 1e999}'),
        ("clock", b'{"advanceSeconds": -1e10}'),
        ("timing", b'{"stageSeconds": -1}'),
        ("timing", b'{"iamPropagationSeconds": 1e999}'),
    ],
)
def test_impossible_times_are_refused_and_change_nothing(cloud: LocalCloud, path: str, body: bytes) -> None:
    before = cloud.http.get("/_local/timing").json()
    assert cloud.http.put(f"/_local/{path}", content=body).status_code == 400
    assert cloud.http.get("/_local/timing").json() == before
    assert cloud.http.put("/_local/clock", json={}).json()["offsetSeconds"] == 0


@pytest.mark.parametrize("limit", ["9" * 5000, "9" * 20, "²", "-", 2**63, True, 1.5])
def test_numbers_that_are_no_int64(cloud: LocalCloud, limit: Any) -> None:
    answer = cloud.http.put("/_local/quotas", json={"Q": {"us-central1": limit}})
    assert answer.status_code == 400
    assert "(TYPE_INT64)" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{_PROJECT}/services:batchEnable", {"serviceIds": [None]}),
        ("POST", f"{_PROJECT}:testIamPermissions", {"permissions": ["aiplatform.endpoints.get", None]}),
        ("POST", f"{_PROJECT}:setIamPolicy", {"policy": {"bindings": [None]}}),
        ("POST", f"{_PROJECT}:setIamPolicy", {"policy": {"bindings": [{"role": "r", "members": [None]}]}}),
        ("POST", "/v2/entries:list", {"resourceNames": [None]}),
        ("POST", "/v2/entries:write", {"entries": [None]}),
        ("PUT", "/_local/capacity", {"us-central1": None}),
        ("PUT", "/_local/quotas", {"Q": None}),
    ],
)
def test_null_is_no_element(cloud: LocalCloud, method: str, path: str, body: Any) -> None:
    answer = cloud.http.request(method, path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith(", null")
