"""A talk with models on the local cloud, and the command `vertex-vllm chat`, also on a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from openai import Timeout
from rich.console import Console
from typer.testing import CliRunner

from infra.cli import chat as command
from infra.cli.app import app
from infra.client import NoAnswer, find
from infra.client.chat import Reply, Talk, openai_client
from tests.client import talking
from tests.client.talking import DEDICATED, EMPTY, SHARED, Talking
from tests.loopback import Answer, serving

ROOT = Path(__file__).resolve().parents[2]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
runner = CliRunner()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Talking]:
    """Endpoints that answer."""
    with talking.talking() as made:
        yield made


@pytest.fixture
def to(cloud: Talking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talking]:
    """The environment that leads to them."""
    for name, value in cloud.environ.items():
        monkeypatch.setenv(name, value)
    yield cloud
    cloud.cloud.admin.call("DELETE", "faults")


def talk(to: Talking, endpoint: str = SHARED, **options: Any) -> Talk:
    """A talk with one of them."""
    found = find(endpoint=endpoint, environ=to.environ)
    return Talk(found, found.token({}), **options)


def said(pieces: Iterator[tuple[str, str, Reply]]) -> Reply:
    """The whole answer."""
    *_, (kind, _, reply) = pieces
    assert kind == "end"
    return reply


# The talk


@pytest.mark.parametrize("endpoint", [SHARED, DEDICATED])
@pytest.mark.parametrize("stream", [True, False])
def test_one_answer(to: Talking, endpoint: str, stream: bool) -> None:
    pieces = list(talk(to, endpoint, stream=stream).ask("hello there"))
    reply = pieces[-1][2]
    assert "“hello there”" in reply.text
    assert reply.text == "".join(piece for kind, piece, _ in pieces if kind == "text")
    assert (len(pieces) > 10) is stream
    assert reply.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage["completion_tokens"] > 5
    assert reply.first_token_s is not None
    assert 0 < reply.first_token_s <= reply.seconds


def test_every_turn_is_sent_with_the_system_prompt(to: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    made = talk(to, system="Be brief.")
    first = said(made.ask("one"))
    before = first.usage
    second = said(made.ask("two"))
    assert [message["role"] for message in made.messages] == ["user", "assistant", "user", "assistant"]
    assert before is not None
    assert second.usage is not None
    # The second prompt holds the first question and answer too.
    assert second.usage["prompt_tokens"] > before["prompt_tokens"] + before["completion_tokens"] - 5
    bare = said(talk(to).ask("one")).usage
    assert bare is not None
    assert before["prompt_tokens"] > bare["prompt_tokens"]
    made.new()
    assert made.messages == []


def test_an_answer_that_is_not_read_to_its_end_stays_in_the_talk(to: Talking) -> None:
    made = talk(to)
    pieces = made.ask("hello")
    for _ in range(3):
        next(pieces)
    pieces.close()
    assert [message["role"] for message in made.messages] == ["user", "assistant"]
    assert 0 < len(made.messages[1]["content"]) < 40
    assert "“again”" in said(made.ask("again")).text


def test_a_tool_call_and_its_result(to: Talking) -> None:
    made = talk(to, options={"tools": [WEATHER]})
    reply = said(made.ask("get weather in Paris"))
    assert reply.finish_reason == "tool_calls"
    assert [(call.name, json.loads(call.arguments)) for call in reply.calls] == [
        ("get_weather", {"city": "x"})
    ]
    answered = said(made.answer_calls([(reply.calls[0], "sunny")]))
    assert answered.calls == []
    assert "“sunny”" in answered.text
    result = made.messages[2]
    assert result == {"role": "tool", "tool_call_id": reply.calls[0].id, "content": "sunny"}
    assert made.messages[1]["tool_calls"][0]["id"] == reply.calls[0].id


def test_a_question_whose_calls_get_no_result_is_taken_back(to: Talking) -> None:
    made = talk(to, options={"tools": [WEATHER]})
    said(made.ask("hello"))
    said(made.ask("get weather in Paris"))
    made.drop_calls()
    assert [message["role"] for message in made.messages] == ["user", "assistant"]
    assert made.messages[0]["content"] == "hello"
    assert said(made.ask("and now")).text


def test_a_question_that_fails_is_not_part_of_the_talk(to: Talking) -> None:
    made = talk(to, options={"max_tokens": 5000})
    with pytest.raises(NoAnswer, match=r"400: This model's maximum context length(.|\n)*--max-tokens"):
        said(made.ask("hello"))
    assert made.messages == []


def test_a_time_out_says_which_limit_was_hit(to: Talking, tmp_path: Path) -> None:
    """The outputs of a dedicated endpoint do not have its time-out: it is looked up when it was hit."""
    shared, dedicated = talk(to, options={"max_tokens": 900}), talk(to, DEDICATED)
    file = tmp_path / "o.json"
    file.write_text(
        json.dumps(
            {
                "endpoint": dedicated.endpoint.name,
                "openai_base_url": dedicated.endpoint.openai_base_url,
                "predict_url": dedicated.endpoint.predict_url,
                "dedicated_endpoint_dns": dedicated.endpoint.dns,
            }
        )
    )
    found = find(outputs=file, environ={})
    assert found.timeout_s is None
    status = {"code": "UNAVAILABLE", "message": "Took too long to respond when processing endpoint_id: 1"}
    to.cloud.admin.fault("chat/completions", times=2, status=status)
    with pytest.raises(NoAnswer, match=r"Timed out.*60 s, the time-out of a shared endpoint(.|\n)*below 900"):
        said(shared.ask("hello"))
    with pytest.raises(NoAnswer, match="600 s, this dedicated endpoint's inferenceTimeout"):
        said(Talk(found, found.token({})).ask("hello"))


def test_a_stream_that_is_cut_is_no_whole_answer(to: Talking) -> None:
    """The connection ends in order, without a finish reason."""
    frame: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    frame["choices"] = [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]
    body = f"data: {json.dumps(frame)}\n\n".encode()
    with serving(lambda _: Answer(200, body, {"content-type": "text/event-stream"})) as url:
        endpoint = find(endpoint=SHARED, environ=to.environ)
        made = Talk(replace(endpoint, openai_base_url=url), endpoint.token({}))
        with pytest.raises(NoAnswer, match=r"without a finish reason(.|\n)*--no-stream"):
            said(made.ask("hello"))
    assert made.messages == []


def test_a_connection_that_breaks_in_an_answer(to: Talking) -> None:
    """What was said is not kept: the question can be asked again as it was."""
    body = b"data: " + b"x" * 100
    answer = Answer(200, body, {"content-type": "text/event-stream"}, sent=20)
    with serving(lambda _: answer) as url:
        endpoint = replace(find(endpoint=SHARED, environ=to.environ), openai_base_url=url)
        made = Talk(endpoint, endpoint.token({}))
        with pytest.raises(NoAnswer, match="No answer: "):
            said(made.ask("hello"))
    assert made.messages == []


def test_an_error_of_vllm_in_the_middle_of_a_stream(to: Talking) -> None:
    body = b'data: {"error": {"message": "EngineDeadError", "type": "InternalServerError", "code": 500}}\n\n'
    with serving(lambda _: Answer(200, body, {"content-type": "text/event-stream"})) as url:
        endpoint = replace(find(endpoint=SHARED, environ=to.environ), openai_base_url=url)
        with pytest.raises(NoAnswer, match=r"answers 500: EngineDeadError(.|\n)*vertex-vllm logs"):
            said(Talk(endpoint, endpoint.token({})).ask("hello"))


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"{}", b""])
def test_a_page_instead_of_an_answer(to: Talking, body: bytes) -> None:
    """A proxy's, with status 200."""
    kind = {"content-type": "text/html" if body.startswith(b"<") else "application/json"}
    for stream in (True, False):
        with serving(lambda _: Answer(200, body, kind)) as url:
            endpoint = replace(find(endpoint=SHARED, environ=to.environ), openai_base_url=url)
            with pytest.raises(NoAnswer) as told:
                said(Talk(endpoint, endpoint.token({}), stream=stream).ask("hello"))
        assert "no chat completion" in str(told.value)


def test_nobody_is_there(to: Talking) -> None:
    endpoint = replace(find(endpoint=SHARED, environ=to.environ), openai_base_url="http://127.0.0.1:9")
    with pytest.raises(NoAnswer, match=r"No answer: .*refused(.|\n)*make env"):
        said(Talk(endpoint, endpoint.token({})).ask("hello"))


def test_a_network_that_drops_packets_is_told_in_seconds(to: Talking) -> None:
    """An answer may take an hour; a connection may not."""
    endpoint = find(endpoint=DEDICATED, environ=to.environ)
    timeout = openai_client(endpoint, endpoint.token({})).timeout
    assert isinstance(timeout, Timeout)
    assert (timeout.connect, timeout.read) == (10, 615)


def test_what_a_reasoning_parser_takes_for_thoughts(to: Talking) -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        whole = {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        return f"data: {json.dumps(whole)}\n\n"

    body = chunk({"reasoning_content": "hm"}) + chunk({"reasoning": "m"}) + chunk({"content": "42"}, "stop")
    with serving(lambda _: Answer(200, body.encode(), {"content-type": "text/event-stream"})) as url:
        endpoint = replace(find(endpoint=SHARED, environ=to.environ), openai_base_url=url)
        made = Talk(endpoint, endpoint.token({}))
        reply = said(made.ask("hello"))
    assert (reply.reasoning, reply.text) == ("hmm", "42")
    assert made.messages[1] == {"role": "assistant", "content": "42"}
    # In a pipe they are left out, and so is the space around them.
    with serving(lambda _: Answer(200, body.encode(), {"content-type": "text/event-stream"})) as url:
        endpoint = replace(find(endpoint=SHARED, environ=to.environ), openai_base_url=url)
        out = Console(file=StringIO())
        command._show(out, Talk(endpoint, endpoint.token({})).ask("hello"))
    assert out.file.getvalue() == "42\n"  # type: ignore[attr-defined]


# The command


def run(*options: str, piped: str = "") -> Any:
    """One run with piped input."""
    return runner.invoke(app, ["chat", *options], input=piped)


def test_a_piped_question_is_answered_once(to: Talking) -> None:
    done = run("--endpoint", SHARED, piped="what is it\n")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("ends with: “what is it”.\n")
    assert "\x1b" not in done.stdout


def test_piped_text_follows_the_question(to: Talking) -> None:
    done = run("--endpoint", SHARED, "Sum up:", piped="a long text")
    assert "“Sum up: a long text”" in done.stdout


def test_what_is_no_text_is_wrong_usage(to: Talking) -> None:
    for options, piped, what in (
        (("a\udcff",), "", "The question"),
        (("hi", "--system", "\udcff"), "", "--system"),
        (("hi", "--model", "\udcff"), "", "--model"),
        ((), b"\xff\xfe", "What was piped in (an image is given by --image)"),
    ):
        done = runner.invoke(app, ["chat", "--endpoint", SHARED, *options], input=piped)
        assert (done.exit_code, done.stderr) == (2, f"{what} is not UTF-8 text.\n")


def test_outputs_from_a_pipe_are_not_the_question(to: Talking) -> None:
    endpoint = find(endpoint=SHARED, environ=to.environ)
    outputs = {
        "endpoint": endpoint.name,
        "openai_base_url": endpoint.openai_base_url,
        "predict_url": endpoint.predict_url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "chat", "--outputs", "-", "hello"],
        cwd=ROOT,
        input=json.dumps(outputs),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "“hello”" in done.stdout


def test_a_dash_is_what_is_piped_in(to: Talking) -> None:
    assert "1 words and ends with: “hello”" in run("--endpoint", SHARED, "-", piped="hello").stdout


def test_json_has_the_message_and_the_counts(to: Talking) -> None:
    done = run("--endpoint", DEDICATED, "--json", "hello", "--image", "https://e.example/cat.png")
    answer = json.loads(done.stdout)
    assert answer["endpoint"].endswith(f"/endpoints/{DEDICATED}")
    assert answer["message"]["role"] == "assistant"
    assert "You sent 1 image" in answer["message"]["content"]
    assert answer["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] > 0
    assert answer["seconds"] >= answer["first_token_s"] >= 0


def test_an_image_by_path(to: Talking, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert (
        "You sent 1 image, which I cannot see"
        in run("--endpoint", DEDICATED, "hi", "--image", str(file)).stdout
    )
    refused = run("--endpoint", SHARED, "hi", "--image", str(file))
    assert refused.exit_code == 8
    assert "takes no images" in refused.stderr


@pytest.mark.parametrize("bare", [True, False])
def test_tool_calls_are_shown(to: Talking, tmp_path: Path, bare: bool) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(WEATHER["function"] if bare else [WEATHER]))
    done = run("--endpoint", SHARED, "--tools", str(file), "get weather please")
    assert done.stdout == '→ get_weather({"city": "x"})\n'
    call = json.loads(run("--endpoint", SHARED, "--tools", str(file), "--json", "get weather").stdout)
    assert call["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert call["finish_reason"] == "tool_calls"


def test_the_sampling_options_are_sent(to: Talking) -> None:
    done = run(
        "--endpoint", SHARED, "--max-tokens", "3", "--temperature", "0", "--top-p", "0.5", "--json", "hello"
    )
    answer = json.loads(done.stdout)
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3
    cut = run("--endpoint", SHARED, "--max-tokens", "3", "hello")
    assert "--max-tokens raises it" in cut.stderr


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ((), 2, "one of --stack NAME, --outputs FILE and --endpoint ID"),
        (("--endpoint", "99"), 2, "no endpoint '99'"),
        (("--outputs", "none.json"), 2, "cannot be read"),
        (("--endpoint", SHARED, "--tools", "none.json"), 2, "--tools none.json cannot be read"),
        (("--endpoint", SHARED, "--image", "none.png"), 2, "none.png cannot be read"),
        (("--endpoint", SHARED, "--model", "adapter"), 8, "LoRA adapter"),
        (("--endpoint", EMPTY), 8, "doesn't have traffic_split"),
    ],
)
def test_what_is_wrong_and_with_which_status(
    to: Talking, options: tuple[str, ...], status: int, words: str
) -> None:
    done = run(*options, "hello")
    assert done.exit_code == status
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output


@pytest.mark.parametrize("content", ["[]", "{}", "[1]", '[{"type": "function"}]', "nothing"])
def test_tools_that_are_none(to: Talking, tmp_path: Path, content: str) -> None:
    file = tmp_path / "tools.json"
    file.write_text(content)
    done = run("--endpoint", SHARED, "--tools", str(file), "hello")
    assert done.exit_code == 2
    assert "--tools" in done.stderr


def test_an_empty_question(to: Talking) -> None:
    done = run("--endpoint", SHARED, piped=" \n")
    assert done.exit_code == 2
    assert "question is empty" in done.stderr


# On a terminal


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, environ: dict[str, str], *options: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "chat", *options],
            cwd=ROOT,
            env=environ,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C on it becomes a signal
        )
        os.close(slave)
        self.shown = ""

    def until(self, pattern: str, seconds: float = 30) -> str:
        """What is shown until this is; forgotten then."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{pattern!r} was not shown: {self.shown!r}"
            try:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                assert re.search(pattern, self.shown), self.shown
        text, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return text

    def say(self, line: str) -> None:
        """A line, as if it was typed."""
        os.write(self.master, f"{line}\n".encode())

    def press_ctrl_c(self, pattern: str, presses: int = 3) -> str:
        """Ctrl-C, which is SIGINT for the foreground process, until this is shown.

        A signal that comes just before CPython's readline waits for a key is seen at the next key only.
        """
        for press in range(1, presses + 1):
            os.write(self.master, b"\x03")
            try:
                return self.until(pattern, 10)
            except AssertionError:
                if press == presses:
                    raise
        raise ValueError(presses)

    def end(self) -> int:
        """Ctrl-D, and the exit status."""
        os.write(self.master, b"\x04")
        return self.process.wait(20)

    def close(self) -> None:
        """Nothing is left behind."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)


def test_a_talk_on_a_terminal(to: Talking, tmp_path: Path) -> None:
    """Several turns, an image, an error, Ctrl-C in an answer and at the prompt, the end; without colours if asked."""
    image = tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    environ = {**os.environ, **to.environ, "NO_COLOR": "1", "TERM": "xterm"}
    terminal = Terminal(environ, "--endpoint", DEDICATED)
    try:
        start = terminal.until("you> ")
        assert f"Endpoint {DEDICATED} on the local cloud" in start
        terminal.say("first question")
        assert "“first question”" in terminal.until("to the first")
        terminal.until("you> ")
        terminal.say(f"/image {image}")
        terminal.until("1 image for the next question")
        terminal.say("look")
        assert "You sent 1 image, which I cannot see" in terminal.until("to the first")
        terminal.until("you> ")
        terminal.say("/new")
        terminal.until("what was said is forgotten")
        terminal.until("you> ")
        terminal.say("no picture now")
        assert "You sent" not in terminal.until("to the first").partition("\n")[2]
        terminal.until("you> ")
        to.cloud.admin.fault("chat/completions", delaySeconds=20)
        terminal.say("slow")
        deadline = time.monotonic() + 10
        while to.cloud.admin.unmet_faults() and time.monotonic() < deadline:
            time.sleep(0.05)
        terminal.press_ctrl_c(r"\(stopped\)")
        terminal.until("you> ")
        terminal.press_ctrl_c("Ctrl-D or /quit ends")
        terminal.say("/what")
        terminal.until("There is no /what")
        terminal.until("/new +forget")
        terminal.until("you> ")
        terminal.say("/system Be brief.")
        terminal.until("another system prompt from now on")
        terminal.until("you> ")
        to.cloud.admin.fault(
            "chat/completions", status={"code": "UNAVAILABLE", "message": "Took too long to respond"}
        )
        terminal.say("again")
        terminal.until("Timed out after .*600 s")
        terminal.until("you> ")
        terminal.say("still there?")
        everything = terminal.until("to the first")
        assert "“still there?”" in everything
        assert not re.search(r"\x1b\[(\d+;)*(3|4|9|10)\d", everything)
        terminal.until("you> ")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_a_tool_call_is_answered_on_a_terminal(to: Talking, tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([WEATHER]))
    environ = {**os.environ, **to.environ, "TERM": "xterm"}
    terminal = Terminal(environ, "--endpoint", SHARED, "--tools", str(file))
    try:
        terminal.until("you> ")
        terminal.say("get weather in Paris")
        assert "get_weather({" in terminal.until("result of get_weather> ")
        terminal.say("sunny")
        assert "“sunny”" in terminal.until("to the first")
        terminal.until("you> ")
        terminal.say("get weather in Rome")
        terminal.until("result of get_weather> ")
        terminal.press_ctrl_c("the question is taken back")
        terminal.until("you> ")
        terminal.say("hello")
        assert "“hello”" in terminal.until("to the first")
        terminal.until("you> ")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_ctrl_c_ends_a_piped_question(to: Talking) -> None:
    to.cloud.admin.fault("chat/completions", delaySeconds=20)
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "chat", "--endpoint", SHARED, "hello"],
        cwd=ROOT,
        env={**os.environ, **to.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while to.cloud.admin.unmet_faults() and time.monotonic() < deadline:
        time.sleep(0.05)  # until the request has come
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "Traceback" not in errors
