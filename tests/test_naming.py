"""Google's naming rules: tables at their limits, and properties that hold for every text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import naming


@pytest.mark.parametrize("text", ["my-project", "abcdef", "a" * 30, "example.com:my-project", "p-1234"])
def test_project_ids(text: str) -> None:
    assert naming.is_project_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "short", "a" * 31, "My-Project", "1project", "project-", "my_project", "123456789012", "a b-c-d-e"],
)
def test_no_project_ids(text: str) -> None:
    assert not naming.is_project_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "vllm@my-project.iam.gserviceaccount.com",
        "vllm@my-project.example.com.iam.gserviceaccount.com",
        "123456789012-compute@developer.gserviceaccount.com",
        "my-project@appspot.gserviceaccount.com",
    ],
)
def test_service_accounts(text: str) -> None:
    assert naming.is_service_account(text)


@pytest.mark.parametrize(
    "text",
    [
        "me@example.com",
        "serviceAccount:vllm@my-project.iam.gserviceaccount.com",
        "vllm",
        "@p.iam.gserviceaccount.com",
        "vllm@iam.gserviceaccount.com.example.com",
    ],
)
def test_no_service_accounts(text: str) -> None:
    assert not naming.is_service_account(text)


@pytest.mark.parametrize("name", ["abc", "a" * 63, "my.bucket.example.com", "a_b-c", "1bucket"])
def test_bucket_names(name: str) -> None:
    assert naming.bucket_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ab", "2 characters"),
        ("a" * 64, "64 characters"),
        ("a" * 64 + ".b", "longer than 63"),
        ("My-Bucket", "lower-case"),
        ("-bucket", "lower-case"),
        ("bucket-", "lower-case"),
        ("buck..et", "lower-case"),
        ("goog-bucket", "goog"),
        ("my-google-bucket", "google"),
        ("192.168.5.4", "IP address"),
    ],
)
def test_no_bucket_names(name: str, words: str) -> None:
    assert words in (naming.bucket_name_problem(name) or "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Meta-Llama-3.1-8B-Instruct", "meta-llama-3-1-8b-instruct"),
        ("local", "local"),
        ("--a b--", "a-b"),
        ("x" * 80, "x" * 63),
        ("", ""),
    ],
)
def test_label_values_are_made(text: str, value: str) -> None:
    assert naming.label_value(text) == value


@given(st.text())
def test_any_text_becomes_a_label_value(text: str) -> None:
    assert naming.is_label_value(naming.label_value(text))


@pytest.mark.parametrize("text", ["owner", "a" * 63, "größe", "cost_center-2"])
def test_label_names(text: str) -> None:
    assert naming.is_label_name(text)


@pytest.mark.parametrize("text", ["", "Owner", "1st", "a" * 64, "a.b", "-a", "a b"])
def test_no_label_names(text: str) -> None:
    assert not naming.is_label_name(text)


def test_account_id_of_a_short_stack_is_readable() -> None:
    assert naming.account_id("vertex-vllm", "dev") == "vertex-vllm-dev"


@given(st.text(min_size=1, max_size=100), st.text(min_size=1, max_size=100))
def test_account_ids_are_valid(project: str, stack: str) -> None:
    made = naming.account_id(project, stack)
    assert 6 <= len(made) <= 30
    assert made[0].isalpha()
    assert made[-1].isalnum()
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_account_ids_of_stacks_that_look_alike_differ() -> None:
    names = ["feature/a", "feature_a", "Feature-a", "feature-a", "x" * 40, "x" * 41]
    assert len({naming.account_id("vertex-vllm", name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:8099/v1beta1/", "http://127.0.0.1:8099"),
        ("http://127.0.0.1:8099", "http://127.0.0.1:8099"),
        ("https://proxy.example.com/v1/", "https://proxy.example.com"),
        ("http://[::1]:80/v1", "http://[::1]:80"),
    ],
)
def test_api_origins(url: str, origin: str) -> None:
    assert naming.api_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8099",
        "ftp://a",
        "http://",
        "http://a:99999/",
        "http://a/v2/",
        "http://u:p@a/",
        "http://a/?b=c",
    ],
)
def test_no_api_origins(url: str) -> None:
    assert naming.api_origin(url) is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9"]
)
def test_loopback(url: str) -> None:
    assert naming.is_loopback(url)


@pytest.mark.parametrize(
    "url", ["http://192.168.1.1", "http://localhost.example.com", "", "http://[::2]", "http://["]
)
def test_no_loopback(url: str) -> None:
    assert not naming.is_loopback(url)
