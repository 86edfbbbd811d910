"""One model's whole life over REST."""

from __future__ import annotations

from .helpers import FULL, Vertex


def test_upload_deploy_predict_undeploy_delete(vertex: Vertex) -> None:
    vertex.served()
    endpoint = vertex.ok("GET", "endpoints/ep1")
    assert endpoint["name"] == f"{FULL}/endpoints/ep1"
    assert endpoint["trafficSplit"] == {"1": 100}
    assert [each["id"] for each in endpoint["deployedModels"]] == ["1"]
    answer = vertex.ok("POST", "endpoints/ep1:predict", {"instances": [{"prompt": "hi", "max_tokens": 5}]})
    assert answer == {
        "predictions": [{"echo": {"prompt": "hi", "max_tokens": 5}}],
        "deployedModelId": "1",
        "model": f"{FULL}/models/m1",
        "modelDisplayName": "m1",
        "modelVersionId": "1",
    }
    vertex.done("POST", "endpoints/ep1:undeployModel", {"deployedModelId": "1"})
    vertex.done("DELETE", "endpoints/ep1")
    vertex.done("DELETE", "models/m1")
    state = vertex.cloud.admin.state()
    assert not state["models"]
    assert not state["endpoints"]
