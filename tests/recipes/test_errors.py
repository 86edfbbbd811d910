"""Error texts: one form for all, closest choices first, values shortened, several problems in the file's order."""

from __future__ import annotations

import pytest

from infra.recipes import PlanError, SettingsError, StackError, UnknownKey, nearest
from infra.recipes.errors import raise_problems, show_value


def test_one_form() -> None:
    error = SettingsError(
        "is not a setting.",
        file="Pulumi.dev.yaml",
        key="vertex-vllm:buckt",
        value="b",
        choices=("bucket", "labels"),
        remedy="bucket: b",
        line=3,
    )
    assert str(error) == (
        "Pulumi.dev.yaml:3: vertex-vllm:buckt = 'b': is not a setting.\n"
        "    choices: bucket, labels\n"
        "    fix: bucket: b"
    )
    assert error.problems == (error,)


def test_parts_may_be_missing() -> None:
    assert str(StackError("is odd.")) == "is odd."
    assert str(StackError("is odd.", line=3)) == "line 3: is odd."
    assert str(StackError("is odd.", file="a", value=None)) == "a: null: is odd."


def test_many_choices_are_cut() -> None:
    text = str(StackError("x.", choices=[str(n) for n in range(11)]))
    assert text.endswith("choices: 0, 1, 2, 3, 4, 5, 6, 7 and 3 more")


def test_several_in_the_order_of_lines() -> None:
    problems = [StackError("second.", file="a", line=9), UnknownKey("first.", file="a", line=2)]
    with pytest.raises(PlanError) as caught:
        raise_problems(problems, file="a", kind=PlanError)
    assert str(caught.value) == "2 problems in a:\na:2: first.\na:9: second."
    with pytest.raises(UnknownKey):
        raise_problems(problems[1:], file="a", kind=PlanError)
    raise_problems([], file="a", kind=PlanError)


@pytest.mark.parametrize(
    ("value", "choices", "first"),
    [
        ("g2-standard-13", ["a2-highgpu-1g", "g2-standard-12", "g2-standard-96"], "g2-standard-12"),
        ("L4", ["NVIDIA_TESLA_T4", "NVIDIA_L4"], "NVIDIA_L4"),
        ("nvidia-h100-80gb", ["NVIDIA_A100_80GB", "NVIDIA_H100_80GB"], "NVIDIA_H100_80GB"),
        ("us_central_1", ["us-east1", "us-central1"], "us-central1"),
        (
            "Llama-3.1-8B-Instruct",
            ["x/Llama-3.2-1B-Instruct", "x/Meta-Llama-3.1-8B-Instruct"],
            "x/Meta-Llama-3.1-8B-Instruct",
        ),
    ],
)
def test_nearest(value: str, choices: list[str], first: str) -> None:
    assert nearest(value, choices)[0] == first
    assert sorted(nearest(value, choices)) == sorted(choices)


def test_nearest_of_no_text_keeps_the_order() -> None:
    assert nearest(3, ["b", "a"]) == ("b", "a")
    assert nearest("", ["b", "a"]) == ("b", "a")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        ("a\nb", "'a\\nb'"),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, ...]"),
    ],
)
def test_values_on_one_line(value: object, shown: str) -> None:
    assert show_value(value) == shown
    assert "\n" not in show_value({"a": "\n" * 1000})


def test_a_number_too_long_for_text() -> None:
    assert len(show_value(10**6000)) < 100
