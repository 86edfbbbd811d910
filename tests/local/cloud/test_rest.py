"""What every method shares: strictness, credentials, envelopes, partial responses."""

from __future__ import annotations

import pytest

from infra.local.cloud.testing import LocalCloud

_PROJECT = "/v1/projects/local-project"


def test_unknown_body_fields_are_refused_with_googles_text(cloud: LocalCloud) -> None:
    body = {"accountId": "abcdef", "serviceAccount": {"displayNam": "x"}, "zzz": 1}
    answer = cloud.http.post(f"{_PROJECT}/serviceAccounts", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["status"] == "INVALID_ARGUMENT"
    assert error["message"].splitlines() == [
        "Invalid JSON payload received. Unknown name \"displayNam\" at 'serviceAccount': Cannot find field.",
        'Invalid JSON payload received. Unknown name "zzz": Cannot find field.',
    ]
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert error["details"][0]["fieldViolations"][0]["field"] == "serviceAccount"


def test_unknown_query_parameters_are_refused_and_system_ones_are_not(cloud: LocalCloud) -> None:
    assert cloud.http.get(f"{_PROJECT}?alt=json&prettyPrint=false&quotaUser=x&key=k").status_code == 200
    answer = cloud.http.get(f"{_PROJECT}/services?pageSise=2")
    assert answer.status_code == 400
    assert 'Unknown name "pageSise": Cannot bind query parameter.' in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "Invalid JSON payload received"),
        (b"[1]", "Root element must be a message"),
        (b'{"accountId": 3}', "Invalid value at 'accountId' (TYPE_STRING), 3"),
        (b'{"accountId": true}', "Invalid value at 'accountId' (TYPE_STRING), true"),
        (b'{"serviceAccount": "x"}', "Invalid value at 'serviceAccount' (message), \"x\""),
        (b"\xff", "Invalid JSON payload received"),
    ],
)
def test_bad_payloads(cloud: LocalCloud, content: bytes, text: str) -> None:
    answer = cloud.http.post(f"{_PROJECT}/serviceAccounts", content=content)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/projects/local-project/nothing"),
        ("DELETE", "/v1/projects/local-project"),
        ("POST", "/v1/projects/local-project:getIamPolice"),
        ("PATCH", "/v1/projects/local-project/services"),
        ("GET", "/_local/nothing"),
    ],
)
def test_wrong_paths_and_methods_are_404(cloud: LocalCloud, method: str, path: str) -> None:
    answer = cloud.http.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


def test_tokens(cloud: LocalCloud) -> None:
    def status(token: str) -> int:
        return cloud.http.get(_PROJECT, headers={"authorization": token}).status_code

    assert status("Bearer local") == 200
    assert status("bearer local") == 200
    assert status("Bearer expired") == 401
    assert status("Bearer whatever") == 401
    assert status("Basic bG9jYWw=") == 401
    assert cloud.http.get(f"{_PROJECT}?access_token=expired").status_code == 401
    error = cloud.http.get(_PROJECT, headers={"authorization": "Bearer expired"}).json()["error"]
    assert error["status"] == "UNAUTHENTICATED"
    assert error["message"].startswith("Request had invalid authentication credentials.")
    assert error["details"][0]["reason"] == "ACCESS_TOKEN_EXPIRED"


def test_the_request_log_tells_callers_but_no_foreign_token(cloud: LocalCloud) -> None:
    for token in ("Bearer local", "Bearer sa:a@b", "Bearer ya29.somebodys-own", ""):
        cloud.http.get(f"{_PROJECT}?alt=json", headers={"authorization": token} if token else {})
    records = cloud.admin.requests("local-project", "GET")
    assert [record["caller"] for record in records] == ["local", "sa:a@b", "unknown token", "local"]
    assert [record["status"] for record in records] == [200, 403, 401, 200]
    assert "ya29" not in str(records)
    cloud.admin.call("DELETE", "requests")
    assert cloud.admin.requests() == []


def test_partial_responses_and_pretty_printing(cloud: LocalCloud) -> None:
    path = f"{_PROJECT}/services?filter=state:ENABLED&pageSize=2"
    answer = cloud.http.get(path + "&fields=services/name,nextPageToken&prettyPrint=false")
    assert b"\n" not in answer.content
    assert set(answer.json()) == {"services", "nextPageToken"}
    assert all(set(service) == {"name"} for service in answer.json()["services"])
    assert b'\n  "services"' in cloud.http.get(path).content
    assert cloud.http.get(path + "&fields=services(").status_code == 400


def test_a_disabled_api_is_refused_with_the_link_that_enables_it(cloud: LocalCloud) -> None:
    cloud.http.post(f"{_PROJECT}/services/logging.googleapis.com:disable", json={}).raise_for_status()
    answer = cloud.http.post("/v2/entries:list", json={"resourceNames": ["projects/local-project"]})
    error = answer.json()["error"]
    assert answer.status_code == 403
    assert error["status"] == "PERMISSION_DENIED"
    assert error["message"] == (
        "Cloud Logging API has not been used in project 123456789012 before or it is disabled. Enable it by "
        "visiting https://console.developers.google.com/apis/api/logging.googleapis.com/overview?"
        "project=123456789012 then retry. If you enabled this API recently, wait a few minutes for the action to "
        "propagate to our systems and retry."
    )
    info = error["details"][0]
    assert (info["reason"], info["domain"]) == ("SERVICE_DISABLED", "googleapis.com")
    assert info["metadata"]["consumer"] == "projects/123456789012"


def test_a_project_that_does_not_exist(cloud: LocalCloud) -> None:
    error = cloud.http.get("/v1/projects/nope/services").json()["error"]
    assert (error["code"], error["message"]) == (403, "Permission denied on resource project nope.")
    assert error["details"][1]["reason"] == "CONSUMER_INVALID"
    made = cloud.admin.call("POST", "projects", {"projectId": "nope", "projectNumber": "42"})
    assert made == {"projectId": "nope", "projectNumber": "42"}
    assert cloud.http.get("/v1/projects/42/services").json()["services"][0]["parent"] == "projects/42"
