from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud

_BASE = "/v1/projects/local-project/serviceAccounts"
_EMAIL = "vertex-sa@local-project.iam.gserviceaccount.com"


@pytest.fixture
def made(cloud: LocalCloud) -> dict[str, Any]:
    body = {"accountId": "vertex-sa", "serviceAccount": {"displayName": "Serving"}}
    answer: dict[str, Any] = cloud.http.post(_BASE, json=body).raise_for_status().json()
    return answer


def test_life(cloud: LocalCloud, made: dict[str, Any]) -> None:
    assert made["name"] == f"projects/local-project/serviceAccounts/{_EMAIL}"
    assert (made["email"], made["displayName"], made["projectId"]) == (_EMAIL, "Serving", "local-project")
    assert len(made["uniqueId"]) == 21
    for path in (
        f"{_BASE}/{_EMAIL}",
        f"{_BASE}/{made['uniqueId']}",
        f"/v1/projects/-/serviceAccounts/{_EMAIL}",
    ):
        assert cloud.http.get(path).json() == made
    patch = {"serviceAccount": {"displayName": "Other", "description": "d"}, "updateMask": "displayName"}
    patched = cloud.http.patch(f"{_BASE}/{_EMAIL}", json=patch).json()
    assert patched["displayName"] == "Other"
    assert "description" not in patched
    assert cloud.http.get(_BASE).json()["accounts"] == [patched]
    assert cloud.admin.state()["service accounts"] == [_EMAIL]
    assert cloud.http.delete(f"{_BASE}/{_EMAIL}").json() == {}
    gone = cloud.http.get(f"{_BASE}/{_EMAIL}")
    assert (gone.status_code, gone.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert cloud.http.get(_BASE).json() == {}


def test_an_account_exists_once(cloud: LocalCloud, made: dict[str, Any]) -> None:
    answer = cloud.http.post(_BASE, json={"accountId": "vertex-sa"})
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (409, "ALREADY_EXISTS")
    assert (
        error["message"] == "Service account vertex-sa already exists within project projects/local-project."
    )
    assert error["details"][0]["resourceName"] == made["name"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"accountId": "short"}, 'The account ID "short" does not have a length between 6 and 30.'),
        ({"accountId": "x" * 31}, "does not have a length between 6 and 30"),
        ({"accountId": "Upper-case"}, "does not match the pattern"),
        ({"accountId": "ends-with-"}, "does not match the pattern"),
        ({}, "does not have a length"),
        ({"accountId": "abcdef", "serviceAccount": {"displayName": "x" * 101}}, "101 bytes; at most 100"),
    ],
)
def test_bad_accounts(cloud: LocalCloud, body: dict[str, Any], text: str) -> None:
    answer = cloud.http.post(_BASE, json=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_a_disabled_account_cannot_call(cloud: LocalCloud, account: Callable[..., Any]) -> None:
    client = account("worker", "roles/viewer")
    assert client.get("/v1/projects/local-project").status_code == 200
    path = f"{_BASE}/worker@local-project.iam.gserviceaccount.com"
    assert cloud.http.post(f"{path}:disable", json={}).json() == {}
    assert cloud.http.get(path).json()["disabled"]
    assert client.get("/v1/projects/local-project").status_code == 401
    cloud.http.post(f"{path}:enable", json={})
    assert client.get("/v1/projects/local-project").status_code == 200


def test_rights(cloud: LocalCloud, made: dict[str, Any], account: Callable[..., Any]) -> None:
    client = account("worker")
    answer = client.get(f"{_BASE}/{_EMAIL}")
    error = answer.json()["error"]
    assert (
        error["message"] == "Permission 'iam.serviceAccounts.get' denied on resource (or it may not exist)."
    )
    assert error["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
    # What isn't there is told in the same words to somebody who may not look.
    assert client.get(f"{_BASE}/other-sa@local-project.iam.gserviceaccount.com").status_code == 403
    assert client.post(_BASE, json={"accountId": "abcdef"}).status_code == 403

    member = "serviceAccount:worker@local-project.iam.gserviceaccount.com"
    policy = {"bindings": [{"role": "roles/iam.serviceAccountUser", "members": [member]}]}
    cloud.http.post(f"{_BASE}/{_EMAIL}:setIamPolicy", json={"policy": policy}).raise_for_status()
    wanted = {"permissions": ["iam.serviceAccounts.actAs", "iam.serviceAccounts.delete"]}
    held = client.post(f"{_BASE}/{_EMAIL}:testIamPermissions", json=wanted).json()
    assert held == {"permissions": ["iam.serviceAccounts.actAs"]}
    read = cloud.http.post(f"{_BASE}/{_EMAIL}:getIamPolicy?options.requestedPolicyVersion=3").json()
    assert read["bindings"] == policy["bindings"]


def test_the_default_compute_account_comes_with_its_api(cloud: LocalCloud) -> None:
    email = "123456789012-compute@developer.gserviceaccount.com"
    policy = {"bindings": [{"role": "roles/viewer", "members": [f"serviceAccount:{email}"]}]}
    refused = cloud.http.post("/v1/projects/local-project:setIamPolicy", json={"policy": policy})
    assert refused.json()["error"]["message"] == f"Service account {email} does not exist."
    cloud.admin.enable("compute.googleapis.com")
    assert (
        cloud.http.get(f"{_BASE}/{email}").json()["displayName"] == "Compute Engine default service account"
    )
    assert (
        cloud.http.post("/v1/projects/local-project:setIamPolicy", json={"policy": policy}).status_code == 200
    )
    assert cloud.admin.state()["service accounts"] == []
