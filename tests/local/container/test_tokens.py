"""The simple tokenizer and the built-in responder."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from infra.local.container import tokens
from infra.local.container.responder import Question, answer, chosen_tool, smallest


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    pieces = tokens.tokenize(text)
    assert "".join(pieces) == text
    assert tokens.count(text) == len(pieces)
    assert all(0 <= tokens.token_id(piece, 320) < 320 for piece in pieces)


def test_special_markers_are_one_token() -> None:
    assert tokens.tokenize("<|eot_id|>Hello <|image|>") == ["<|eot_id|>", "Hello", " ", "<|image|>"]


@given(
    text=st.text(max_size=200),
    limit=st.integers(1, 80),
    stop=st.lists(st.text(min_size=1, max_size=4), max_size=3),
    seed=st.one_of(st.none(), st.integers()),
)
def test_an_answer_keeps_its_limits(text: str, limit: int, stop: list[str], seed: int | None) -> None:
    question = Question(text, limit, tuple(stop), seed)
    reply = answer(question)
    assert reply == answer(question)
    assert reply.tokens <= limit + 1
    assert len(reply.pieces) <= limit
    assert all(word not in reply.text for word in stop)
    assert reply.finish_reason == (
        "stop" if reply.stop_reason or len(reply.pieces) < limit else reply.finish_reason
    )


def test_seeds_and_alternatives_choose_other_words() -> None:
    assert len({answer(Question("hi", 99, choice=index)).text for index in range(3)}) == 3
    assert len({answer(Question("hi", 99, seed=seed)).text for seed in range(20)}) > 1


def test_a_tool_is_chosen_by_its_words() -> None:
    assert chosen_tool(["get_weather", "send_mail"], "could you send a mail") == "send_mail"
    assert chosen_tool(["get_weather"], "what is new") is None


SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "nested": {"$ref": "#/$defs/inner"},
        "choice": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "count": {"type": ["integer", "null"], "minimum": 3},
        "rate": {"type": "number"},
        "fixed": {"const": 7},
        "left": {"type": "string", "default": "x"},
    },
    "required": ["kind", "tags", "nested", "choice", "count", "rate", "fixed", "left"],
    "$defs": {"inner": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}},
}


def test_the_smallest_value_of_a_schema() -> None:
    assert smallest(SCHEMA) == {
        "kind": "a",
        "tags": ["x", "x"],
        "nested": {"ok": False},
        "choice": None,
        "count": 3,
        "rate": 0,
        "fixed": 7,
        "left": "x",
    }
    assert json.loads(answer(Question("q", 500, schema=SCHEMA)).text) == smallest(SCHEMA)


def test_a_schema_that_holds_itself_ends() -> None:
    assert smallest({"$ref": "#"}) is None
