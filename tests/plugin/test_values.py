"""Property values survive the wire, and what it cannot carry is refused with its path."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from infra.plugin.values import (
    ASSET_SIGNATURE,
    LARGEST_INTEGER,
    OUTPUT_SIGNATURE,
    REFUSED_SIGNATURES,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN,
    UNKNOWN_STRINGS,
    Asset,
    WireError,
    contains_unknown,
    from_struct,
    to_struct,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-LARGEST_INTEGER, LARGEST_INTEGER),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.just(UNKNOWN),
    st.builds(Asset, path=texts, text=texts, uri=texts, hash=texts),
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


def struct(text_or_value: Any) -> struct_pb2.Struct:
    """A message with one property, `x`."""
    return to_struct({"x": text_or_value})


@given(st.dictionaries(texts, values))
def test_what_is_sent_comes_back(properties: dict[str, Any]) -> None:
    assert from_struct(to_struct(properties)) == properties


@given(st.dictionaries(texts, values))
def test_it_comes_back_through_bytes_too(properties: dict[str, Any]) -> None:
    message = struct_pb2.Struct.FromString(to_struct(properties).SerializeToString())

    assert from_struct(message) == properties


@given(st.integers(-LARGEST_INTEGER, LARGEST_INTEGER))
def test_whole_numbers_come_back_as_int(number: int) -> None:
    result = from_struct(struct(number))["x"]

    assert (result, type(result)) == (number, int)


@pytest.mark.parametrize(
    ("number", "kind"), [(1.0, int), (1.5, float), (1e300, float), (True, bool), (-0.0, int)]
)
def test_the_type_of_a_number_follows_its_value(number: float, kind: type) -> None:
    assert type(from_struct(struct(number))["x"]) is kind


def test_a_tuple_becomes_a_list() -> None:
    assert from_struct(struct((1, "a")))["x"] == [1, "a"]


def test_an_empty_list_and_an_empty_map_stay_what_they_are() -> None:
    assert from_struct(to_struct({"a": [], "b": {}, "c": None})) == {"a": [], "b": {}, "c": None}


@given(values)
def test_contains_unknown_agrees_with_the_wire(value: Any) -> None:
    assert contains_unknown(value) == (b"04da6b54-80e4" in struct(value).SerializeToString())


@pytest.mark.parametrize("text", sorted(UNKNOWN_STRINGS))
def test_every_kind_of_unknown_is_recognised(text: str) -> None:
    assert from_struct(struct({"deep": [text]}))["x"]["deep"][0] is UNKNOWN


def test_the_sdk_spells_unknown_the_same() -> None:
    from pulumi.runtime import rpc

    assert struct(UNKNOWN).fields["x"].string_value == rpc.UNKNOWN
    assert rpc._special_sig_key == SIGNATURE_KEY
    assert rpc._special_secret_sig == SECRET_SIGNATURE
    assert rpc._special_output_value_sig == OUTPUT_SIGNATURE
    assert rpc._special_asset_sig == ASSET_SIGNATURE
    assert {rpc._special_archive_sig, rpc._special_resource_sig} == set(REFUSED_SIGNATURES)


def test_unknown_is_one_object_without_a_truth_value() -> None:
    assert copy.deepcopy(UNKNOWN) is UNKNOWN
    assert copy.copy(UNKNOWN) is UNKNOWN
    assert pickle.loads(pickle.dumps(UNKNOWN)) is UNKNOWN
    assert type(UNKNOWN)() is UNKNOWN
    assert repr(UNKNOWN) == "UNKNOWN"
    assert UNKNOWN != "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    with pytest.raises(TypeError, match="no truth value"):
        bool(UNKNOWN)


def test_a_secret_that_arrives_marked_is_unwrapped() -> None:
    assert from_struct(struct({SIGNATURE_KEY: SECRET_SIGNATURE, "value": ["hf_1"]}))["x"] == ["hf_1"]


def test_an_output_that_arrives_marked_is_its_value_or_unknown() -> None:
    assert from_struct(struct({SIGNATURE_KEY: OUTPUT_SIGNATURE, "value": 1}))["x"] == 1
    assert from_struct(struct({SIGNATURE_KEY: OUTPUT_SIGNATURE}))["x"] is UNKNOWN


@pytest.mark.parametrize(
    ("fields", "asset"),
    [
        ({"path": "a/b.json", "hash": "ab"}, Asset(path="a/b.json", hash="ab")),
        ({"text": "hello", "hash": "cd"}, Asset(text="hello", hash="cd")),
        ({"uri": "https://x/y"}, Asset(uri="https://x/y")),
        ({"hash": "cd"}, Asset(hash="cd")),  # as a state has a text that it left out
    ],
)
def test_an_asset_is_carried(fields: dict[str, str], asset: Asset) -> None:
    marked = struct({SIGNATURE_KEY: ASSET_SIGNATURE, **fields})

    assert from_struct(marked)["x"] == asset
    assert struct(asset) == marked


@pytest.mark.parametrize(("signature", "what"), sorted(REFUSED_SIGNATURES.items()))
def test_what_is_not_accepted_is_refused_with_its_path(signature: str, what: str) -> None:
    message = struct({"files": [{SIGNATURE_KEY: signature, "text": "a"}]})

    with pytest.raises(WireError) as error:
        from_struct(message)

    assert str(error.value) == (
        f"x.files[0]: {what} is not accepted here; give text, a number, true or false, a list or a map."
    )


def test_an_unheard_of_signature_is_refused() -> None:
    with pytest.raises(WireError, match="unsupported kind \\(signature abc\\)"):
        from_struct(struct({SIGNATURE_KEY: "abc"}))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            2**53 + 1,
            "x.n: 9007199254740993 is beyond 2^53, the largest integer that a property carries exactly.",
        ),
        (float("nan"), "x.n: nan is not a finite number."),
        (float("inf"), "x.n: inf is not a finite number."),
        (b"bytes", "x.n: a value of type bytes cannot be sent to the engine."),
        ({1: "a"}, "x.n: a map's keys must be text, not int (1)."),
        ("\ud800", "x.n: the text is not valid Unicode (surrogates not allowed at character 0)."),
        ([object()], "x.n[0]: a value of type object cannot be sent to the engine."),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_path(value: Any, problem: str) -> None:
    with pytest.raises(WireError) as error:
        struct({"n": value})

    assert str(error.value) == problem
