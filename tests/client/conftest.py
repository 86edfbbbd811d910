"""A local cloud that serves Llama 3.1 8B twice: on a shared endpoint and on one with a host of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.cloud.testing import LocalCloud, cloud_in_thread
from infra.recipes import EndpointUrls, endpoint_urls
from infra.recipes.plan import plan
from infra.recipes.stackfile import parse_stack
from tests.local.cloud.aiplatform.helpers import Vertex

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
ENDPOINT_IDS = {"shared": "1001", "dedicated": "1002"}


@dataclass(frozen=True)
class Served:
    """The cloud, and the addresses of its two endpoints by their kind."""

    cloud: LocalCloud
    names: dict[str, str]
    urls: dict[str, EndpointUrls]
    dns: dict[str, str | None]

    def outputs(self, kind: str) -> dict[str, object]:
        """What a stack with this endpoint exports."""
        return {
            "endpoint": self.names[kind],
            "openai_base_url": self.urls[kind].openai_base_url,
            "predict_url": self.urls[kind].predict_url,
            "dedicated_endpoint_dns": self.dns[kind],
            "deployed_model_id": "1",
        }


def model() -> dict[str, object]:
    """A model whose container is the one that a stack file of it gets."""
    planned = plan(
        parse_stack({"model": MODEL}, file="stacks/x.yaml", lines={}),
        region="us-central1",
        source=str(Path("stacks/x.yaml")),
    ).container
    env = {**planned.env, "HF_TOKEN": "hf_local"}
    return {
        "displayName": "m1",
        "containerSpec": {
            "imageUri": planned.image_uri,
            "args": list(planned.args),
            "env": [{"name": key, "value": value} for key, value in env.items()],
            "ports": [{"containerPort": 8080}],
            "predictRoute": planned.predict_route,
            "healthRoute": planned.health_route,
            "sharedMemorySizeMb": "16384",
            "deploymentTimeout": "7200s",
        },
    }


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """For tests that change nothing in the cloud."""
    with cloud_in_thread() as cloud:
        vertex = Vertex(cloud)
        vertex.enable()
        vertex.done("POST", "models:upload", {"modelId": "m1", "model": model()})
        names: dict[str, str] = {}
        dns: dict[str, str | None] = {}
        for kind, endpoint_id in ENDPOINT_IDS.items():
            vertex.endpoint(endpoint_id, displayName=kind, dedicatedEndpointEnabled=kind == "dedicated")
            vertex.deploy(endpoint_id)
            document = vertex.ok("GET", f"endpoints/{endpoint_id}")
            names[kind], dns[kind] = document["name"], document.get("dedicatedEndpointDns")
        urls = {
            kind: endpoint_urls(
                name, region="us-central1", dedicated_dns=dns[kind], api_endpoint=f"{cloud.url}/"
            )
            for kind, name in names.items()
        }
        yield Served(cloud, names, urls, dns)
