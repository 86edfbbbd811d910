"""Dynamic LoRA through the local cloud: an adapter in a bucket of its own is used once the account may read it."""

from __future__ import annotations

from typing import Any

import yaml

from infra.local.cloud.testing import NUMBER, PROJECT, REGION, cloud_in_thread
from infra.recipes import plan
from infra.recipes.stackfile import parse_stack
from tests.adapters import config, layer, weights
from tests.client.talking import PARENT, Talking

STACK = """
model: meta-llama/Meta-Llama-3.1-8B-Instruct
vllm: {enable_lora: true}
lora: {sql: 'gs://adapters/sql', hub: me/adapter}
"""


def test_an_adapter_needs_the_right_to_read_its_bucket() -> None:
    stack = parse_stack(yaml.safe_load(STACK), file="stacks/a.yaml", lines={})
    served = plan(stack, region=REGION, source="stacks/a.yaml")
    with cloud_in_thread(container="simulated") as cloud:
        cloud.admin.enable("aiplatform.googleapis.com")
        talking = Talking(cloud)

        def post(path: str, body: Any, **query: str) -> Any:
            return cloud.http.post(path, json=body, params=query).raise_for_status().json()

        email = post(f"/v1/projects/{PROJECT}/serviceAccounts", {"accountId": "serving"})["email"]
        post("/storage/v1/b", {"name": "adapters", "location": "US-CENTRAL1"}, project=PROJECT)
        for name, content in (
            ("adapter_config.json", config()),
            ("adapter_model.safetensors", weights(layer())),
        ):
            cloud.http.post(
                "/upload/storage/v1/b/adapters/o",
                content=content,
                params={"uploadType": "media", "name": f"sql/{name}"},
            ).raise_for_status()
        container = {
            "imageUri": served.container.image_uri,
            "args": list(served.container.args),
            "env": [{"name": "HF_TOKEN", "value": "hf_local"}],
            "ports": [{"containerPort": 8080}],
            "predictRoute": "/generate",
            "healthRoute": "/ping",
        }
        talking.done(
            "models:upload", {"modelId": "m1", "model": {"displayName": "m", "containerSpec": container}}
        )
        talking.done("endpoints", {"displayName": "lora"}, endpointId="1")
        machine = {
            "machineType": served.hardware.machine_type,
            "acceleratorType": served.hardware.accelerator_type,
            "acceleratorCount": served.hardware.accelerator_count,
        }
        deployed = {
            "model": f"projects/{NUMBER}/locations/{REGION}/models/m1",
            "displayName": "d",
            "serviceAccount": email,
            "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1},
        }
        talking.done("endpoints/1:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}})

        def ask(adapter: str) -> Any:
            instance = {"prompt": "Rows?", "max_tokens": 8, "lora_id": adapter}
            return cloud.http.post(f"{PARENT}/endpoints/1:predict", json={"instances": [instance]})

        refused = ask(stack.lora["sql"])
        assert refused.status_code != 200
        assert "gs://adapters/sql cannot be read" in refused.text
        assert ask(stack.lora["hub"]).status_code == 200

        policy = cloud.http.get("/storage/v1/b/adapters/iam").json()
        grant = {"role": "roles/storage.objectViewer", "members": [f"serviceAccount:{email}"]}
        policy["bindings"] = [*policy.get("bindings", []), grant]
        cloud.http.put("/storage/v1/b/adapters/iam", json=policy).raise_for_status()
        assert ask(stack.lora["sql"]).status_code == 200
        assert "No adapter found for gs://adapters/none" in ask("gs://adapters/none").text
