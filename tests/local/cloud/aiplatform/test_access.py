"""Who may do what: projects, locations, disabled APIs, permissions, acting as a service account."""

from __future__ import annotations

import httpx
import pytest

from infra.local.cloud.testing import NUMBER

from .helpers import FULL, PARENT, Json, Vertex, model

EMAIL = "caller@local-project.iam.gserviceaccount.com"


def account(vertex: Vertex, name: str, *roles: str) -> str:
    """A new service account with these roles in the project; its email."""
    email = f"{name}@local-project.iam.gserviceaccount.com"
    vertex.ok("POST", "/v1/projects/local-project/serviceAccounts", {"accountId": name})
    policy = vertex.ok("POST", "/v1/projects/local-project:getIamPolicy", {})
    policy.setdefault("bindings", [])
    policy["bindings"] += [{"role": role, "members": [f"serviceAccount:{email}"]} for role in roles]
    vertex.ok("POST", "/v1/projects/local-project:setIamPolicy", {"policy": policy})
    return email


def error(response: httpx.Response) -> tuple[int, str]:
    body: Json = response.json()["error"]
    return response.status_code, body["message"]


def test_project_by_number_and_an_unknown_one(vertex: Vertex) -> None:
    vertex.endpoint()
    by_number = vertex.ok("GET", f"/v1/{FULL}/endpoints/ep1")
    assert by_number == vertex.ok("GET", "endpoints/ep1")
    assert by_number["name"] == f"projects/{NUMBER}/locations/us-central1/endpoints/ep1"
    status, text = error(vertex.call("GET", "/v1/projects/other/locations/us-central1/endpoints"))
    assert (status, text) == (403, "Permission denied on resource project other.")


def test_an_unknown_location(vertex: Vertex) -> None:
    answer = error(vertex.call("GET", "/v1/projects/local-project/locations/mars/endpoints"))
    assert answer == (403, "Permission denied on 'locations/mars' (or it may not exist).")


def test_a_disabled_api(vertex: Vertex) -> None:
    vertex.ok("POST", "/v1/projects/local-project/services/aiplatform.googleapis.com:disable", {})
    response = vertex.call("GET", "models")
    for _ in range(100):
        if response.status_code == 403:
            break
        response = vertex.call("GET", "models")
    assert error(response)[1].startswith(
        f"Vertex AI API has not been used in project {NUMBER} before or it is disabled."
    )
    assert response.json()["error"]["details"][0]["reason"] == "SERVICE_DISABLED"


def test_an_expired_token(vertex: Vertex) -> None:
    answer = vertex.http.get(f"{PARENT}/models", headers={"authorization": "Bearer expired"})
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


CALLS: dict[str, tuple[str, str, Json | None]] = {
    "aiplatform.models.upload": ("POST", "models:upload", {"model": model()}),
    "aiplatform.models.get": ("GET", "models/m1", None),
    "aiplatform.models.list": ("GET", "models", None),
    "aiplatform.models.update": ("PATCH", "models/m1?updateMask=description", {"description": "x"}),
    "aiplatform.models.delete": ("DELETE", "models/m1", None),
    "aiplatform.endpoints.create": ("POST", "endpoints", {"displayName": "x"}),
    "aiplatform.endpoints.get": ("GET", "endpoints/ep1", None),
    "aiplatform.endpoints.list": ("GET", "endpoints", None),
    "aiplatform.endpoints.update": ("PATCH", "endpoints/ep1?updateMask=description", {"description": "x"}),
    "aiplatform.endpoints.delete": ("DELETE", "endpoints/ep1", None),
    "aiplatform.endpoints.deploy": ("POST", "endpoints/ep1:deployModel", {"deployedModel": {}}),
    "aiplatform.endpoints.undeploy": ("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1"}),
    "aiplatform.endpoints.predict": ("POST", "endpoints/ep1:predict", {"instances": [1]}),
}


@pytest.mark.parametrize("permission", CALLS)
def test_each_method_needs_its_permission(shared: Vertex, permission: str) -> None:
    method, path, body = CALLS[permission]
    stranger = shared.cloud.as_account("nobody@local-project.iam.gserviceaccount.com")
    answer = stranger.request(method, f"{PARENT}/{path}", json=body)
    found = answer.json()["error"]
    assert (answer.status_code, found["status"]) == (403, "PERMISSION_DENIED")
    resource = found["details"][0]["metadata"]["resource"]
    assert resource.startswith("projects/local-project/locations/us-central1")
    assert found["message"] == (
        f"Permission '{permission}' denied on resource '//aiplatform.googleapis.com/{resource}' (or it may not exist)."
    )
    assert found["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
    assert found["details"][0]["metadata"]["permission"] == permission


def test_roles_open_what_they_hold(vertex: Vertex) -> None:
    vertex.served()
    user = vertex.cloud.as_account(account(vertex, "caller", "roles/aiplatform.user"))
    assert user.get(f"{PARENT}/endpoints/ep1").status_code == 200
    assert user.post(f"{PARENT}/endpoints/ep1:predict", json={"instances": [1]}).status_code == 200
    viewer = vertex.cloud.as_account(account(vertex, "viewer", "roles/aiplatform.viewer"))
    assert viewer.get(f"{PARENT}/endpoints/ep1").status_code == 200
    assert viewer.delete(f"{PARENT}/endpoints/ep1").status_code == 403


def test_acting_as_a_service_account(vertex: Vertex) -> None:
    vertex.upload()
    vertex.endpoint()
    runner = account(vertex, "runner-sa")
    body = vertex.deployment(serviceAccount=runner)
    caller = vertex.cloud.as_account(account(vertex, "caller", "roles/aiplatform.user"))
    answer = error(caller.post(f"{PARENT}/endpoints/ep1:deployModel", json=body))
    assert answer == (
        403,
        f"You do not have permission to act as service account: {runner}. (or it may not exist).",
    )
    vertex.done("POST", "endpoints/ep1:deployModel", body)
    assert vertex.ok("GET", "endpoints/ep1")["deployedModels"][0]["serviceAccount"] == runner
