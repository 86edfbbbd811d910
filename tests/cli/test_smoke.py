"""`vertex-vllm smoke`: each enabled route of both kinds of endpoint, and routes that are off or broken."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from infra.cli.app import app
from infra.local.engine.steps import Problem
from infra.local.stack import commands
from tests.client.conftest import Served, served
from tests.loopback import Answer, Request, serving

__all__ = ["served"]

ROUTES = ["predict", "rawPredict", "chat/completions", "chat/completions, streamed"]
NAME = "projects/1/locations/us-central1/endpoints/2"


def run(outputs: dict[str, object], tmp_path: Path, *arguments: str) -> Result:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(outputs))
    return CliRunner().invoke(app, ["smoke", "--outputs", str(path), *arguments])


def statuses(done: Result) -> dict[str, str]:
    return {each["route"]: each["status"] for each in json.loads(done.stdout)["routes"]}


def outputs_of(url: str, *, dedicated: bool) -> dict[str, object]:
    dns = "2.us-central1-1.prediction.vertexai.goog"
    base = f"{url}/dedicated/{dns}" if dedicated else url
    return {
        "endpoint": NAME,
        "openai_base_url": f"{base}/v1beta1/{NAME}",
        "predict_url": f"{base}/v1/{NAME}:predict",
        "dedicated_endpoint_dns": dns if dedicated else None,
    }


def test_a_dedicated_endpoint_answers_on_all(served: Served, tmp_path: Path) -> None:
    before = len(served.cloud.admin.requests())
    done = run(served.outputs("dedicated"), tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert statuses(done) == dict.fromkeys(ROUTES, "PASS")
    assert all(each["said"].startswith("I am the built-in") for each in json.loads(done.stdout)["routes"])
    asked = [request["path"] for request in served.cloud.admin.requests()[before:]]
    assert [path.rpartition("1002")[2] for path in asked if "1002" in path.rpartition("/endpoints/")[2]] == [
        ":predict",
        ":rawPredict",
        "/chat/completions",
        "/chat/completions",
    ]


def test_a_shared_one_does_not_stream(served: Served, tmp_path: Path) -> None:
    done = run(served.outputs("shared"), tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert statuses(done) == {**dict.fromkeys(ROUTES, "PASS"), ROUTES[3]: "SKIP"}


def test_a_line_a_route(served: Served, tmp_path: Path) -> None:
    done = run(served.outputs("shared"), tmp_path)
    assert [line[:33].rstrip() for line in done.stdout.splitlines()] == [
        "PASS  predict",
        "PASS  rawPredict",
        "PASS  chat/completions",
        "SKIP  chat/completions, streamed",
    ]


def test_one_that_fails_says_what_to_do(served: Served, tmp_path: Path) -> None:
    status = {"code": "PERMISSION_DENIED", "message": "no predict for you"}
    served.cloud.admin.fault(":rawPredict", status=status)
    done = run(served.outputs("shared"), tmp_path)
    assert done.exit_code == 8
    assert "FAIL  rawPredict" in done.stdout
    assert "no predict for you" in done.stdout
    assert "roles/aiplatform.user" in done.stdout
    assert done.stdout.count("PASS") == 2
    assert served.cloud.admin.unmet_faults() == []


Replies = Callable[[Request], Answer]


def odd(chat: Answer, stream: bytes | None = None) -> Replies:
    """A server whose default route is well, and whose chat answers this."""

    def reply(request: Request) -> Answer:
        if request.path.endswith((":predict", ":rawPredict")):
            return Answer(body=b'{"predictions": ["fine"]}', headers={"Content-Type": "application/json"})
        if stream is not None and json.loads(request.body).get("stream"):
            return Answer(body=stream, headers={"Content-Type": "text/event-stream"})
        return chat

    return reply


def completion(content: str | None) -> Answer:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }
    return Answer(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def chunk(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def test_without_a_chat_template_chat_is_not_enabled(tmp_path: Path) -> None:
    said = b'{"object": "error", "message": "default chat template is no longer allowed", "code": 400}'
    with serving(odd(Answer(400, said))) as url:
        done = run(outputs_of(url, dedicated=True), tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert list(statuses(done).values()) == ["PASS", "PASS", "SKIP", "SKIP"]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (chunk("Hello"), "the stream ended before the answer did"),
        (chunk("", "length") + b"data: [DONE]\n\n", "an answer without a text"),
        (b"data: {\n\n", "Expecting property name"),
        (b'data: {"error": {"message": "engine is dead"}}\n\n', "engine is dead"),
    ],
)
def test_a_stream_that_is_none(tmp_path: Path, stream: bytes, said: str) -> None:
    with serving(odd(completion("fine"), stream)) as url:
        done = run(outputs_of(url, dedicated=True), tmp_path, "--json")
    assert done.exit_code == 8
    assert list(statuses(done).values()) == ["PASS", "PASS", "PASS", "FAIL"]
    assert said in json.loads(done.stdout)["routes"][3]["said"]


@pytest.mark.parametrize("chat", [completion(None), completion(""), Answer(0), Answer(500, b"<html>")])
def test_a_chat_that_says_nothing_fails(tmp_path: Path, chat: Answer) -> None:
    with serving(odd(chat)) as url:
        done = run(outputs_of(url, dedicated=False), tmp_path, "--json")
    assert done.exit_code == 8
    assert list(statuses(done).values()) == ["PASS", "PASS", "FAIL", "SKIP"]


def test_nobody_there(tmp_path: Path) -> None:
    done = run(outputs_of("http://127.0.0.1:9", dedicated=False), tmp_path)
    assert done.exit_code == 8
    assert done.stdout.count("FAIL") == 3
    assert "make env starts it" in done.stdout


# make up SMOKE=1 ---------------------------------------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What `make up` shows."""
    page = io.StringIO()
    monkeypatch.setattr(commands, "out", Console(file=page, width=200))
    return page


def test_make_up_shows_each_route(served: Served, page: io.StringIO) -> None:
    commands.smoke(served.outputs("dedicated"))
    assert page.getvalue().count("PASS") == 4


def test_make_up_fails_where_a_route_does(page: io.StringIO) -> None:
    with (
        serving(odd(completion(""))) as url,
        pytest.raises(Problem, match=r"did not answer on chat/completions\."),
    ):
        commands.smoke(outputs_of(url, dedicated=False))
    assert "FAIL" in page.getvalue()


@pytest.mark.parametrize(
    ("given", "means"), [("", False), ("0", False), ("no", False), ("1", True), ("Yes", True)]
)
def test_smoke_by_choice(given: str, means: bool) -> None:
    assert commands.wanted("SMOKE", given) is means


def test_smoke_that_is_neither() -> None:
    with pytest.raises(Problem, match="SMOKE=maybe: 1 or 0"):
        commands.wanted("SMOKE", "maybe")


@pytest.mark.parametrize("given", ["", "1"])
def test_smoke_comes_after_the_question(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Local:
        container = "simulated"

        def resources(self) -> list[str]:
            return []

        def up(self, refresh: bool) -> dict[str, int]:
            done.append("deploy")
            return {"create": 1}

        def outputs(self) -> dict[str, object]:
            return {"endpoint": NAME}

    monkeypatch.setenv("SMOKE", given)
    monkeypatch.setattr(commands, "_prepare", lambda *_: (Local(), Local()))
    monkeypatch.setattr(commands, "_recover", lambda *_: False)
    monkeypatch.setattr("infra.local.stack.question.ask", lambda *_: done.append("ask"))
    monkeypatch.setattr("infra.local.stack.report.after_up", lambda *_: done.append("report"))
    monkeypatch.setattr(commands, "smoke", lambda outputs: done.append(f"smoke {outputs['endpoint']}"))
    commands.up()
    assert done == ["deploy", "ask", "report", *([f"smoke {NAME}"] if given else [])]


def test_a_wrong_choice_is_said_before_anything_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOKE", "maybe")
    monkeypatch.setattr(commands, "_prepare", lambda *_: pytest.fail("nothing may be prepared"))
    with pytest.raises(Problem, match="SMOKE=maybe"):
        commands.up()
