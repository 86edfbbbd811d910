"""Google's own Python SDK and generated clients against the local Vertex AI, each over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core import exceptions
from google.auth import credentials
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1

from .helpers import FULL, IMAGE, Vertex

#: Untyped in its library.
anonymous: Any = credentials.AnonymousCredentials

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class ToLocal(requests.adapters.HTTPAdapter):
    """Sends https://HOST/… to the local cloud with that Host header, as a proxy would."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Redirects one request."""
        asked = urlsplit(request.url or "")
        request.headers["Host"] = asked.netloc
        request.url = f"{self.url}{asked.path}" + (f"?{asked.query}" if asked.query else "")
        kwargs["verify"] = False
        return super().send(request, *args, **kwargs)


def session(vertex: Vertex) -> requests.Session:
    """What the SDK uses for raw predictions, led to the local cloud."""
    made = requests.Session()
    made.trust_env = False
    made.mount("https://", ToLocal(vertex.url))
    return made


@pytest.fixture
def sdk(vertex: Vertex) -> Iterator[Vertex]:
    """The SDK, initialised for the local cloud."""
    aiplatform.init(
        project="local-project",
        location="us-central1",
        api_endpoint=vertex.url,
        api_transport="rest",
        credentials=anonymous(),
    )
    yield vertex
    aiplatform.initializer.global_config.__init__()  # type: ignore[misc]


def upload(name: str = "llama", **more: Any) -> Any:
    return aiplatform.Model.upload(
        display_name=name,
        serving_container_image_uri=IMAGE,
        serving_container_args=["python", "-m", "vllm.entrypoints.api_server"],
        serving_container_environment_variables={"MODEL_ID": "meta-llama/Meta-Llama-3.1-8B-Instruct"},
        serving_container_ports=[8080],
        serving_container_predict_route="/generate",
        serving_container_health_route="/ping",
        serving_container_deployment_timeout=7200,
        serving_container_shared_memory_size_mb=16384,
        **more,
    )


def deploy(model: Any, endpoint: Any, **more: Any) -> None:
    options = {
        "machine_type": "g2-standard-12",
        "accelerator_type": "NVIDIA_L4",
        "accelerator_count": 1,
        "deploy_request_timeout": 1800,
        **more,
    }
    model.deploy(endpoint=endpoint, **options)


def test_the_guides_life(sdk: Vertex) -> None:
    model = upload(labels={"made-by": "sdk"})
    assert model.resource_name.startswith(f"{FULL}/models/")
    assert model.version_id == "1"
    assert model.container_spec.shared_memory_size_mb == 16384
    assert model.container_spec.deployment_timeout.seconds == 7200
    endpoint: Any = aiplatform.Endpoint.create(display_name="ep", labels={"a": "b"})
    deploy(model, endpoint)
    assert [each.model for each in endpoint.list_models()] == [model.resource_name]
    assert endpoint.traffic_split == {endpoint.list_models()[0].id: 100}
    answer = endpoint.predict(instances=[{"prompt": "What is a car?", "max_tokens": 50}], parameters={"x": 1})
    assert answer.predictions == [{"echo": {"prompt": "What is a car?", "max_tokens": 50.0}}, {"x": 1.0}]
    assert answer.model_resource_name == model.resource_name
    assert answer.model_version_id == "1"
    endpoint.authorized_session = session(sdk)
    raw = endpoint.raw_predict(b'{"instances": [1]}', headers={"Content-Type": "application/json"})
    assert raw.json() == {"predictions": [{"echo": 1}]}
    assert raw.headers["X-Vertex-AI-Endpoint-Id"] == endpoint.name
    assert raw.headers["X-Vertex-AI-Deployed-Model-Id"] == endpoint.list_models()[0].id
    assert [each.name for each in aiplatform.Endpoint.list(filter="labels.a=b")] == [endpoint.name]
    assert aiplatform.Endpoint.list(filter="labels.a=c") == []
    assert [each.name for each in aiplatform.Model.list(filter='display_name="llama"')] == [model.name]
    with pytest.raises(exceptions.GoogleAPICallError, match="has deployed or being-deployed DeployedModel"):
        endpoint.delete()
    with pytest.raises(exceptions.GoogleAPICallError, match="Please undeploy the model before retry"):
        model.delete()
    endpoint.undeploy_all()
    endpoint.delete()
    model.delete()
    assert aiplatform.Model.list() == []
    assert aiplatform.Endpoint.list() == []


def test_two_models_share_the_traffic(sdk: Vertex) -> None:
    endpoint: Any = aiplatform.Endpoint.create(display_name="ep")
    first, second = upload("one"), upload("two")
    deploy(first, endpoint)
    deploy(second, endpoint, traffic_percentage=30)
    ids = {each.display_name: each.id for each in endpoint.list_models()}
    assert endpoint.traffic_split == {ids["one"]: 70, ids["two"]: 30}
    endpoint.update(traffic_split={ids["one"]: 0, ids["two"]: 100}, display_name="renamed")
    assert endpoint.display_name == "renamed"
    for _ in range(5):
        assert endpoint.predict(instances=[1]).deployed_model_id == ids["two"]
    endpoint.undeploy(deployed_model_id=ids["one"])
    with pytest.raises(ValueError, match="Sum of all traffic"):
        endpoint.undeploy(deployed_model_id=ids["two"], traffic_split={"1": 10})
    endpoint.delete(force=True)
    first.delete()
    second.delete()


def test_versions_and_aliases(sdk: Vertex) -> None:
    first = upload("llama", model_id="llama")
    second = upload("llama", parent_model="llama", version_aliases=["golden"], is_default_version=False)
    assert (first.version_id, second.version_id) == ("1", "2")
    registry = aiplatform.models.ModelRegistry("llama")
    assert sorted(each.version_id for each in registry.list_versions()) == ["1", "2"]
    assert registry.get_model("golden").version_id == "2"
    registry.add_version_aliases(new_aliases=["default"], version="2")
    assert aiplatform.Model("llama").version_id == "2"
    assert registry.get_version_info("1").version_aliases == []
    registry.delete_version("1")
    assert [each.version_id for each in registry.list_versions()] == ["2"]
    aiplatform.Model("llama").update(display_name="renamed", labels={"x": "y"})
    assert aiplatform.Model("llama@2").display_name == "renamed"


def test_a_dedicated_endpoint(sdk: Vertex) -> None:
    endpoint: Any = aiplatform.Endpoint.create(
        display_name="ep", dedicated_endpoint_enabled=True, inference_timeout=900
    )
    deploy(upload(), endpoint)
    assert (
        endpoint.dedicated_endpoint_dns
        == f"{endpoint.name}.us-central1-123456789012.prediction.vertexai.goog"
    )
    endpoint.authorized_session = session(sdk)
    answer = endpoint.predict(instances=[{"prompt": "x"}], use_dedicated_endpoint=True)
    assert answer.predictions == [{"echo": {"prompt": "x"}}]
    pieces = endpoint.stream_raw_predict(
        json.dumps({"instances": [1, 2]}).encode(),
        headers={"Content-Type": "application/json"},
        use_dedicated_endpoint=True,
    )
    assert b"".join(pieces).replace(b"\n", b"").startswith(b'{"predictions"')


def test_a_quota_that_is_full_ends_the_operation(sdk: Vertex) -> None:
    sdk.cloud.admin.quota("CustomModelServingL4GPUsPerProjectPerRegion", "us-central1", 0)
    endpoint: Any = aiplatform.Endpoint.create(display_name="ep")
    with pytest.raises(exceptions.ResourceExhausted) as caught:
        deploy(upload(), endpoint)
    assert "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion" in str(
        caught.value
    )
    assert endpoint.list_models() == []


def clients(vertex: Vertex, library: Any) -> tuple[Any, Any, Any]:
    options = {"api_endpoint": vertex.url}
    made = [
        each(transport="rest", client_options=options, credentials=anonymous())
        for each in (
            library.ModelServiceClient,
            library.EndpointServiceClient,
            library.PredictionServiceClient,
        )
    ]
    return made[0], made[1], made[2]


@pytest.mark.parametrize("library", [aiplatform_v1, aiplatform_v1beta1], ids=["v1", "v1beta1"])
def test_generated_clients(vertex: Vertex, library: Any) -> None:
    models, endpoints, prediction = clients(vertex, library)
    parent = "projects/local-project/locations/us-central1"
    container = library.ModelContainerSpec(image_uri=IMAGE, predict_route="/generate", health_route="/ping")
    request = library.UploadModelRequest(
        parent=parent, model_id="m", model=library.Model(display_name="m", container_spec=container)
    )
    uploaded = models.upload_model(request=request).result(timeout=10)
    assert uploaded.model == f"{FULL}/models/m"
    operation = endpoints.create_endpoint(
        parent=parent, endpoint=library.Endpoint(display_name="e"), endpoint_id="e"
    )
    endpoint = operation.result(timeout=10)
    machine = library.MachineSpec(
        machine_type="g2-standard-12", accelerator_type=library.AcceleratorType.NVIDIA_L4, accelerator_count=1
    )
    deployed = library.DeployedModel(
        id="7",
        model=uploaded.model,
        dedicated_resources=library.DedicatedResources(machine_spec=machine, min_replica_count=1),
    )
    started = endpoints.deploy_model(
        endpoint=endpoint.name, deployed_model=deployed, traffic_split={"0": 100}
    )
    done = started.result(timeout=10)
    assert done.deployed_model.id == "7"
    assert (
        done.deployed_model.dedicated_resources.machine_spec.accelerator_type
        == library.AcceleratorType.NVIDIA_L4
    )
    assert started.metadata.deployment_stage == library.DeploymentStage.SUCCESSFULLY_DEPLOYED
    listed = endpoints.list_operations({"name": endpoint.name, "filter": "done=true"})
    assert started.operation.name in [each.name for each in listed.operations]
    answer = prediction.predict(endpoint=endpoint.name, instances=[{"prompt": "x"}])
    assert answer.deployed_model_id == "7"
    changed = library.DeployedModel(
        id="7", dedicated_resources=library.DedicatedResources(min_replica_count=1, max_replica_count=3)
    )
    mutated = endpoints.mutate_deployed_model(
        endpoint=endpoint.name,
        deployed_model=changed,
        update_mask={
            "paths": ["dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count"]
        },
    ).result(timeout=10)
    assert mutated.deployed_model.dedicated_resources.max_replica_count == 3
    locations = endpoints.list_locations({"name": "projects/local-project"})
    assert "us-central1" in [each.location_id for each in locations.locations]
    endpoints.undeploy_model(endpoint=endpoint.name, deployed_model_id="7").result(timeout=10)
    endpoints.delete_endpoint(name=endpoint.name).result(timeout=10)
    models.delete_model(name=uploaded.model).result(timeout=10)
    assert list(models.list_models(parent=parent)) == []


def test_generated_clients_page_and_mask(vertex: Vertex) -> None:
    models, _, _ = clients(vertex, aiplatform_v1)
    for number in range(5):
        vertex.upload(f"m{number}")
    parent = "projects/local-project/locations/us-central1"
    request = {
        "parent": parent,
        "page_size": 2,
        "order_by": "display_name desc",
        "read_mask": {"paths": ["name"]},
    }
    found = list(models.list_models(request))
    assert [each.name.rpartition("/")[2] for each in found] == ["m4", "m3", "m2", "m1", "m0"]
    assert {each.display_name for each in found} == {""}
