"""The calls that Google's Terraform provider (and so pulumi-gcp) was recorded to make for a Vertex AI endpoint."""

from __future__ import annotations

from .helpers import Vertex

BASE = "/v1beta1/projects/local-project/locations/us-central1/endpoints"
BODY = {
    "displayName": "ep",
    "labels": {"goog-terraform-provisioned": "true"},
    "dedicatedEndpointEnabled": True,
}


def test_create_plan_and_destroy(vertex: Vertex) -> None:
    created = vertex.ok("POST", BASE, BODY, endpointId="123456789", alt="json")
    assert created["name"].startswith(
        "projects/123456789012/locations/us-central1/endpoints/123456789/operations/"
    )
    ended = vertex.wait(created)
    polled = vertex.ok("GET", f"/v1beta1/{created['name']}", alt="json", prettyPrint="false")
    assert polled["done"] is True
    assert polled["response"]["@type"] == "type.googleapis.com/google.cloud.aiplatform.v1beta1.Endpoint"
    assert ended["name"] == polled["name"]
    first = vertex.ok("GET", f"{BASE}/123456789", alt="json", prettyPrint="false")
    for key, value in BODY.items():
        assert first[key] == value
    assert vertex.ok("GET", f"{BASE}/123456789", alt="json") == first
    changed = vertex.ok(
        "PATCH",
        f"{BASE}/123456789",
        {"displayName": "new", "labels": {"a": "b"}},
        updateMask="displayName,labels",
    )
    assert changed["labels"] == {"a": "b"}
    deleted = vertex.wait(vertex.ok("DELETE", f"{BASE}/123456789", alt="json"))
    assert deleted["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert vertex.call("GET", f"{BASE}/123456789").status_code == 404
