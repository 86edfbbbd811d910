"""A killed server carries on where it stopped: operations, deployments, containers."""

from __future__ import annotations

from infra.local.cloud.testing import CloudProcess

from .helpers import FULL, IMAGE, Vertex

ARGS = [
    "python", "-m", "vllm.entrypoints.api_server", "--host=0.0.0.0", "--port=8080",
    "--model=meta-llama/Meta-Llama-3.1-8B-Instruct", "--tensor-parallel-size=1", "--gpu-memory-utilization=0.9",
    "--max-model-len=4096", "--max-num-seqs=256",
]  # fmt: skip
MODEL = {
    "displayName": "llama",
    "containerSpec": {
        "imageUri": IMAGE,
        "args": ARGS,
        "env": [
            {"name": "MODEL_ID", "value": "meta-llama/Meta-Llama-3.1-8B-Instruct"},
            {"name": "HF_TOKEN", "value": "hf_x"},
        ],
        "predictRoute": "/generate",
        "healthRoute": "/ping",
    },
}


def test_killed_while_deploying_and_killed_while_serving(cloud_process: CloudProcess) -> None:
    cloud_process.arguments = ("--mode", "manual")
    vertex = Vertex(cloud_process.start())
    vertex.cloud.admin.timing(mode="immediate")
    vertex.enable()
    vertex.done("POST", "models:upload", {"modelId": "m1", "model": MODEL})
    vertex.endpoint()
    vertex.cloud.admin.timing(mode="manual")
    operation = vertex.ok("POST", "endpoints/ep1:deployModel", vertex.deployment())
    vertex.cloud.admin.advance(operation["name"], 3)
    cloud_process.kill()

    vertex = Vertex(cloud_process.start())
    found = vertex.ok("GET", f"/v1/{operation['name']}")
    assert "done" not in found
    in_flight = vertex.ok("GET", "endpoints/ep1", allDeploymentStates="true")
    assert [each["id"] for each in in_flight["deployedModels"]] == ["1"]
    assert vertex.call("POST", "endpoints/ep1:deployModel", vertex.deployment()).status_code == 409
    vertex.cloud.admin.timing(mode="immediate")
    assert vertex.wait(operation)["response"]["deployedModel"]["id"] == "1"
    cloud_process.kill()

    vertex = Vertex(cloud_process.start())
    answer = vertex.ok("POST", "endpoints/ep1:predict", {"instances": [{"prompt": "x", "max_tokens": 5}]})
    assert answer["model"] == f"{FULL}/models/m1"
    assert len(answer["predictions"]) == 1
    assert vertex.ok("GET", "endpoints/ep1")["trafficSplit"] == {"1": 100}
    vertex.done("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1"})
    assert cloud_process.stop() in (0, -15)
