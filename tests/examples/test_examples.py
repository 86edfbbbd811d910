"""The examples run as they are, with the real clients, on both kinds of endpoint of the local cloud."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.cloud.testing import PROJECT, REGION
from tests.client.conftest import Served, served
from tests.client.talking import SHARED, talking

__all__ = ["served"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUILT_IN = "I am the built-in responder of the local"
ANSWERS = {"openai_chat.py": 2, "litellm_chat.py": 2, "langchain_chat.py": 4, "predict.sh": 2}


def run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One example, in a process of its own and with nothing but what its users have."""
    interpreter = "sh" if name.endswith(".sh") else sys.executable
    env = {key: os.environ[key] for key in ("PATH", "HOME", "NO_PROXY", "no_proxy") if key in os.environ}
    return subprocess.run(
        [interpreter, str(EXAMPLES / name)],
        env=env | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("kind", ["shared", "dedicated"])
@pytest.mark.parametrize("name", ANSWERS)
def test_it_is_answered(served: Served, name: str, kind: str) -> None:
    done = run(name, BASE_URL=served.urls[kind].openai_base_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(BUILT_IN) == ANSWERS[name]


@pytest.mark.parametrize("kind", ["shared", "dedicated"])
def test_curl_streams(served: Served, kind: str) -> None:
    done = run("curl.sh", BASE_URL=served.urls[kind].openai_base_url)
    assert done.returncode == 0, done.stderr
    data = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line.startswith("data: ")]
    pieces = [json.loads(each)["choices"] for each in data[:-1]]
    assert data[-1] == "[DONE]"
    assert "".join(each[0]["delta"].get("content") or "" for each in pieces if each).startswith(BUILT_IN)


def test_a_tool_call_is_answered() -> None:
    with talking() as made:
        shared = f"projects/{PROJECT}/locations/{REGION}/endpoints/{SHARED}"
        done = run("openai_tools.py", BASE_URL=f"{made.cloud.url}/v1beta1/{shared}")
    assert done.returncode == 0, done.stderr
    called, answered = done.stdout.splitlines()
    assert called.startswith("> get_weather({")
    assert BUILT_IN in answered
    assert "4 degrees, rain" in answered


def test_a_tool_call_needs_its_line_in_the_stack_file(served: Served) -> None:
    done = run("openai_tools.py", BASE_URL=served.urls["shared"].openai_base_url)
    assert done.returncode != 0
    assert "below vllm: add tool_calling: true" in done.stderr


def test_curl_fails_where_the_endpoint_does(served: Served) -> None:
    """A dedicated endpoint on the shared host, which is how clients go wrong."""
    wrong = served.urls["shared"].openai_base_url.replace("/1001", "/1002")
    for name in ("curl.sh", "predict.sh"):
        done = run(name, BASE_URL=wrong)
        assert done.returncode != 0
        assert "cannot be accessed through the Vertex AI API" in done.stdout


@pytest.mark.parametrize("name", ["openai_chat.py", "curl.sh", "predict.sh"])
def test_without_an_address_it_says_where_to_get_it(name: str) -> None:
    done = run(name)
    assert done.returncode != 0
    assert "export BASE_URL=$(pulumi stack output openai_base_url)" in done.stderr


def test_the_table_has_every_example() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")} - {"access.py"}
    listed = set(re.findall(r"^\| `([\w.]+)` \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == files == {*ANSWERS, "curl.sh", "openai_tools.py"}
