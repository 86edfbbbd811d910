"""Addresses are those of shared, dedicated and overridden hosts."""

from __future__ import annotations

import pytest

from infra.recipes import api_host, endpoint_urls

NAME = "projects/123456789012/locations/us-central1/endpoints/42"


def test_shared() -> None:
    urls = endpoint_urls(NAME, "us-central1")
    host = "https://us-central1-aiplatform.googleapis.com"
    assert api_host("us-central1") == host
    assert urls.openai_base_url == f"{host}/v1beta1/{NAME}"
    assert urls.predict_url == f"{host}/v1/{NAME}:predict"
    assert urls.raw_predict_url == f"{host}/v1/{NAME}:rawPredict"
    assert urls.stream_raw_predict_url == f"{host}/v1/{NAME}:streamRawPredict"
    assert urls.curl == (
        f'curl -sS "{host}/v1beta1/{NAME}/chat/completions" -H "Authorization: Bearer $(gcloud auth'
        ' print-access-token)" -H "Content-Type: application/json" -d \'{"model": "", "messages": [{"role": "user",'
        ' "content": "What is a car?"}], "max_tokens": 50}\''
    )


def test_dedicated() -> None:
    dns = "42.us-central1-123456789012.prediction.vertexai.goog"
    urls = endpoint_urls(NAME, "us-central1", dns)
    assert urls.openai_base_url == f"https://{dns}/v1beta1/{NAME}"
    assert urls.predict_url == f"https://{dns}/v1/{NAME}:predict"


@pytest.mark.parametrize(
    "override",
    [
        "http://127.0.0.1:8099",
        "http://127.0.0.1:8099/",
        "http://127.0.0.1:8099/v1beta1/",
        "http://127.0.0.1:8099/v1",
    ],
)
def test_another_api(override: str) -> None:
    urls = endpoint_urls(NAME, "us-central1", api_endpoint=override)
    assert urls.openai_base_url == f"http://127.0.0.1:8099/v1beta1/{NAME}"
    assert urls.predict_url == f"http://127.0.0.1:8099/v1/{NAME}:predict"
    assert "Bearer local" in urls.curl
    dedicated = endpoint_urls(NAME, "us-central1", "a.b", override)
    assert dedicated.openai_base_url == f"http://127.0.0.1:8099/dedicated/a.b/v1beta1/{NAME}"


def test_a_proxy_keeps_the_token() -> None:
    urls = endpoint_urls(NAME, "us-central1", api_endpoint="proxy.example.com")
    assert urls.predict_url == f"https://proxy.example.com/v1/{NAME}:predict"
    assert "gcloud auth print-access-token" in urls.curl
