"""Inputs of the provider's resources that are right, and a context that talks to nobody."""

from __future__ import annotations

import copy
import threading
from typing import Any

Json = dict[str, Any]

PROJECT, NUMBER, REGION = "local-project", "123456789012", "us-central1"
PARENT = f"projects/{NUMBER}/locations/{REGION}"
ENDPOINT = f"projects/{PROJECT}/locations/{REGION}/endpoints/123456"
IMAGE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"
TOKEN = "hf_verySecretTokenOfNobody"

CONTAINER: Json = {
    "imageUri": IMAGE,
    "args": [
        "python",
        "-m",
        "vllm.entrypoints.api_server",
        "--host=0.0.0.0",
        "--port=8080",
        "--model=meta-llama/Meta-Llama-3.1-8B-Instruct",
        "--max-model-len=4096",
    ],
    "env": {"MODEL_ID": "meta-llama/Meta-Llama-3.1-8B-Instruct", "DEPLOY_SOURCE": "vertex-vllm"},
    "ports": [8080],
    "predictRoute": "/generate",
    "healthRoute": "/ping",
    "sharedMemorySizeMb": 16384,
    "deploymentTimeoutSeconds": 7200,
}
MODEL: Json = {
    "project": PROJECT,
    "location": REGION,
    "displayName": "llama",
    "containerSpec": CONTAINER,
    "hfToken": TOKEN,
    "labels": {"team": "search"},
}
MACHINE: Json = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}


def deployment(model: str, **changes: Any) -> Json:
    """The inputs of a deployment."""
    return {
        "project": PROJECT,
        "location": REGION,
        "endpoint": ENDPOINT,
        "model": model,
        "displayName": "llama",
        "machineSpec": copy.deepcopy(MACHINE),
        "minReplicaCount": 1,
        "maxReplicaCount": 1,
        "deployRequestTimeoutSeconds": 600,
        **changes,
    }


class Quiet:
    """A call's context that remembers warnings and what is shown."""

    urn = "urn:pulumi:test::vertex-vllm::vertexserving:index:Model::served"
    name, stack, project = "served", "test", "vertex-vllm"
    preview = True
    timeout = None

    def __init__(self) -> None:
        self.config: dict[str, str] = {}
        self.cancelled = threading.Event()
        self.warnings: list[str] = []
        self.shown: list[str] = []

    def status(self, message: str) -> None:
        """Remembered."""
        self.shown.append(message)

    def warn(self, message: str) -> None:
        """Remembered."""
        self.warnings.append(message)

    def info(self, message: str) -> None:
        """Forgotten, as are the following."""

    error = debug = info


L4_QUOTA = "CustomModelServingL4GPUsPerProjectPerRegion"
DEPLOY, UNDEPLOY, MUTATE = ":deployModel", ":undeployModel", ":mutateDeployedModel"
FULL_ENDPOINT = ENDPOINT.replace("local-project", "123456789012")


def foreign_deployment(model: str) -> Json:
    """The body of a `deployModel` that no stack sent: deployed model 5, with all traffic."""
    foreign = {
        "id": "5",
        "model": model,
        "displayName": "x",
        "dedicatedResources": {"machineSpec": MACHINE, "minReplicaCount": 1},
    }
    return {"deployedModel": foreign, "trafficSplit": {"0": 100}}
