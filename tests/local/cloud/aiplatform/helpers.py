"""What the tests of the local Vertex AI share: names, a model, and a client that calls as curl does."""

from __future__ import annotations

import time
from typing import Any

import httpx

from infra.local.cloud.testing import NUMBER, LocalCloud

Json = dict[str, Any]
PARENT = "/v1/projects/local-project/locations/us-central1"
FULL = f"projects/{NUMBER}/locations/us-central1"
IMAGE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"
L4 = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}


def model(name: str = "m", **env: str) -> Json:
    """A model with a vLLM-like container specification."""
    return {
        "displayName": name,
        "containerSpec": {
            "imageUri": IMAGE,
            "args": ["python", "-m", "vllm.entrypoints.api_server", "--port=$(AIP_HTTP_PORT)"],
            "env": [{"name": key, "value": value} for key, value in {"MODEL_ID": "x", **env}.items()],
            "ports": [{"containerPort": 8080}],
            "predictRoute": "/generate",
            "healthRoute": "/ping",
            "sharedMemorySizeMb": "16384",
            "deploymentTimeout": "7200s",
        },
    }


class Vertex:
    """Calls the service the way curl does."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud, self.http, self.url = cloud, cloud.http, cloud.url

    def call(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        """One call under the location in v1, or with a path that starts "/" anywhere."""
        where = path if path.startswith("/") else f"{PARENT}/{path}"
        return self.http.request(method, where, json=body, params=query)

    def ok(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        """The answer of a call that must succeed."""
        response = self.call(method, path, body, **query)
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def enable(self) -> None:
        """Enables the API and waits until it answers."""
        self.cloud.admin.enable("aiplatform.googleapis.com")
        for _ in range(200):
            if self.call("GET", "models").status_code == 200:
                return
            time.sleep(0.01)
        raise AssertionError("the API was not enabled")

    def wait(self, operation: Json) -> Json:
        """The operation when it is done."""
        for _ in range(20):
            if operation.get("done"):
                return operation
            operation = self.ok("POST", f"/v1/{operation['name']}:wait", {}, timeout="5s")
        raise AssertionError(operation)

    def done(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        """The response of an operation that must succeed."""
        operation = self.wait(self.ok(method, path, body, **query))
        assert "error" not in operation, operation
        response: Json = operation["response"]
        return response

    def upload(self, model_id: str = "m1", **env: str) -> str:
        """A new model's full name."""
        self.done("POST", "models:upload", {"modelId": model_id, "model": model(model_id, **env)})
        return f"{FULL}/models/{model_id}"

    def endpoint(self, endpoint_id: str = "ep1", **fields: Any) -> str:
        """A new endpoint's full name."""
        self.done("POST", "endpoints", {"displayName": endpoint_id, **fields}, endpointId=endpoint_id)
        return f"{FULL}/endpoints/{endpoint_id}"

    def deployment(self, deployed_id: str = "1", model_id: str = "m1", **fields: Any) -> Json:
        """A deployModel request for one L4."""
        resources = {"machineSpec": L4, "minReplicaCount": 1, **fields.pop("dedicatedResources", {})}
        return {
            "deployedModel": {
                "id": deployed_id,
                "model": f"{FULL}/models/{model_id}",
                "displayName": "d",
                "dedicatedResources": resources,
                **fields,
            },
            "trafficSplit": {"0": 100},
        }

    def deploy(
        self, endpoint_id: str = "ep1", deployed_id: str = "1", model_id: str = "m1", **fields: Any
    ) -> Json:
        """Deploys and answers the deployed model."""
        body = self.deployment(deployed_id, model_id, **fields)
        deployed: Json = self.done("POST", f"endpoints/{endpoint_id}:deployModel", body)["deployedModel"]
        return deployed

    def served(self, **env: str) -> None:
        """Model m1 deployed as 1 on endpoint ep1."""
        self.upload(**env)
        self.endpoint()
        self.deploy()
