"""The default route asked by `infra.client.predict`: tries, files of instances, files of answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.client import BadTarget, Endpoint, find
from infra.client.batch import Answers, Instance, ask_all, read_instances
from infra.client.predict import Answer as Said
from infra.client.predict import Predictor
from tests.loopback import Answer, Request, serving

Reply = Callable[[Request], Answer]


def predicted(text: str) -> Answer:
    return Answer(body=json.dumps({"predictions": [text], "deployedModelId": "7"}).encode())


def error(status: int, message: str, **headers: str) -> Answer:
    return Answer(status, json.dumps({"error": {"code": status, "message": message}}).encode(), headers)


def endpoint(url: str, tmp_path: Path) -> Endpoint:
    name = "projects/1/locations/us-central1/endpoints/2"
    base = f"{url}/v1beta1/{name}"
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({"endpoint": name, "openai_base_url": base, "predict_url": f"{base}:predict"}))
    return find(outputs=file, environ={})


@pytest.fixture
def slept() -> list[float]:
    """How long was waited between tries, in seconds; nothing is."""
    return []


def ask(reply: Reply, tmp_path: Path, fields: Mapping[str, Any], slept: list[float] | None = None) -> Said:
    waits = [] if slept is None else slept

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def run(url: str) -> Said:
        found = endpoint(url, tmp_path)
        async with Predictor(found, found.token({}), sleep=sleep) as predictor:
            return await predictor.ask(fields)

    with serving(reply) as url:
        return asyncio.run(run(url))


def replies(*given: Answer) -> tuple[Reply, list[Request]]:
    """Answers one after the other, the last one again and again."""
    left, asked = list(given), []

    def reply(request: Request) -> Answer:
        asked.append(request)
        return left.pop(0) if len(left) > 1 else left[0]

    return reply, asked


# One request -------------------------------------------------------------------------------------------------------


def test_what_is_sent_and_what_comes_back(tmp_path: Path) -> None:
    reply, asked = replies(predicted("hello"))
    said = ask(reply, tmp_path, {"prompt": "é", "max_tokens": 3})
    assert (said.prediction, said.ok, said.deployed_model_id) == ("hello", True, "7")
    assert asked[0].path == "/v1/projects/1/locations/us-central1/endpoints/2:predict"
    assert json.loads(asked[0].body) == {"instances": [{"prompt": "é", "max_tokens": 3}]}
    assert asked[0].headers["authorization"] == "Bearer local"


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_server_is_asked_again(tmp_path: Path, slept: list[float], status: int) -> None:
    reply, asked = replies(error(status, "busy"), error(status, "busy"), predicted("hello"))
    assert ask(reply, tmp_path, {"prompt": "a"}, slept).prediction == "hello"
    assert len(asked) == 3
    assert 0.75 <= slept[0] <= 1.25 < 1.5 <= slept[1] <= 2.5


def test_it_waits_as_long_as_the_server_says(tmp_path: Path, slept: list[float]) -> None:
    retry = {"Retry-After": "7"}
    reply, _ = replies(error(429, "busy", **retry), predicted("hello"))
    assert ask(reply, tmp_path, {"prompt": "a"}, slept).ok
    assert slept == [7.0]


def test_a_wait_without_end_has_one(tmp_path: Path, slept: list[float]) -> None:
    for value, waited in (("1e9", 60.0), ("-4", 0.0), ("soon", None)):
        slept.clear()
        reply, _ = replies(error(503, "busy", **{"Retry-After": value}), predicted("hello"))
        assert ask(reply, tmp_path, {"prompt": "a"}, slept).ok
        assert slept[0] == waited if waited is not None else slept[0] < 2


def test_after_some_tries_it_gives_up(tmp_path: Path, slept: list[float]) -> None:
    reply, asked = replies(error(503, "busy"))
    said = ask(reply, tmp_path, {"prompt": "a"}, slept)
    assert (said.status, said.error, len(asked)) == (503, "busy", 5)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "wrong"),
        (401, "who"),
        (503, "Took too long to respond when processing endpoint_id: 2"),
        (504, "late"),
    ],
)
def test_what_would_fail_again_is_not_asked_again(tmp_path: Path, status: int, message: str) -> None:
    reply, asked = replies(error(status, message))
    said = ask(reply, tmp_path, {"prompt": "a"})
    assert (said.ok, said.status, said.error, len(asked)) == (False, status, message, 1)


def test_a_connection_that_breaks_is_made_again(tmp_path: Path, slept: list[float]) -> None:
    reply, _ = replies(Answer(0), predicted("hello"))
    assert ask(reply, tmp_path, {"prompt": "a"}, slept).prediction == "hello"


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", b'{"predictions": []}', b'{"predictions": ["a", "b"]}']
)
def test_an_answer_without_one_prediction_is_an_error(tmp_path: Path, body: bytes) -> None:
    reply, _ = replies(Answer(body=body))
    said = ask(reply, tmp_path, {"prompt": "a"})
    assert not said.ok
    assert said.error.startswith("an answer without one prediction")


# A file of instances -----------------------------------------------------------------------------------------------


def test_instances_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "i.jsonl"
    file.write_text('\ufeff"a"\n\n{"prompt": "b", "max_tokens": 9, "stop": ["x"]}\n', encoding="utf-8")
    assert list(read_instances(file, {"max_tokens": 1})) == [
        Instance(1, {"prompt": "a", "max_tokens": 1}),
        Instance(3, {"prompt": "b", "max_tokens": 9, "stop": ["x"]}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'"a"\n{"prompt": 1}\n', 'line 2: an instance is an object with "prompt"'),
        (b'{"text": "a"}\n', 'line 1: an instance is an object with "prompt"'),
        (b'"a"\n"b\n', "line 2: no JSON"),
        (b"[" * 100_000, "line 1: no JSON"),
        (b"[]\n", "line 1: several instances"),
        (b"\xff\xfe\n", "is not UTF-8"),
    ],
)
def test_a_line_that_is_no_instance_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "i.jsonl"
    file.write_bytes(text)
    with pytest.raises(BadTarget, match=said):
        list(read_instances(file, {}))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadTarget, match="No such file"):
        list(read_instances(tmp_path / "none", {}))


# A file of answers -------------------------------------------------------------------------------------------------

FIRST, SECOND, THIRD = (Instance(line, {"prompt": str(line)}) for line in (1, 2, 3))


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_second_run_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    with Answers(file, resume=True) as answers:
        answers.add(SECOND, Said("two", 200, "", 1.0))
        answers.add(FIRST, Said(None, 503, "busy", 1.0))
    with Answers(file, resume=True) as answers:
        assert [answers.has(each) for each in (FIRST, SECOND, THIRD)] == [False, True, False]
        answers.add(THIRD, Said("thrée \ud800", 200, "", 1.0))
        answers.add(FIRST, Said("one", 200, "", 1.0))
        answers.put_in_order()
    assert [(record["line"], record["prediction"]) for record in records(file)] == [
        (1, "one"),
        (2, "two"),
        (3, "thrée \ud800"),
    ]


def test_what_a_killed_run_had_half_written_is_asked_for_again(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    with Answers(file, resume=True) as answers:
        answers.add(FIRST, Said("one", 200, "", 1.0))
        answers.add(SECOND, Said("two", 200, "", 1.0))
    whole = file.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        file.write_bytes(whole[:cut])
        with Answers(file, resume=True) as answers:
            assert (answers.has(FIRST), answers.has(SECOND)) == (True, False)
            answers.add(SECOND, Said("two", 200, "", 1.0))
        assert file.read_bytes() == whole


def test_answers_to_other_instances_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    with Answers(file, resume=True) as answers:
        answers.add(FIRST, Said("one", 200, "", 1.0))
    with Answers(file, resume=True) as answers, pytest.raises(BadTarget, match="for line 1"):
        answers.has(Instance(1, {"prompt": "1", "max_tokens": 2}))


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    file.write_text("my notes\n")
    with pytest.raises(BadTarget, match="line 1: no answer of an earlier run"):
        Answers(file, resume=True)
    assert file.read_text() == "my notes\n"


def test_starting_over_keeps_nothing(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    file.write_text("my notes\n")
    with Answers(file, resume=False) as answers:
        assert not answers.has(FIRST)
    assert file.read_text() == ""


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    with Answers(file, resume=True), pytest.raises(BadTarget, match="another run"):
        Answers(file, resume=False)


# All of them -------------------------------------------------------------------------------------------------------


class Gauge:
    """Counts the requests that are being answered at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


def run_all(
    reply: Reply, tmp_path: Path, count: int, concurrency: int
) -> tuple[dict[int, Said], Said | None]:
    told: dict[int, Said] = {}

    async def run(url: str) -> Said | None:
        found = endpoint(url, tmp_path)
        instances: Iterator[Instance] = (
            Instance(line, {"prompt": str(line)}) for line in range(1, count + 1)
        )
        async with Predictor(found, found.token({}), concurrency=concurrency, retries=0) as predictor:
            return await ask_all(
                predictor,
                instances,
                lambda instance, said: told.__setitem__(instance.line, said),
                concurrency=concurrency,
            )

    with serving(reply) as url:
        return told, asyncio.run(run(url))


def prompt_of(request: Request) -> str:
    return str(json.loads(request.body)["instances"][0]["prompt"])


@pytest.mark.parametrize("text", ['[{"prompt": "a"}]', '{"instances": [{"prompt": "a"}]}', "["])
def test_a_list_of_instances_is_told_how_to_become_lines(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(BadTarget, match=r"jq -c '\.instances\? // \. \| \.\[\]'"):
        list(read_instances(file, {}))


def test_answers_need_a_file_to_go_on_from() -> None:
    with pytest.raises(BadTarget, match="/dev/null is no regular file"):
        Answers(Path("/dev/null"), resume=False)


def test_never_more_at_once_than_asked(tmp_path: Path) -> None:
    gauge = Gauge()
    gate = threading.Barrier(4, timeout=20)

    def reply(request: Request) -> Answer:
        with gauge:
            gate.wait()  # opens only when four are here
            return predicted(prompt_of(request))

    told, stopped = run_all(reply, tmp_path, count=24, concurrency=4)
    assert stopped is None
    assert {line: said.prediction for line, said in told.items()} == {
        line: str(line) for line in range(1, 25)
    }
    assert gauge.most == 4


def test_one_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    def reply(request: Request) -> Answer:
        return error(404, "no such adapter") if prompt_of(request) == "3" else predicted("fine")

    told, stopped = run_all(reply, tmp_path, count=6, concurrency=1)
    assert stopped is None
    assert [line for line, said in told.items() if not said.ok] == [3]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_without_permission_the_rest_is_not_asked(tmp_path: Path, status: int) -> None:
    told, stopped = run_all(lambda _: error(status, "no"), tmp_path, count=50, concurrency=2)
    assert stopped is not None
    assert stopped.status == status
    assert len(told) <= 2


def test_a_token_that_expires_on_the_way_stops_it(tmp_path: Path) -> None:
    def reply(request: Request) -> Answer:
        return predicted("fine") if int(prompt_of(request)) < 4 else error(401, "expired")

    told, stopped = run_all(reply, tmp_path, count=50, concurrency=1)
    assert stopped is not None
    assert len(told) == 4


def test_where_nobody_answers_the_rest_is_not_asked(tmp_path: Path) -> None:
    async def run() -> tuple[int, Said | None]:
        found = endpoint("http://127.0.0.1:9", tmp_path)
        told: list[Said] = []
        async with Predictor(found, found.token({}), retries=0) as predictor:
            instances = iter([FIRST, SECOND, THIRD])
            stopped = await ask_all(predictor, instances, lambda _, said: told.append(said), concurrency=1)
        return len(told), stopped

    told, stopped = asyncio.run(run())
    assert told == 1
    assert stopped is not None
    assert not stopped.connected
