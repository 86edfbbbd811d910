from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.cloud.iam import roles
from infra.local.cloud.testing import LocalCloud

_PROJECT = "/v1/projects/local-project"


def _policy(cloud: LocalCloud) -> dict[str, Any]:
    answer: dict[str, Any] = cloud.http.post(f"{_PROJECT}:getIamPolicy", json={}).json()
    return answer


@pytest.mark.parametrize(
    ("role", "permission", "held"),
    [
        ("roles/owner", "aiplatform.endpoints.deploy", True),
        ("roles/owner", "storage.objects.get", False),
        ("roles/editor", "aiplatform.models.upload", True),
        ("roles/editor", "resourcemanager.projects.setIamPolicy", False),
        ("roles/viewer", "aiplatform.endpoints.get", True),
        ("roles/viewer", "aiplatform.endpoints.predict", True),
        ("roles/viewer", "aiplatform.endpoints.deploy", False),
        ("roles/owner", "storage.buckets.get", False),
        ("roles/aiplatform.user", "aiplatform.endpoints.predict", True),
        ("roles/aiplatform.user", "storage.objects.get", False),
        ("roles/aiplatform.viewer", "aiplatform.endpoints.deploy", False),
        ("roles/storage.admin", "storage.objects.delete", True),
        ("roles/storage.objectViewer", "storage.objects.get", True),
        ("roles/storage.objectViewer", "storage.objects.create", False),
        ("roles/storage.objectAdmin", "storage.buckets.get", False),
        ("roles/iam.serviceAccountUser", "iam.serviceAccounts.actAs", True),
        ("roles/iam.serviceAccountAdmin", "iam.serviceAccounts.actAs", False),
        ("roles/serviceusage.serviceUsageAdmin", "serviceusage.services.enable", True),
        ("roles/serviceusage.serviceUsageConsumer", "serviceusage.services.enable", False),
        ("roles/logging.viewer", "logging.logEntries.list", True),
        ("roles/unknown", "storage.objects.get", False),
    ],
)
def test_roles(role: str, permission: str, held: bool) -> None:
    assert roles.holds(role, permission) is held


def test_every_role_has_a_title_and_permissions() -> None:
    for name, role in roles.table().items():
        assert name.startswith("roles/")
        assert role["title"]
        assert role["permissions"]


def test_a_stale_etag_is_refused_as_the_real_one_is(cloud: LocalCloud) -> None:
    policy = _policy(cloud)
    policy["bindings"].append({"role": "roles/viewer", "members": ["user:a@b.c"]})
    body = {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
    assert cloud.http.post(f"{_PROJECT}:setIamPolicy", json=body).status_code == 200
    stale = cloud.http.post(f"{_PROJECT}:setIamPolicy", json=body)
    assert (stale.status_code, stale.json()["error"]["status"]) == (409, "ABORTED")
    assert stale.json()["error"]["message"].startswith("There were concurrent policy changes.")
    del policy["etag"]
    assert cloud.http.post(f"{_PROJECT}:setIamPolicy", json=body).status_code == 200


def test_a_policy_without_bindings_removes_them_all(cloud: LocalCloud) -> None:
    policy = {"etag": _policy(cloud)["etag"]}
    cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": policy, "updateMask": "bindings,etag"})
    assert "bindings" not in _policy(cloud)


def test_bindings_are_merged_and_sorted(cloud: LocalCloud) -> None:
    bindings = [
        {"role": "roles/viewer", "members": ["user:b@b.c"]},
        {"role": "roles/viewer", "members": ["user:a@b.c", "user:b@b.c"]},
        {"role": "roles/browser", "members": []},
    ]
    cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": {"bindings": bindings}}).raise_for_status()
    assert _policy(cloud)["bindings"] == [{"role": "roles/viewer", "members": ["user:a@b.c", "user:b@b.c"]}]


@pytest.mark.parametrize(
    ("role", "member", "text"),
    [
        ("roles/nothing", "user:a@b.c", "Role roles/nothing is not supported for this resource."),
        (
            "roles/aiplatform.usr",
            "user:a@b.c",
            "Role roles/aiplatform.usr is not supported for this resource.",
        ),
        ("", "user:a@b.c", "is not supported"),
        ("roles/viewer", "a@b.c", "of an unknown type"),
        ("roles/viewer", "robot:a@b.c", "Invalid value for member: robot:a@b.c"),
        (
            "roles/viewer",
            "serviceAccount:none@local-project.iam.gserviceaccount.com",
            "Service account none@local-project.iam.gserviceaccount.com does not exist.",
        ),
    ],
)
def test_bad_bindings(cloud: LocalCloud, role: str, member: str, text: str) -> None:
    before = _policy(cloud)
    policy = {"bindings": [{"role": role, "members": [member]}]}
    answer = cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": policy})
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]
    assert _policy(cloud) == before


def test_roles_of_services_that_are_not_here_are_kept(cloud: LocalCloud) -> None:
    policy = {"bindings": [{"role": "roles/bigquery.admin", "members": ["user:a@b.c"]}]}
    cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": policy}).raise_for_status()
    assert _policy(cloud)["bindings"] == policy["bindings"]
    assert cloud.admin.state()["project grants"] == ["local-project: roles/bigquery.admin to user:a@b.c"]


def test_conditional_bindings_are_kept_and_grant_nothing(
    cloud: LocalCloud, account: Callable[..., Any]
) -> None:
    client = account("worker")
    member = "serviceAccount:worker@local-project.iam.gserviceaccount.com"
    condition = {"title": "t", "expression": "true"}
    policy = _policy(cloud)
    policy["bindings"].append({"role": "roles/viewer", "members": [member], "condition": condition})
    written = cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": policy}).json()
    assert written["version"] == 3
    assert written["bindings"][-1]["condition"] == condition
    assert client.get(_PROJECT).status_code == 403


def test_grants_take_effect_when_they_have_propagated(cloud: LocalCloud, account: Callable[..., Any]) -> None:
    cloud.admin.timing(iamPropagationSeconds=120)
    client = account("worker", "roles/viewer")
    wanted = {"permissions": ["aiplatform.endpoints.get", "aiplatform.endpoints.create"]}
    assert "roles/viewer" in [binding["role"] for binding in _policy(cloud)["bindings"]]
    assert client.post(f"{_PROJECT}:testIamPermissions", json=wanted).json() == {}
    cloud.admin.advance_clock(121)
    held = client.post(f"{_PROJECT}:testIamPermissions", json=wanted).json()
    assert held == {"permissions": ["aiplatform.endpoints.get"]}
    # A revocation takes as long.
    policy = _policy(cloud)
    policy["bindings"] = [binding for binding in policy["bindings"] if binding["role"] != "roles/viewer"]
    cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": policy}).raise_for_status()
    assert client.post(f"{_PROJECT}:testIamPermissions", json=wanted).json() == held
    cloud.admin.advance_clock(121)
    assert client.post(f"{_PROJECT}:testIamPermissions", json=wanted).json() == {}


def test_memberships_of_a_deleted_account(cloud: LocalCloud, account: Callable[..., Any]) -> None:
    account("worker", "roles/viewer")
    email = "worker@local-project.iam.gserviceaccount.com"
    unique = cloud.http.get(f"{_PROJECT}/serviceAccounts/{email}").json()["uniqueId"]
    cloud.http.delete(f"{_PROJECT}/serviceAccounts/{email}").raise_for_status()
    members = [member for binding in _policy(cloud)["bindings"] for member in binding["members"]]
    assert f"deleted:serviceAccount:{email}?uid={unique}" in members
    # Made again under the same name, it has none of the old one's rights.
    again = account("worker")
    assert again.get(_PROJECT).status_code == 403


def test_wildcards_cannot_be_tested(cloud: LocalCloud) -> None:
    answer = cloud.http.post(f"{_PROJECT}:testIamPermissions", json={"permissions": ["storage.*"]})
    assert answer.status_code == 400
