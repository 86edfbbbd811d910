"""`vertex-vllm snippets`: every way to name an endpoint, one client or all, text or JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.app import app
from infra.cli.snippets import Client
from infra.client.snippets import CLIENTS
from infra.client.snippets import snippets as written
from tests.client.conftest import Served, served

__all__ = ["served"]


@pytest.fixture
def outputs(served: Served, tmp_path: Path) -> Path:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(served.outputs("dedicated")))
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["snippets", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_argument_has_every_client() -> None:
    assert tuple(each.value for each in Client) == CLIENTS


def test_all_of_them_under_titles(served: Served, outputs: Path) -> None:
    status, out, _ = run("--outputs", str(outputs))
    texts = written(served.urls["dedicated"].openai_base_url, local=True)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("# --- ")] == [
        "# --- curl",
        "# --- openai  (pip install openai google-auth requests)",
        "# --- litellm  (pip install litellm google-auth requests)",
        "# --- langchain  (pip install langchain-openai google-auth requests)",
    ]
    assert all(text in out for text in texts.values())


def test_one_of_them_is_a_file_that_runs(served: Served, outputs: Path) -> None:
    texts = written(served.urls["dedicated"].openai_base_url, local=True)
    assert run("litellm", "--outputs", str(outputs)) == (0, texts["litellm"], "")


@pytest.mark.parametrize("kind", ["shared", "dedicated"])
def test_by_the_endpoint_alone(served: Served, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT", f"{served.cloud.url}/v1beta1/")
    status, out, _ = run(
        "--endpoint", kind, "--project", "local-project", "--region", "us-central1", "--json"
    )
    assert status == 0
    assert json.loads(out) == written(served.urls[kind].openai_base_url, local=True)


def test_no_endpoint_is_wrong_usage() -> None:
    status, out, err = run()
    assert (status, out) == (2, "")
    assert "--stack NAME, --outputs FILE and --endpoint ID" in err
