"""Ids keep to the API's patterns and follow content; addresses are those of shared, dedicated and overridden hosts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.recipes import api_host, content_hash, deployed_model_id, endpoint_id, endpoint_urls, model_id

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.text(), st.text())
def test_endpoint_ids(project: str, region: str, stack: str) -> None:
    assert re.fullmatch(r"[1-9]\d{8}", endpoint_id(project, region, stack))
    assert endpoint_id(project, region, stack) == endpoint_id(project, region, stack)


@given(st.text(), values)
def test_model_ids(slug: str, content: Any) -> None:
    made = model_id(slug, content)
    assert re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}", made)
    assert made.endswith(content_hash(content)[:10])
    assert re.fullmatch(r"[0-9a-f]{10}", made[-10:])


@given(st.lists(st.text(), max_size=4))
def test_deployed_model_ids(parts: list[str]) -> None:
    assert re.fullmatch(r"[1-9]\d{9}", deployed_model_id(*parts))


@given(values)
def test_the_hash_survives_json_and_the_order_of_keys(value: Any) -> None:
    assert content_hash(value) == content_hash(json.loads(json.dumps(value)))
    assert content_hash({"a": value, "b": 1}) == content_hash({"b": 1, "a": value})


def test_known_ids_stay_what_they_are() -> None:
    """A changed derivation would orphan every endpoint that is deployed."""
    assert endpoint_id("local-project", "us-central1", "local") == "981709658"
    assert (
        model_id("meta-llama-3.1-8b-instruct.l4x1", {"a": [1, 2]})
        == "meta-llama-3-1-8b-instruct-l4x1-01530d164d"
    )
    assert deployed_model_id("projects/1/locations/l/endpoints/2", "m") == "9605063255"


def test_parts_are_kept_apart() -> None:
    assert endpoint_id("a", "bc", "d") != endpoint_id("ab", "c", "d")
    assert deployed_model_id("a", "b") != deployed_model_id("ab")


def test_no_json_no_hash() -> None:
    with pytest.raises(TypeError):
        content_hash({"a": object()})


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
