"""A local cloud with two endpoints that answer: a chat model that calls tools, shared; one that sees, dedicated."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.testing import NUMBER, PROJECT, REGION, LocalCloud, cloud_in_thread

Json = dict[str, Any]
PARENT = f"/v1/projects/{PROJECT}/locations/{REGION}"
IMAGE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"
TEXT, VISION = "meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-11B-Vision-Instruct"
SHARED, DEDICATED, EMPTY = "100", "200", "300"


@dataclass(frozen=True)
class Talking:
    """The running cloud, and the environment that leads to it."""

    cloud: LocalCloud

    @property
    def environ(self) -> Mapping[str, str]:
        """As `. .local/env` sets it, and what says which project and region."""
        return {
            "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": f"{self.cloud.url}/v1beta1/",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GOOGLE_REGION": REGION,
        }

    def done(self, path: str, body: Json, **query: str) -> None:
        """A long-running call that must succeed."""
        operation = (
            self.cloud.http.post(f"{PARENT}/{path}", json=body, params=query).raise_for_status().json()
        )
        ended = self.cloud.finished(f"/v1/{operation['name']}")
        assert "error" not in ended, ended

    def deploy(self, endpoint: str, model: str, machine: Json, *args: str, **fields: Any) -> None:
        """A model of its own on an endpoint of its own."""
        spec = {
            "imageUri": IMAGE,
            "args": ["python", "-m", "vllm.entrypoints.api_server", "--port=8080", f"--model={model}", *args],
            "env": [{"name": "HF_TOKEN", "value": "hf_local"}],
            "ports": [{"containerPort": 8080}],
            "predictRoute": "/generate",
            "healthRoute": "/ping",
            "sharedMemorySizeMb": "16384",
            "deploymentTimeout": "7200s",
        }
        self.done(
            "models:upload", {"modelId": f"m{endpoint}", "model": {"displayName": "m", "containerSpec": spec}}
        )
        self.done("endpoints", {"displayName": f"endpoint {endpoint}", **fields}, endpointId=endpoint)
        deployed = {
            "id": f"{endpoint}1",
            "model": f"projects/{NUMBER}/locations/{REGION}/models/m{endpoint}",
            "displayName": "d",
            "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
        }
        self.done(
            f"endpoints/{endpoint}:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}}
        )


@contextmanager
def talking() -> Iterator[Talking]:
    """Both endpoints, and one with nothing on it."""
    with cloud_in_thread(container="simulated") as cloud:
        cloud.admin.enable("aiplatform.googleapis.com")
        deadline = time.monotonic() + 10
        while cloud.http.get(f"{PARENT}/models").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        made = Talking(cloud)
        made.deploy(
            SHARED,
            TEXT,
            {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1},
            "--max-model-len=4096",
            "--enable-auto-tool-choice",
            "--tool-call-parser=vertex-llama-3",
        )
        made.deploy(
            DEDICATED,
            VISION,
            {"machineType": "a2-highgpu-1g", "acceleratorType": "NVIDIA_TESLA_A100", "acceleratorCount": 1},
            "--max-model-len=4096",
            "--max-num-seqs=12",
            "--enforce-eager",
            dedicatedEndpointEnabled=True,
        )
        made.done("endpoints", {"displayName": "nothing here"}, endpointId=EMPTY)
        yield made
