"""Ids keep to the API's patterns and follow content."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ids import content_hash, deployed_model_id, endpoint_id, model_id

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


@given(values)
def test_deployed_model_ids(content: Any) -> None:
    assert re.fullmatch(r"[1-9]\d{9}", deployed_model_id(content))


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
    assert deployed_model_id(["deployed", "projects/1/locations/l/endpoints/2", "m"]) == "9605063255"


def test_parts_are_kept_apart() -> None:
    assert endpoint_id("a", "bc", "d") != endpoint_id("ab", "c", "d")
    assert deployed_model_id(["a", "b"]) != deployed_model_id(["ab"])


def test_no_json_no_hash() -> None:
    with pytest.raises(TypeError):
        content_hash({"a": object()})
