"""The snippets do what they say with the real clients, on a shared and on a dedicated endpoint of the local cloud."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.client.snippets import CLIENTS, INSTALL, snippets
from infra.recipes import endpoint_urls
from tests.client.conftest import Served
from tests.loopback import Answer, Request, serving

KINDS = ("shared", "dedicated")
BUILT_IN = "I am the built-in responder of the local"
SHARED_NAME = "projects/123/locations/us-central1/endpoints/4"


@pytest.fixture
def _no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM's import would fetch a price list from the internet."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "curl"])
@pytest.mark.usefixtures("_no_look_up")
def test_python(served: Served, client: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = snippets(served.urls[kind].openai_base_url, local=True)[client]
    exec(compile(text, f"<{client}>", "exec"), {"__name__": "__main__"})
    assert BUILT_IN in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_curl(served: Served, kind: str) -> None:
    text = snippets(served.urls[kind].openai_base_url, local=True)["curl"]
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
    chunks = [
        json.loads(line.removeprefix("data: ")) for line in done.stdout.splitlines() if '"choices"' in line
    ]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert len(chunks) > 2, done.stderr
    assert said.startswith(BUILT_IN)


def test_the_token_is_googles(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines for a real endpoint, with google-auth and a key whose token server is on this machine."""
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        body = {"access_token": "local", "expires_in": 3600, "token_type": "Bearer"}
        return Answer(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with serving(answer) as url:
        key = {
            "type": "service_account",
            "client_email": "a@local-project.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "project_id": "local-project",
            "token_uri": f"{url}/token",
        }
        (tmp_path / "key.json").write_text(json.dumps(key))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        text = snippets(served.urls["dedicated"].openai_base_url)["openai"]
        exec(compile(text, "<openai>", "exec"), {"__name__": "__main__"})
    assert BUILT_IN in capsys.readouterr().out
    assert [parse_qs(request.body.decode())["grant_type"] for request in asked] == [
        ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_has_the_host_of_the_endpoints_kind(client: str) -> None:
    dns = "4.us-central1-123.prediction.vertexai.goog"
    shared = snippets(endpoint_urls(SHARED_NAME, "us-central1").openai_base_url)[client]
    own = snippets(endpoint_urls(SHARED_NAME, "us-central1", dns).openai_base_url)[client]
    assert f"https://us-central1-aiplatform.googleapis.com/v1beta1/{SHARED_NAME}" in shared
    assert f"https://{dns}/v1beta1/{SHARED_NAME}" in own
    assert "us-central1-aiplatform" not in own


def test_a_url_from_elsewhere_stays_one_argument(tmp_path: Path) -> None:
    """Outputs may be anybody's file: nothing in it may run in the shell of who pastes."""
    made = tmp_path / "made"
    text = snippets(f"http://127.0.0.1:9/v1beta1/x'; touch {made}; '$(touch {made})", local=True)
    subprocess.run(["sh", "-c", text["curl"]], capture_output=True, timeout=60)
    for name in set(CLIENTS) - {"curl"}:
        compile(text[name], name, "exec")
    assert not made.exists()


def test_python_is_written_as_ruff_writes_it() -> None:
    for local in (True, False):
        for name, text in snippets("https://example.invalid/v1beta1/x", local=local).items():
            if name == "curl":
                continue
            for command in (
                ["format", "--check", "--isolated", "--line-length", "120"],
                ["check", "--isolated"],
            ):
                done = subprocess.run(
                    [str(Path(sys.executable).with_name("ruff")), *command, "-"],
                    input=text,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_what_each_needs_is_said() -> None:
    assert set(INSTALL) == set(CLIENTS)
