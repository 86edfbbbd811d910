"""What Google's vLLM guide does by hand: a model, an endpoint and a deployment that no stack has made (docs/import.md).

Run it with a Python that has google-cloud-aiplatform. PROJECT, REGION, SERVICE_ACCOUNT and, for a gated model, HF_TOKEN
are read from the environment. With GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT (`. .local/env` sets it) it goes to the local one.
It prints the endpoint's name.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
IMAGE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:20241001_0916_RC00"


def main() -> None:
    """Upload, create, deploy, with ids that Google makes up."""
    where: dict[str, Any] = {"project": os.environ["PROJECT"], "location": os.environ["REGION"]}
    address = os.environ.get("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT")
    if address:
        parts = urlsplit(address)
        where |= {"api_endpoint": f"{parts.scheme}://{parts.netloc}", "api_transport": "rest"}
        where["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
    aiplatform.init(**where)
    environment = {"MODEL_ID": MODEL, "DEPLOY_SOURCE": "notebook"}
    if os.environ.get("HF_TOKEN"):
        environment["HF_TOKEN"] = os.environ["HF_TOKEN"]
    endpoint: Any = aiplatform.Endpoint.create(display_name="llama3_1-endpoint")
    model: Any = aiplatform.Model.upload(
        display_name="llama3_1",
        serving_container_image_uri=IMAGE,
        serving_container_args=[
            *("python", "-m", "vllm.entrypoints.api_server"),
            "--host=0.0.0.0",
            "--port=8080",
            f"--model={MODEL}",
            "--tensor-parallel-size=1",
            "--swap-space=16",
            "--gpu-memory-utilization=0.9",
            "--max-model-len=4096",
            "--dtype=auto",
            "--max-loras=1",
            "--max-cpu-loras=8",
            "--max-num-seqs=256",
            "--disable-log-stats",
            "--enforce-eager",
            "--enable-lora",
        ],
        serving_container_ports=[8080],
        serving_container_predict_route="/generate",
        serving_container_health_route="/ping",
        serving_container_environment_variables=environment,
        serving_container_shared_memory_size_mb=16 * 1024,
        serving_container_deployment_timeout=7200,
    )
    model.deploy(
        endpoint=endpoint,
        machine_type="g2-standard-12",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
        deploy_request_timeout=1800,
        service_account=os.environ["SERVICE_ACCOUNT"],
    )
    print(endpoint.resource_name)


if __name__ == "__main__":
    main()
