"""The question at the end of `make up`, against a small server of its own: waiting, giving up, a base model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.local.engine.steps import Problem
from infra.local.stack import question

Reply = tuple[int, dict[str, Any]]
STARTING: Reply = (
    503,
    {"error": {"code": 503, "message": "No healthy replica is available for endpoint_id: 1"}},
)
CHAT: Reply = (
    200,
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}
        ],
    },
)


@pytest.fixture
def replies() -> list[Reply]:
    """What the server answers, one after the other; the last one again and again."""
    return []


@pytest.fixture
def outputs(replies: list[Reply]) -> Iterator[dict[str, str]]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith(":predict"):
                status, document = 200, {"predictions": ["Pulumi is a tool."]}
            else:
                status, document = replies.pop(0) if len(replies) > 1 else replies[0]
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield {"openai_base_url": url, "predict_url": f"{url}/e:predict", "endpoint": "projects/p/e"}
    server.shutdown()
    server.server_close()


def test_a_container_that_starts_again_is_waited_for(outputs: dict[str, str], replies: list[Reply]) -> None:
    replies += [STARTING, CHAT]
    said: list[str] = []
    assert question.ask(outputs, said.append).text == "Hello."
    assert said == ["the container is being started again (0 s)"]


def test_one_that_does_not_come_back_is_given_up(outputs: dict[str, str], replies: list[Reply]) -> None:
    replies.append(STARTING)
    with pytest.raises(Problem, match=r"did not answer: .*No healthy replica"):
        question.ask(outputs, lambda _: None, patience=0)


def test_another_error_is_told_at_once(outputs: dict[str, str], replies: list[Reply]) -> None:
    replies.append((403, {"error": {"code": 403, "message": "denied"}}))
    with pytest.raises(Problem, match="denied"):
        question.ask(outputs, lambda _: None)


def test_a_base_model_goes_on_with_a_text(outputs: dict[str, str], replies: list[Reply]) -> None:
    replies.append((400, {"object": "error", "message": "no chat template is defined", "code": 400}))
    answer = question.ask(outputs, lambda _: None)
    assert (answer.asked, answer.text) == ("Pulumi is", "Pulumi is a tool.")
