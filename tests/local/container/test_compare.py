"""The comparison's own logic, and the findings that are written down."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from infra.local.container.compare import report
from infra.local.container.compare.cases import ARGUMENTS, GROUPS
from infra.local.container.compare.report import Difference
from infra.local.container.compare.shapes import answer, differences, frames, shape

ROOT = Path(__file__).parents[3]


def test_ids_times_words_and_counts_are_not_compared() -> None:
    one = {"id": "chatcmpl-0123456789abcdef0123456789abcdef", "created": 1, "usage": {"total_tokens": 3}}
    other = {"id": "chatcmpl-ffffffffffffffffffffffffffffffff", "created": 2, "usage": {"total_tokens": 4}}
    assert shape(one) == shape(other)
    assert shape({"message": {"content": "a"}}) == shape({"message": {"content": "b"}})
    assert shape({"message": {"content": None}}) != shape({"message": {"content": "b"}})


def test_everything_else_is() -> None:
    assert differences(shape({"a": 1, "b": [1]}), shape({"a": 2, "b": [1, 2], "c": None})) == [
        ("a", 1, 2),
        ("b", [1], [1, 2]),
        ("c", "<absent>", None),
    ]
    assert differences({"error": {"message": "x"}}, {"error": {"message": "y"}}) == [
        ("error.message", "x", "y")
    ]


def test_frames_are_shapes_by_alternative_without_repetition() -> None:
    def frame(index: int, text: str) -> str:
        return "data: " + json.dumps({"choices": [{"index": index, "text": text}]}) + "\n\n"

    body = frame(0, "a") + frame(1, "b") + frame(0, "c") + "data: [DONE]\n\n"
    assert frames(body.encode()) == [
        {"choices": [{"index": 0, "text": "<text>"}]},
        {"choices": [{"index": 1, "text": "<text>"}]},
        "[DONE]",
    ]


def test_answers_by_content_type() -> None:
    assert answer(200, "application/json; charset=utf-8", b'{"a": 1}')["body"] == {"a": 1}
    assert answer(200, "text/plain", b"# HELP x")["body"] == "<metrics>"
    assert answer(200, "", b"")["body"] == ""


def test_a_difference_is_explained_by_pattern_or_not_at_all() -> None:
    explanations = [{"case": "chat*", "where": "body.a*", "why": "because"}]
    results = [("chat: x", [Difference("body.ab", 1, 2), Difference("status", 200, 400)]), ("ping", [])]
    rows = report.judge(results, explanations)
    assert [row.verdict for row in rows] == ["explained", "UNEXPLAINED", "equal"]
    assert report.unused(results, explanations) == []
    assert report.unused([("ping", [])], explanations) == explanations
    assert report.counts(rows) == "2 cases: 1 equal; 1 explained and 1 unexplained differences in the rest"
    assert "| chat: x | `body.ab` | `1` | `2` | because |" in report.markdown(rows, "total")


def test_case_names_are_unique_and_their_bodies_can_be_sent() -> None:
    cases = [case for group in GROUPS for case in group.cases]
    assert len({case.name for case in cases}) == len(cases) > 90
    assert all(isinstance(case.content(), bytes) for case in cases)


def test_the_written_findings_are_of_todays_cases_and_explain_everything() -> None:
    page = (ROOT / "docs" / "vllm-differences.md").read_text()
    explanations = yaml.safe_load((ROOT / "infra/local/container/compare/explanations.yaml").read_text())
    assert "0 unexplained differences" in page
    for entry in explanations:
        assert entry["why"] in page
    for group in GROUPS:
        for case in group.cases:
            assert case.name in page
    for words in ARGUMENTS:
        assert "arguments: " + " ".join(words) in page
