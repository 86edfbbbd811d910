"""The calls that Google's own Terraform provider (which pulumi-gcp wraps) makes, one sequence a resource.

Recorded on loopback with the provider's custom endpoints set as `cli.ENDPOINTS` sets them. Every URL carries alt=json;
reads come several times and in any order; a second plan must see what the first made.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from infra.local.cloud.cli import ENDPOINTS
from infra.local.cloud.testing import LocalCloud

_PROJECT, _NUMBER = "local-project", "123456789012"
_COMMON = {"alt": "json", "prettyPrint": "false"}


class Provider:
    """Sends requests below one custom endpoint, with the access token of the configuration."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud

    def __call__(
        self, endpoint: str, method: str, path: str, body: Any = None, **query: str
    ) -> httpx.Response:
        return self.cloud.http.request(
            method,
            f"/{ENDPOINTS[endpoint]}{path}",
            json=body,
            params={**_COMMON, **query},
            headers={
                "authorization": "Bearer local",
                "user-agent": "Terraform/1.9.5 (+https://www.terraform.io)",
            },
        )


@pytest.fixture
def provider(cloud: LocalCloud) -> Provider:
    return Provider(cloud)


def test_project_service(provider: Provider) -> None:
    def enabled() -> set[str]:
        query = {"fields": "services/name,nextPageToken", "filter": "state:ENABLED", "pageSize": "200"}
        answer = provider("serviceUsageCustomEndpoint", "GET", f"projects/{_PROJECT}/services", **query)
        assert set(answer.json()) == {"services"}
        return {service["name"] for service in answer.json()["services"]}

    name = f"projects/{_NUMBER}/services/aiplatform.googleapis.com"
    assert name not in enabled()
    assert (
        provider("resourceManagerCustomEndpoint", "GET", f"projects/{_PROJECT}").json()["projectNumber"]
        == _NUMBER
    )
    body = {"serviceIds": ["aiplatform.googleapis.com", "compute.googleapis.com"]}
    operation = provider(
        "serviceUsageCustomEndpoint", "POST", f"projects/{_PROJECT}/services:batchEnable", body
    ).json()
    assert "error" not in provider.cloud.finished(f"/v1/{operation['name']}?alt=json")
    for _ in range(2):
        assert name in enabled()


def test_service_account(provider: Provider) -> None:
    def call(method: str, path: str, body: Any = None) -> httpx.Response:
        return provider("iamBetaCustomEndpoint", method, f"projects/{_PROJECT}/serviceAccounts{path}", body)

    made = call("POST", "", {"accountId": "vertex-vllm", "serviceAccount": {"displayName": "Serving"}}).json()
    email = f"vertex-vllm@{_PROJECT}.iam.gserviceaccount.com"
    for _ in range(3):
        assert call("GET", f"/{email}").json() == made
    assert made["name"] == f"projects/{_PROJECT}/serviceAccounts/{email}"
    assert call("DELETE", f"/{email}").status_code == 200
    assert call("GET", f"/{email}").status_code == 404


def test_bucket_and_its_member(provider: Provider) -> None:
    def call(method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        return provider("storageCustomEndpoint", method, path, body, **query)

    made = call(
        "POST",
        "b",
        {
            "name": "local-project-artifacts",
            "location": "us-central1",
            "storageClass": "STANDARD",
            "labels": {"goog-pulumi-provisioned": "true"},
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
            "lifecycle": {"rule": []},
        },
        project=_PROJECT,
    ).json()
    for _ in range(2):
        assert call("GET", "b/local-project-artifacts").json() == made
    assert made["labels"] == {"goog-pulumi-provisioned": "true"}
    assert made["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]
    assert "lifecycle" not in made

    member = f"projectViewer:{_PROJECT}"
    binding = {"role": "roles/storage.objectViewer", "members": [member]}
    policy = call("GET", "b/local-project-artifacts/iam", optionsRequestedPolicyVersion="3").json()
    body = {"bindings": [*policy["bindings"], binding], "etag": policy["etag"], "version": 3}
    assert call("PUT", "b/local-project-artifacts/iam", body).status_code == 200
    assert call("PUT", "b/local-project-artifacts/iam", body).status_code == 412
    policy = call("GET", "b/local-project-artifacts/iam", optionsRequestedPolicyVersion="3").json()
    assert binding in policy["bindings"]
    # Without any member there is no key `bindings` in the request.
    assert (
        call("PUT", "b/local-project-artifacts/iam", {"etag": policy["etag"], "version": 3}).status_code
        == 200
    )
    assert "bindings" not in call("GET", "b/local-project-artifacts/iam").json()

    assert call("GET", "b/local-project-artifacts/anywhereCaches/").status_code in {200, 404}
    assert "items" not in call("GET", "b/local-project-artifacts/o", versions="true").json()
    assert call("DELETE", "b/local-project-artifacts").status_code == 204
    assert call("GET", "b/local-project-artifacts").status_code == 404


def test_project_member(provider: Provider) -> None:
    def call(verb: str, body: Any) -> httpx.Response:
        return provider("resourceManagerCustomEndpoint", "POST", f"projects/{_PROJECT}:{verb}", body)

    def read() -> Any:
        return call("getIamPolicy", {"options": {"requestedPolicyVersion": 3}}).json()

    provider(
        "iamBetaCustomEndpoint", "POST", f"projects/{_PROJECT}/serviceAccounts", {"accountId": "vertex-vllm"}
    )
    binding = {
        "role": "roles/aiplatform.user",
        "members": [f"serviceAccount:vertex-vllm@{_PROJECT}.iam.gserviceaccount.com"],
    }
    policy = read()
    before = policy["bindings"]
    policy["bindings"] = [*before, binding]
    mask = "bindings,etag,auditConfigs"
    assert call("setIamPolicy", {"policy": policy, "updateMask": mask}).status_code == 200
    assert call("setIamPolicy", {"policy": policy, "updateMask": mask}).status_code == 409
    for _ in range(2):
        assert binding in read()["bindings"]
    policy = read()
    policy["bindings"] = before
    assert call("setIamPolicy", {"policy": policy, "updateMask": mask}).status_code == 200
    assert read()["bindings"] == before


def test_vertex_endpoint(provider: Provider, cloud: LocalCloud) -> None:
    pytest.importorskip("infra.local.cloud.aiplatform.routes")
    cloud.admin.enable("aiplatform.googleapis.com")

    def call(method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        return provider("vertexAiCustomEndpoint", method, path, body, **query)

    def finish(operation: dict[str, Any]) -> dict[str, Any]:
        assert operation["name"].startswith(f"projects/{_NUMBER}/locations/us-central1/")
        done = cloud.finished(f"/v1beta1/{operation['name']}?alt=json")
        assert "error" not in done
        return done

    base = f"projects/{_PROJECT}/locations/us-central1/endpoints"
    body = {
        "displayName": "e",
        "labels": {"goog-pulumi-provisioned": "true"},
        "dedicatedEndpointEnabled": False,
    }
    finish(call("POST", base, body, endpointId="123456789").json())
    endpoint = call("GET", f"{base}/123456789").json()
    assert endpoint["name"] == f"projects/{_NUMBER}/locations/us-central1/endpoints/123456789"
    assert endpoint["labels"] == body["labels"]
    assert call("GET", f"{base}/123456789").json() == endpoint
    finish(call("DELETE", f"{base}/123456789").json())
    assert call("GET", f"{base}/123456789").status_code == 404
