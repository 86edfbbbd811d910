"""Routes of the three servers, completions, predictions, metrics, keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.container import ContainerRequest, make_container
from tests.local.container.conftest import FORK, LLAMA, VISION, Asker, ask, container_request

V085 = f"{FORK}:20250506_0916_RC01"
A100 = ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)
Serve = Callable[..., Asker]


def _predict(asker: Asker, *instances: Any, **more: Any) -> Any:
    return asker("POST", "/generate", {"instances": list(instances), **more})


def test_health_and_listing_routes(serve: Serve) -> None:
    asker = serve()
    for path in ("/ping", "/health"):
        assert (asker("GET", path).status, asker("GET", path).body) == (200, b"")
    assert asker("GET", "/version").json == {"version": "0.6.2"}
    card = asker("GET", "/v1/models").json["data"][0]
    assert (card["id"], card["max_model_len"], card["owned_by"]) == (LLAMA, 4096, "vllm")
    assert asker("GET", "/nope").json == {"detail": "Not Found"}
    assert asker("GET", "/generate").status == 405
    assert asker("POST", "/v1/models", {}).json == {"detail": "Method Not Allowed"}


def test_the_guides_prediction(serve: Serve) -> None:
    instance = {"prompt": "What is a car?", "max_tokens": 50, "temperature": 1.0, "top_p": 1.0, "top_k": 1}
    asker = serve()
    shown = _predict(asker, {**instance, "raw_response": False}).json["predictions"][0]
    assert shown.startswith("Prompt:\nWhat is a car?\nOutput:\n")
    raw = _predict(asker, {**instance, "raw_response": True}).json["predictions"][0]
    assert shown == f"Prompt:\nWhat is a car?\nOutput:\n{raw}"


def test_several_instances_and_shared_parameters(serve: Serve) -> None:
    reply = _predict(serve(), {"prompt": "a"}, {"prompt": "b", "max_tokens": 2}, parameters={"max_tokens": 4})
    first, second = (text.split("Output:\n")[1] for text in reply.json["predictions"])
    assert first.startswith(second)
    assert len(first) > len(second)


def test_n_gives_a_list_for_the_instance(serve: Serve) -> None:
    predictions = _predict(serve(), {"prompt": "a", "n": 2, "raw_response": True}).json["predictions"]
    assert len(predictions[0]) == 2


def test_the_default_limit_is_16_tokens(serve: Serve) -> None:
    text = _predict(serve(), {"prompt": "a", "raw_response": True}).json["predictions"][0]
    assert text.startswith("I am the built-in responder of the local")
    assert len(text) < 100


@pytest.mark.parametrize(
    ("instance", "status", "text"),
    [
        ({"max_tokens": 5}, 400, "instances[0].prompt is missing or not a string."),
        ("hello", 400, 'instances[0] must be an object with "prompt", not str.'),
        ({"prompt": "a", "max_tokens": "5"}, 400, "instances[0].max_tokens must be an integer, got '5'."),
        ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ({"prompt": "a", "temperature": -1}, 400, "temperature must be non-negative, got -1."),
        ({"prompt": "a", "foo": 1}, 500, "got an unexpected keyword argument 'foo'"),
        ({"prompt": "word " * 5000}, 400, "more than max_model_len 4096"),
        (
            {"prompt": "a", "lora_id": "gs://b/adapter"},
            400,
            "lora_id needs a server started with --enable-lora",
        ),
        ({"prompt": "a", "multi_modal_data": {"image": "https://x/y.png"}}, 400, "Unknown model type: llama"),
    ],
)
def test_instances_that_are_refused(serve: Serve, instance: Any, status: int, text: str) -> None:
    reply = _predict(serve(), instance)
    assert reply.status == status
    assert text in reply.message


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"instances": []}', b'{"instances": {}}'])
def test_bodies_that_are_refused(serve: Serve, body: bytes) -> None:
    assert serve()("POST", "/generate", body).status == 400


def test_images_of_the_predict_route(serve: Serve) -> None:
    asker = serve("--max-num-seqs=12", model=VISION, machine=A100)
    data = {"image": "https://example.com/cat.png"}
    prompt = "<|begin_of_text|><|image|>What is this?"
    good = _predict(asker, {"prompt": prompt, "multi_modal_data": data, "max_tokens": 99})
    assert "1 image, which I cannot see" in good.json["predictions"][0]
    without = _predict(asker, {"prompt": "What is this?", "multi_modal_data": data})
    assert (
        "prompt has 0 <|image|> for 1 image(s): begin it with <|begin_of_text|><|image|>." in without.message
    )
    assert "must be" in _predict(asker, {"prompt": prompt, "multi_modal_data": {"audio": "x"}}).message


def test_vllms_plain_body_on_googles_image(serve: Serve) -> None:
    asker = serve()
    assert asker("POST", "/generate", {"prompt": "Hi", "max_tokens": 2}).json == {
        "text": ["Prompt:\nHi\nOutput:\nI am"],
    }
    stream = asker(
        "POST", "/generate", {"prompt": "Hi", "max_tokens": 2, "stream": True, "raw_response": True}
    )
    chunks = [json.loads(chunk) for chunk in stream.body.split(b"\0") if chunk]
    assert [chunk["text"][0] for chunk in chunks] == ["I", "I am"]


def test_a_predict_route_of_ones_own(serve: Serve) -> None:
    asker = serve(predict_route="/predict")
    assert asker("POST", "/predict", {"instances": [{"prompt": "a"}]}).status == 200


def test_a_completion(serve: Serve) -> None:
    body = serve()("POST", "/v1/completions", {"model": LLAMA, "prompt": "Once"}).json
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 16


def test_completions_of_several_prompts_and_token_ids(serve: Serve) -> None:
    asker = serve(image=V085)
    many = asker("POST", "/v1/completions", {"prompt": ["a", "b"], "n": 2, "max_tokens": 2}).json
    assert [choice["index"] for choice in many["choices"]] == [0, 1, 2, 3]
    ids = asker("POST", "/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 2}).json
    assert ids["usage"]["prompt_tokens"] == 3


def test_a_streamed_completion_adds_up(serve: Serve) -> None:
    asker = serve(image=V085)
    body = {"prompt": "Once", "max_tokens": 5, "echo": True}
    whole = asker("POST", "/v1/completions", body).json["choices"][0]["text"]
    events = asker("POST", "/v1/completions", {**body, "stream": True}).events
    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == whole
    assert whole.startswith("Once")
    assert events[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": []}, "please provide at least one prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix is not currently supported"),
        ({"prompt": "a", "max_tokens": 5000}, "maximum context length is 4096 tokens"),
        ({"prompt": "a", "logprobs": -1}, "`logprobs` must be a positive value."),
        ({"prompt": "a", "model": "other"}, "The model `other` does not exist."),
    ],
)
def test_completions_that_are_refused(serve: Serve, fields: dict[str, Any], text: str) -> None:
    reply = serve(image=V085)("POST", "/v1/completions", fields)
    assert reply.status in (400, 404)
    assert text in reply.message


def test_metrics_follow_the_log_stats_flag_and_the_version(serve: Serve) -> None:
    assert serve("--disable-log-stats")("GET", "/metrics").body == b""
    asker = serve()
    _predict(asker, {"prompt": "a"})
    text = asker("GET", "/metrics").body.decode()
    assert f'vllm:generation_tokens_total{{model_name="{LLAMA}"}} 16.0' in text
    assert "vllm:gpu_cache_usage_perc" in text
    newer = serve(image="docker.io/vllm/vllm-openai:v0.14.0", health_route="/health")
    text = newer("GET", "/metrics").body.decode()
    assert "vllm:kv_cache_usage_perc" in text
    assert "gpu_cache_usage_perc" not in text


def test_tokens_are_counted(serve: Serve) -> None:
    reply = serve()("POST", "/tokenize", {"model": LLAMA, "prompt": "Hello world"}).json
    assert reply["count"] == len(reply["tokens"]) == 2
    assert serve()("POST", "/tokenize", {"model": LLAMA}).status == 400


def test_an_api_key_guards_the_openai_routes(serve: Serve) -> None:
    asker = serve("--api-key=secret")
    assert asker("GET", "/v1/models").json == {"error": "Unauthorized"}
    assert asker("GET", "/v1/models", authorization="Bearer wrong").status == 401
    assert asker("GET", "/v1/models", authorization="Bearer secret").status == 200
    assert asker("GET", "/ping").status == 200


def test_upstreams_plain_server_has_no_openai_routes() -> None:
    image = "docker.io/vllm/vllm-openai:v0.9.2"
    common = ("--host=0.0.0.0", "--port=8080", f"--model={LLAMA}", "--max-model-len=4096")

    async def status(module: str, method: str, path: str, body: Any = None) -> int:
        request = ContainerRequest(
            image,
            command=("python3", "-m", module),
            args=common,
            env={"HF_TOKEN": "hf_x"},
            health_route="/health",
            machine_type="g2-standard-12",
            accelerator_type="NVIDIA_L4",
            accelerator_count=1,
        )
        container = make_container(request, backend="simulated")
        assert (await container.start()).ok
        return (await ask(container, method, path, body)).status

    plain, server = "vllm.entrypoints.api_server", "vllm.entrypoints.openai.api_server"
    assert asyncio.run(status(plain, "GET", "/v1/models")) == 404
    assert asyncio.run(status(plain, "POST", "/generate", {"prompt": "a"})) == 200
    assert asyncio.run(status(server, "GET", "/v1/models")) == 200
    assert asyncio.run(status(server, "POST", "/generate", {"prompt": "a"})) == 404


def test_a_stopped_container_does_not_answer() -> None:
    async def run() -> tuple[int, int]:
        container = make_container(container_request(), backend="simulated")
        before = (await ask(container, "GET", "/ping")).status
        await container.start()
        await container.stop()
        await container.stop()
        return before, (await ask(container, "GET", "/ping")).status

    assert asyncio.run(run()) == (503, 503)


def test_unknown_backends_are_named() -> None:
    with pytest.raises(
        ValueError, match="container backend 'docker' is unknown: use `simulated`, `vllm`, or the"
    ):
        make_container(ContainerRequest("x"), backend="docker")


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions", "/v1/completions"])
def test_bodies_that_are_nested_too_deeply(serve: Serve, path: str) -> None:
    answer = serve()("POST", path, b'{"prompt": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    assert answer.status == 400
    assert b"nested too deeply" in answer.body
