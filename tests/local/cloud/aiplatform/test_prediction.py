"""Predictions: hosts, limits, errors of containers, raw and streamed answers, chat with the `openai` client."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from infra.local.cloud.aiplatform import prediction

from .double import Double
from .helpers import FULL, Vertex

DNS = "ded.us-central1-123456789012.prediction.vertexai.goog"


def until(condition: Callable[[], Any]) -> None:
    """Waits for something that happens soon."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture
def served(vertex: Vertex) -> Vertex:
    """m1 on the shared endpoint ep1 and on the dedicated endpoint ded."""
    vertex.served()
    vertex.endpoint("ded", dedicatedEndpointEnabled=True)
    vertex.deploy("ded", "2")
    return vertex


def client(vertex: Vertex, host: str = "", version: str = "v1beta1", endpoint: str = "ep1") -> openai.OpenAI:
    base = f"{vertex.url}{host}/{version}/{FULL}/endpoints/{endpoint}"
    return openai.OpenAI(base_url=base, api_key="local", max_retries=0)


QUESTION: list[Any] = [{"role": "user", "content": "What is a car?"}]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_chat(served: Vertex, version: str) -> None:
    answer = client(served, version=version).chat.completions.create(model="", messages=QUESTION)
    assert answer.choices[0].message.content == 'You said: "What is a car?"'


def test_chat_with_an_image(served: Vertex) -> None:
    parts: Any = [
        {"type": "image_url", "image_url": {"url": "https://example.test/cat.png"}},
        {"type": "text", "text": "What is this?"},
    ]
    answer = client(served).chat.completions.create(model="", messages=[{"role": "user", "content": parts}])
    assert "https://example.test/cat.png" in (answer.choices[0].message.content or "")


@pytest.mark.parametrize(("host", "endpoint"), [("", "ep1"), (f"/dedicated/{DNS}", "ded")])
def test_chat_streams(served: Vertex, host: str, endpoint: str) -> None:
    stream = client(served, host, endpoint=endpoint).chat.completions.create(
        model="", messages=QUESTION, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text.strip() == 'You said: "What is a car?"'


def test_frames_come_one_by_one_and_end_with_the_client(served: Vertex) -> None:
    body = {"model": "", "messages": QUESTION, "stream": True, "n": 100000}
    path = f"/v1/{FULL}/endpoints/ep1/chat/completions"
    with served.http.stream("POST", path, json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-vertex-ai-deployed-model-id"] == "1"
        first = next(response.iter_bytes())
        assert first.startswith(b"data: {")
        assert len(Double.streamed) < 100000
    until(lambda: Double.closed)
    assert len(Double.streamed) < 100000 * 6


def test_chat_where_nothing_is_deployed(served: Vertex) -> None:
    served.endpoint("empty")
    with pytest.raises(openai.BadRequestError, match="doesn't have traffic_split"):
        client(served, endpoint="empty").chat.completions.create(model="", messages=QUESTION)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client(served, endpoint="none").chat.completions.create(model="", messages=QUESTION)
    with pytest.raises(openai.AuthenticationError):
        client(served).with_options(api_key="expired").chat.completions.create(model="", messages=QUESTION)


def test_a_dedicated_endpoint_by_path_and_by_host(served: Vertex) -> None:
    body = {"instances": [{"prompt": "x"}]}
    path = f"/v1/{FULL}/endpoints/ded:predict"
    by_path = served.http.post(f"/dedicated/{DNS}{path}", json=body)
    by_host = served.http.post(path, json=body, headers={"host": DNS})
    assert by_path.json() == by_host.json()
    assert by_path.json()["deployedModelId"] == "2"
    refused = served.http.post(path, json=body)
    assert refused.status_code == 400
    assert "CloudESF" in refused.json()["error"]["message"]
    other = served.http.post(f"/dedicated/{DNS}/v1/{FULL}/endpoints/ep1:predict", json=body)
    assert other.status_code == 404
    assert served.http.get(f"/dedicated/{DNS}/v1/{FULL}/endpoints/ded").status_code == 404


def test_the_size_of_a_request(served: Vertex) -> None:
    def size(bytes_: int, host: str, endpoint: str) -> httpx.Response:
        start = '{"instances": ["'
        body = start + "x" * (bytes_ - len(start) - 3) + '"]}'
        return served.http.post(f"{host}/v1/{FULL}/endpoints/{endpoint}:predict", content=body)

    assert size(1572864, "", "ep1").status_code == 200
    error = size(1572865, "", "ep1").json()["error"]
    assert (error["status"], error["message"]) == (
        "FAILED_PRECONDITION",
        "The request size (1572865 bytes) exceeds 1.500MB limit.",
    )
    dedicated = f"/dedicated/{DNS}"
    assert size(1572865, dedicated, "ded").status_code == 200
    message = size(10 * 2**20 + 1, dedicated, "ded").json()["error"]["message"]
    assert message == "The request size (10485761 bytes) exceeds 10.000MB limit."


def test_raw_predictions_are_bytes_in_and_bytes_out(served: Vertex) -> None:
    for verb in ("rawPredict", "streamRawPredict"):
        answer = served.http.post(
            f"/v1/{FULL}/endpoints/ep1:{verb}",
            content=b"\x00\x01",
            headers={"content-type": "application/x-bytes"},
        )
        assert answer.content == b"raw:\x00\x01"
        assert answer.headers["X-Vertex-AI-Endpoint-Id"] == "ep1"
        assert answer.headers["X-Vertex-AI-Deployed-Model-Id"] == "1"


@pytest.mark.parametrize(
    ("container", "status", "canonical"),
    [
        (400, 400, "FAILED_PRECONDITION"),
        (404, 404, "NOT_FOUND"),
        (422, 422, "INVALID_ARGUMENT"),
        (429, 429, "RESOURCE_EXHAUSTED"),
        (500, 500, "INTERNAL"),
        (503, 503, "UNAVAILABLE"),
    ],
)
def test_errors_of_the_container_pass_through(
    vertex: Vertex, container: int, status: int, canonical: str
) -> None:
    vertex.served(PREDICT=str(container))
    answer = vertex.call("POST", "endpoints/ep1:predict", {"instances": [1]})
    error = answer.json()["error"]
    assert (answer.status_code, error["status"], error["message"]) == (status, canonical, '{"detail":"no"}')
    raw = vertex.call("POST", "endpoints/ep1:rawPredict", {"instances": [1]})
    assert (raw.status_code, raw.json()) == (container, {"detail": "no"})
    chat = vertex.call("POST", "endpoints/ep1/chat/completions", {"messages": []})
    assert (chat.status_code, chat.json()) == (container, {"detail": "no"})


def test_a_container_that_is_too_slow(vertex: Vertex, monkeypatch: pytest.MonkeyPatch) -> None:
    vertex.served(SLOW="20")
    monkeypatch.setattr(prediction, "SHARED_TIMEOUT", 0.05)
    answer = vertex.call("POST", "endpoints/ep1:predict", {"instances": [1]})
    assert answer.status_code == 503
    text = "Took too long to respond when processing endpoint_id: ep1, deployed_model_id: 1"
    assert answer.json()["error"]["message"] == text


def test_a_stream_past_its_time_breaks_off(served: Vertex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "SHARED_TIMEOUT", 0.2)
    body = {"model": "", "messages": QUESTION, "stream": True, "n": 100000}
    with pytest.raises(httpx.RemoteProtocolError):
        served.call("POST", "endpoints/ep1/chat/completions", body)
    until(lambda: Double.closed)


def test_an_endpoints_own_timeout(vertex: Vertex) -> None:
    vertex.upload(SLOW="20")
    config = {"inferenceTimeout": "0.050s"}
    vertex.endpoint("ded", dedicatedEndpointEnabled=True, clientConnectionConfig=config)
    vertex.deploy("ded")
    path = f"/dedicated/{DNS}/v1/{FULL}/endpoints/ded:predict"
    assert vertex.http.post(path, json={"instances": [1]}).status_code == 503
    changed = {"endpoint": {"clientConnectionConfig": {"inferenceTimeout": "1800s"}}}
    endpoint = vertex.done("POST", "endpoints/ded:update", changed)
    assert endpoint["clientConnectionConfig"] == {"inferenceTimeout": "1800s"}
    other = vertex.call("POST", "endpoints/ded:update", {"endpoint": {"displayName": "other"}})
    assert "Only client_connection_config can be updated" in other.json()["error"]["message"]


def test_invoke_reaches_any_route_of_a_container_that_asks_for_it(vertex: Vertex) -> None:
    container = {"imageUri": "gcr.io/p/i", "invokeRoutePrefix": "/*"}
    vertex.done(
        "POST", "models:upload", {"modelId": "m1", "model": {"displayName": "m", "containerSpec": container}}
    )
    vertex.endpoint("ep1")
    refused = vertex.call("POST", "endpoints/ep1:deployModel", vertex.deployment())
    assert "can only be deployed to a dedicated endpoint" in refused.json()["error"]["message"]
    vertex.endpoint("ded", dedicatedEndpointEnabled=True)
    vertex.deploy("ded")
    base = f"/dedicated/{DNS}/v1/{FULL}/endpoints/ded"
    assert (
        vertex.http.post(
            f"{base}/invoke/foo/bar", content=b"abc", headers={"content-type": "text/plain"}
        ).content
        == b"raw:abc"
    )
    answer = vertex.http.post(f"{base}:predict", json={"instances": [1]})
    assert "invoke_route_prefix" in answer.json()["error"]["message"]


def test_parameters_and_traffic(served: Vertex) -> None:
    body = {"instances": ["a"], "parameters": {"temperature": 0.5, "n": 2}}
    answer = served.ok("POST", "endpoints/ep1:predict", body)
    assert answer["predictions"] == [{"echo": "a"}, {"temperature": 0.5, "n": 2}]
    served.done(
        "POST", "endpoints/ep1:deployModel", {**served.deployment("3"), "trafficSplit": {"0": 50, "1": 50}}
    )
    seen = {served.ok("POST", "endpoints/ep1:predict", body)["deployedModelId"] for _ in range(40)}
    assert seen == {"1", "3"}


def test_access_logs(vertex: Vertex) -> None:
    vertex.upload()
    vertex.endpoint()
    vertex.deploy(enableAccessLogging=True)
    vertex.ok("POST", "endpoints/ep1:predict", {"instances": [1]})
    wanted = 'logName="projects/local-project/logs/aiplatform.googleapis.com%2Fprediction_access"'
    body = {"resourceNames": ["projects/local-project"], "filter": wanted}
    entries = vertex.http.post("/v2/entries:list", json=body).json()["entries"]
    assert [each["textPayload"] for each in entries] == ["POST /generate 200"]


def test_whole_numbers_reach_the_container_as_integers(served: Vertex) -> None:
    # Google's clients write the numbers of google.protobuf.Value as doubles.
    body = b'{"instances": [{"max_tokens": 10.0, "top_p": 0.5}], "parameters": {"n": [1.0]}}'
    where = f"/v1/{FULL}/endpoints/ep1:predict"
    answer = served.http.post(where, content=body, headers={"content-type": "application/json"})
    echoed = answer.json()["predictions"]
    assert echoed == [{"echo": {"max_tokens": 10, "top_p": 0.5}}, {"n": [1]}]
    assert "10.0" not in answer.text
    assert Double.bodies[-1] == (
        b'{"instances": [{"max_tokens": 10, "top_p": 0.5}], "parameters": {"n": [1]}}'
    )


def test_compressed_and_broken_predictions(served: Vertex) -> None:
    where = f"/v1/{FULL}/endpoints/ep1"
    chat = json.dumps({"model": "", "messages": QUESTION}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = served.http.post(f"{where}/chat/completions", content=gzip.compress(chat), headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == 'You said: "What is a car?"'
    assert served.http.post(f"{where}:predict", content=chat, headers=headers).status_code == 400
    too_large = served.http.post(f"{where}:rawPredict", content=gzip.compress(bytes(2**22)), headers=headers)
    assert "exceeds 1.500MB limit" in too_large.json()["error"]["message"]
    for body in (
        b'{"instances": [{"prompt": "\\ud800"}]}',
        b'{"instances": ' + b"[" * 150 + b"]" * 150 + b"}",
    ):
        plain = {"content-type": "application/json"}
        assert served.http.post(f"{where}:predict", content=body, headers=plain).status_code == 400
    form = {"content-type": "application/x-www-form-urlencoded"}
    refused = served.http.post(f"{where}:predict", content=b'{"instances":[1]}', headers=form)
    assert "Cannot bind query parameter" in refused.json()["error"]["message"]
