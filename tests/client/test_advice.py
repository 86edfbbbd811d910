"""What a failed request is said to mean."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from infra.client.advice import advice, message_of, timed_out
from infra.client.endpoint import Endpoint

SHARED = Endpoint(
    name="projects/p/locations/r/endpoints/1",
    project="p",
    region="r",
    openai_base_url="https://r-aiplatform.googleapis.com/v1beta1/projects/p/locations/r/endpoints/1",
    predict_url="",
    raw_predict_url="",
    stream_raw_predict_url="",
    api="https://r-aiplatform.googleapis.com",
    dns=None,
    timeout_s=60,
)
DEDICATED = replace(SHARED, dns="1.r-2.prediction.vertexai.goog", timeout_s=600)
TOO_LONG = "Took too long to respond when processing endpoint_id: 1, deployed_model_id: 2"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"code": 503, "message": "a\n b", "status": "UNAVAILABLE"}}, "a b"),
        ([{"error": {"message": "in a list"}}], "in a list"),
        ({"object": "error", "message": "vLLM before 0.10", "type": "BadRequestError"}, "vLLM before 0.10"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (json.dumps({"error": {"message": '{"error": {"message": "the container\'s"}}'}}), "the container's"),
        ("<html>oops</html>", "<html>oops</html>"),
        (None, ""),
        ({}, "{}"),
    ],
)
def test_the_message_of_every_party(body: object, message: str) -> None:
    assert message_of(body) == (message if body else "")


@pytest.mark.parametrize(
    ("status", "message", "endpoint", "seconds", "is_one"),
    [
        (503, TOO_LONG, SHARED, 1.0, True),
        (504, "Deadline expired", SHARED, None, True),
        (503, "no words", SHARED, 60.2, True),
        (503, "no words", SHARED, 3.0, False),
        (503, "no words", DEDICATED, 60.2, False),
        (503, "No healthy replica is available", SHARED, 60.2, False),
        (None, "peer closed connection", DEDICATED, 600.5, True),
        (None, "peer closed connection", DEDICATED, 20.0, False),
        (None, "peer closed connection", SHARED, 900.0, False),
        (400, "no words", SHARED, 60.0, False),
    ],
)
def test_what_is_a_time_out(
    status: int | None, message: str, endpoint: Endpoint, seconds: float | None, is_one: bool
) -> None:
    assert timed_out(status, message, endpoint, seconds) is is_one


def test_a_time_out_of_a_shared_endpoint_cannot_be_raised() -> None:
    text = advice(SHARED, 503, TOO_LONG, seconds=60.4, max_tokens=2000)
    assert "Timed out after 60 s (503" in text
    assert "60 s, the time-out of a shared endpoint, which cannot be changed" in text
    assert "3600 s" in text
    assert "Lower max_tokens below 2000" in text
    assert 'vertex-vllm:dedicatedEndpoint: "true"' in text
    assert TOO_LONG in text


@pytest.mark.parametrize(
    ("limit", "said", "more"),
    [
        (600, "600 s, this dedicated endpoint's inferenceTimeout (at most 3600 s)", True),
        (3600, "3600 s, this dedicated endpoint's inferenceTimeout (at most 3600 s)", False),
        (None, "600 s where it is not set, at most 3600 s", True),
    ],
)
def test_a_time_out_of_a_dedicated_endpoint_names_its_own(limit: float | None, said: str, more: bool) -> None:
    text = advice(replace(DEDICATED, timeout_s=limit), 503, TOO_LONG)
    assert said in text
    assert ("clientConnectionConfig.inferenceTimeout" in text) is more
    assert "dedicatedEndpoint:" not in text
    assert "none was given" in text


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (503, "No healthy replica is available for endpoint_id: 1", "vertex-vllm diagnose"),
        (400, "Endpoint x doesn't have traffic_split.", "pulumi up"),
        (400, "This endpoint is a dedicated endpoint via CloudESF and cannot be accessed", "--endpoint ID"),
        (400, "The request size (2000000 bytes) exceeds 1.500MB limit.", "a smaller image"),
        (400, "Loading lora gs://b/a failed: No adapter found for gs://b/a", "pulumi stack output lora"),
        (400, "LoRA rank 64 is greater than max_lora_rank 16.", "--max-lora-rank in vllm.extra_args"),
        (400, "As of transformers v4.44, default chat template is no longer allowed", "vllm.chat_template"),
        (400, "This model's maximum context length is 4096 tokens. However, you requested", "--max-tokens"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice', "vllm.tool_calling: true"),
        (400, "Unknown model type: llama", "takes no images"),
        (400, "At most 1 image(s) may be provided in one request.", "--limit-mm-per-prompt"),
        (400, "At most 1 image(s) may be provided in one request.", "those of earlier turns count; /new"),
        (404, "The model `x` does not exist.", "LoRA adapter"),
        (404, "Endpoint not found", "not there any more"),
        (403, "Permission denied", "roles/aiplatform.user"),
        (401, "Request had invalid authentication credentials", "application-default login"),
        (429, "Resource exhausted", "max_replica_count"),
        (500, "Internal", "vertex-vllm logs"),
        (None, "Name or service not known", SHARED.openai_base_url),
    ],
)
def test_every_refusal_says_what_to_do(status: int | None, message: str, remedy: str) -> None:
    text = advice(SHARED, status, message, seconds=0.1)
    first, _, rest = text.partition("\n")
    assert message in first
    assert remedy in rest


def test_a_token_that_was_given_is_not_replaced_by_logging_in() -> None:
    text = advice(SHARED, 401, "invalid", fixed_token=True)
    assert "GOOGLE_OAUTH_ACCESS_TOKEN has expired" in text
    assert "login" not in text


def test_what_is_not_known_gets_no_advice() -> None:
    assert advice(SHARED, 418, "I'm a teapot") == "The endpoint answers 418: I'm a teapot"


def test_a_local_cloud_that_is_down() -> None:
    local = replace(SHARED, openai_base_url="http://127.0.0.1:1/v1beta1/x")
    assert "make env starts it" in advice(local, None, "Connection refused")
