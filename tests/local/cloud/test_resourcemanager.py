from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud


def test_v1_and_v3_show_the_same_project(cloud: LocalCloud) -> None:
    first = cloud.http.get("/v1/projects/local-project").json()
    third = cloud.http.get("/v3/projects/123456789012").json()
    assert (first["projectId"], first["projectNumber"], first["lifecycleState"]) == (
        "local-project",
        "123456789012",
        "ACTIVE",
    )
    assert (third["name"], third["projectId"], third["state"]) == (
        "projects/123456789012",
        "local-project",
        "ACTIVE",
    )
    assert cloud.http.get("/v1/projects?filter=id:local-project").json()["projects"] == [first]
    assert cloud.http.get("/v3/projects:search?query=id:nope").json() == {}


def test_each_version_has_its_wording_of_a_refusal(cloud: LocalCloud, account: Callable[..., Any]) -> None:
    client = account("worker")
    assert (
        client.get("/v1/projects/local-project").json()["error"]["message"]
        == "The caller does not have permission"
    )
    assert client.get("/v3/projects/local-project").json()["error"]["message"] == (
        "Permission 'resourcemanager.projects.get' denied on resource "
        "'//cloudresourcemanager.googleapis.com/projects/local-project' (or it may not exist)."
    )
    assert cloud.http.get("/v1/projects/nope").status_code == 403


def test_an_update_mask_limits_what_is_written(cloud: LocalCloud) -> None:
    audit = [{"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}]}]
    body = {"policy": {"auditConfigs": audit}, "updateMask": "auditConfigs"}
    written = cloud.http.post("/v3/projects/local-project:setIamPolicy", json=body).json()
    assert written["auditConfigs"] == audit
    assert written["bindings"]
    wrong = cloud.http.post("/v3/projects/local-project:setIamPolicy", json={**body, "updateMask": "bindngs"})
    assert "Invalid update mask: bindngs" in wrong.json()["error"]["message"]
    assert cloud.http.post("/v3/projects/local-project:setIamPolicy", json={}).status_code == 400
    version = {"options": {"requestedPolicyVersion": 2}}
    assert cloud.http.post("/v3/projects/local-project:getIamPolicy", json=version).status_code == 400


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_googles_own_client(cloud: LocalCloud) -> None:
    from google.api_core import exceptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import resourcemanager_v3
    from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]

    client = resourcemanager_v3.ProjectsClient(
        transport="rest",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": cloud.url},
    )
    project = client.get_project(name="projects/local-project")
    assert (project.name, project.state.name) == ("projects/123456789012", "ACTIVE")
    assert [found.project_id for found in client.search_projects(query="id:local-project")] == [
        "local-project"
    ]
    policy = client.get_iam_policy(resource="projects/local-project")
    policy.bindings.add(role="roles/viewer", members=["user:a@b.c"])
    request = iam_policy_pb2.SetIamPolicyRequest(resource="projects/local-project", policy=policy)
    written = client.set_iam_policy(request=request)
    assert written.etag != policy.etag
    assert {binding.role for binding in written.bindings} == {"roles/owner", "roles/viewer"}
    with pytest.raises(exceptions.Conflict, match="concurrent policy changes"):
        client.set_iam_policy(request=request)
    held = client.test_iam_permissions(
        resource="projects/local-project", permissions=["aiplatform.endpoints.create"]
    )
    assert list(held.permissions) == ["aiplatform.endpoints.create"]
    with pytest.raises(exceptions.Forbidden, match="may not exist"):
        client.get_project(name="projects/nope")
