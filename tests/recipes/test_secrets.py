"""Secrets in a stack file: refused among the arguments whatever the version, and shown nowhere.

What is not proved: that a secret without a name or a form of its own is noticed.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from infra.recipes import StackError, catalog, load_stack_file, plan
from infra.recipes.errors import FlagError, hide_secrets
from infra.recipes.stackfile import parse_stack

TOKEN = "hf_" + "aB3" * 11  # opens nothing
SECRET = "opens-nothing"
GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"


def error_of(document: dict[str, object]) -> StackError:
    with pytest.raises(StackError) as caught:
        plan(
            parse_stack(document, file="stacks/a.yaml", lines={}),
            region="us-central1",
            source="stacks/a.yaml",
        )
    return caught.value


def with_arguments(*arguments: str, **container: str) -> dict[str, object]:
    return {
        "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "container": container,
        "vllm": {"extra_args": list(arguments)},
    }


def said(error: StackError) -> str:
    """All that an error could show: its text, what it holds, its traceback."""
    held = [(each.problem, each.key, each.value, each.choices, each.remedy) for each in error.problems]
    return "".join([str(error), repr(held), *traceback.format_exception(error)]).casefold()


@pytest.mark.parametrize(
    "arguments",
    [
        (f"--hf-token={TOKEN}",),
        (f"--hf_token={TOKEN}",),
        (f"--HF-token={TOKEN}",),
        (f"--hf-token {TOKEN}",),
        ("--hf-token", TOKEN),
        (f"--seed={TOKEN}",),
        (f"--download-dir=/tmp/{TOKEN}/x",),
        (TOKEN,),
        (f"--{TOKEN}",),
        (f"-{TOKEN}=1",),
        (f"--model-loader-extra-config={{'x': '{TOKEN}'}}",),
    ],
    ids=lambda arguments: " ".join(arguments).replace(TOKEN, "TOKEN"),
)
def test_a_token_is_refused_and_not_shown(arguments: tuple[str, ...]) -> None:
    error = error_of(with_arguments(*arguments))
    assert any("a Hugging Face token would stand in clear" in each.problem for each in error.problems)
    assert any("pulumi config set --secret vertex-vllm:hfToken" in each.remedy for each in error.problems)
    assert "ab3ab3" not in said(error)


@pytest.mark.parametrize("image", [None, *catalog().containers()], ids=lambda i: i.uri[-24:] if i else "own")
def test_a_token_is_refused_in_every_image(image: object) -> None:
    uri = getattr(image, "uri", "europe-docker.pkg.dev/me/vllm/server:1.2")
    error = error_of(with_arguments("--hf-token=of-another-form", image_uri=uri))
    assert any(isinstance(each, FlagError) and "hfToken" in each.remedy for each in error.problems)
    assert "of-another-form" not in said(error)


@pytest.mark.parametrize(
    "arguments",
    [
        (f"--api-key={SECRET}",),
        (f"--api_key {SECRET}",),
        (f"--api-k={SECRET}",),
        (f"--hf-tok={SECRET}",),
        ("--api-key", SECRET),
        (f"--ssl-keyfile-password={SECRET}",),
        (f'--model-loader-extra-config={{"s3_secret_access_key": "{SECRET}"}}',),
    ],
    ids=" ".join,
)
def test_other_secrets_are_refused_and_not_shown(arguments: tuple[str, ...]) -> None:
    error = error_of(with_arguments(*arguments))
    assert any("would stand in clear" in each.problem for each in error.problems)
    assert SECRET not in said(error)


def test_what_only_sounds_like_a_secret_passes() -> None:
    stack = parse_stack(
        with_arguments("--max-prompt-adapter-token=3", "--tokenizer=hf_short"),
        file="a",
        lines={},
    )
    served = plan(stack, region="us-central1", source="stacks/a.yaml")
    assert served.container.args[-2:] == ("--max-prompt-adapter-token=3", "--tokenizer=hf_short")


@pytest.mark.parametrize(
    "document",
    [
        {"model": "a/b", "hf_token": TOKEN},
        {"model": TOKEN},
        {"model": "meta-llama/Llama-3.2-1B", "vllm": {"extra_args": f"--hf-token={TOKEN}"}},
        {"model": "meta-llama/Llama-3.2-1B", "vllm": {"extra_args": "--seed=1 --api-key=ab3ab3 --x"}},
        {"model": "meta-llama/Llama-3.2-1B", "vllm": {"hf_token": [TOKEN], "enforce_eager": TOKEN}},
        {"model": "meta-llama/Llama-3.2-1B", "container": {"env": {"HF_TOKEN": TOKEN}}},
        {"model": "meta-llama/Llama-3.2-1B", "container": {TOKEN: 1}},
        {"model": "meta-llama/Llama-3.2-1B", "weights": TOKEN},
        {"model": "meta-llama/Llama-3.2-1B", "hardware": {"machine_type": TOKEN}},
    ],
    ids=lambda document: repr(document).replace(TOKEN, "TOKEN")[-60:],
)
def test_a_token_in_a_wrong_place_is_not_shown(document: dict[str, object]) -> None:
    assert "ab3ab3" not in said(error_of(document))


@pytest.mark.parametrize("line", ["a: b: {}", "weights: '{}", "weights: {}\\x07"], ids=lambda line: line)
def test_a_token_in_a_file_that_is_not_yaml_is_not_shown(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"model: meta-llama/Llama-3.2-1B\n{line.format(TOKEN)}\n", encoding="utf-8")
    with pytest.raises(StackError) as caught:
        plan(load_stack_file(path), region="us-central1", source=str(path))
    assert "ab3ab3" not in said(caught.value)


def test_hiding_goes_into_lists_and_sections() -> None:
    assert hide_secrets({"a": [TOKEN, (f"x{TOKEN}", 1)]}) == {"a": ["hf_(hidden)", ("xhf_(hidden)", 1)]}
    assert (
        hide_secrets("--api_key=a.b --seed=1 --hf-token x")
        == "--api_key=(hidden) --seed=1 --hf-token (hidden)"
    )
