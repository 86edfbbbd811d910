"""`vertex-vllm predict` on the local cloud: every field of the route, a file of instances, what goes wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli.app import app
from tests.client.conftest import Served, served
from tests.loopback import Answer, Request, serving

__all__ = ["served"]

BUILT_IN = "I am the built-in responder of the local"
LAST = "Took too long to respond when processing endpoint_id: 1001, deployed_model_id: 1"


@pytest.fixture(params=["shared", "dedicated"])
def outputs(served: Served, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(served.outputs(request.param)))
    return path


@pytest.fixture
def shared(served: Served, tmp_path: Path) -> Path:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(served.outputs("shared")))
    return path


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], input=stdin)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def sent(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The instances that the containers are sent from now on."""
    from infra.local.container.api import generate

    seen: list[dict[str, Any]] = []
    original = generate.parse_body

    def parse(body: bytes) -> dict[str, Any]:
        seen.extend(json.loads(body)["instances"])
        return original(body)

    monkeypatch.setattr(generate, "parse_body", parse)
    return seen


# One prompt --------------------------------------------------------------------------------------------------------


def test_text(outputs: Path) -> None:
    done = run("--outputs", outputs, "A car is", "--max-tokens", "40", "--raw-response")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(BUILT_IN)
    shown = run("--outputs", outputs, "A car is", "--max-tokens", "40")
    assert shown.stdout == f"Prompt:\nA car is\nOutput:\n{done.stdout}"


def test_an_adapter_by_its_name_in_the_stack_file(
    served: Served, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sent(served, monkeypatch)
    adapters = {"sql": "gs://b/models/lora/sql/0123", "chat": "me/chat"}
    shared.write_text(json.dumps({**json.loads(shared.read_text()), "lora": adapters}))
    for given, reached in (("sql", adapters["sql"]), ("chat", "me/chat"), ("gs://c/d", "gs://c/d")):
        run("--outputs", shared, "x", "--lora-id", given)
        assert seen[-1]["lora_id"] == reached
    unknown = run("--outputs", shared, "x", "--lora-id", "sq")
    assert unknown.exit_code == 2
    assert "--lora-id sq: no adapter of that name; the stack has chat, sql." in unknown.output
    shared.write_text(json.dumps(served.outputs("shared")))
    none = run("--outputs", shared, "x", "--lora-id", "sql")
    assert none.exit_code == 2
    assert "there is none in the stack's outputs" in none.output


def test_every_field_arrives(served: Served, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sent(served, monkeypatch)
    options = (
        "--max-tokens 7 --temperature 0.5 --top-p 0.9 --top-k 40 --no-raw-response --lora-id org/adapter"
    )
    done = run("--outputs", shared, "x", *options.split())
    assert done.exit_code == 0, done.output
    assert seen == [
        {
            "prompt": "x",
            "max_tokens": 7,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "raw_response": False,
            "lora_id": "org/adapter",
        }
    ]


def test_what_is_not_given_is_not_sent(served: Served, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sent(served, monkeypatch)
    assert run("--outputs", shared, "x").exit_code == 0
    assert seen == [{"prompt": "x"}]


def test_an_image_arrives_and_a_text_model_says_that_it_takes_none(
    served: Served, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sent(served, monkeypatch)
    image = tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n1234")
    done = run("--outputs", shared, "<|begin_of_text|><|image|>What is it?", "--image", image)
    assert seen[0]["multi_modal_data"] == {"image": "data:image/png;base64,iVBORw0KGgoxMjM0"}
    assert done.exit_code == 8
    assert "This model takes no images" in done.stderr


def test_a_text_is_piped_as_it_is(tmp_path: Path) -> None:
    """Escape sequences too: what a terminal would obey is taken away on a terminal alone."""
    name, text = "projects/1/locations/us-central1/endpoints/2", "\x1b[31mred\x1b[0m"
    with serving(lambda _: Answer(body=json.dumps({"predictions": [text]}).encode())) as url:
        base = f"{url}/v1beta1/{name}"
        file = tmp_path / "outputs.json"
        file.write_text(
            json.dumps({"endpoint": name, "openai_base_url": base, "predict_url": f"{base}:predict"})
        )
        assert run("--outputs", file, "x").stdout == f"{text}\n"


def test_json(outputs: Path, served: Served) -> None:
    done = run("--outputs", outputs, "A car is", "--json", "--raw-response")
    answer = json.loads(done.stdout)
    assert answer.pop("seconds") > 0
    assert answer.pop("prediction").startswith("I am the built-in")
    assert answer == {"endpoint": json.loads(outputs.read_text())["endpoint"], "deployed_model_id": "1"}


@pytest.mark.parametrize("argument", [(), ("-",)])
def test_piped(
    served: Served, shared: Path, argument: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sent(served, monkeypatch)
    assert run("--outputs", shared, *argument, stdin="two\nlines\n").exit_code == 0
    assert seen == [{"prompt": "two\nlines"}]


def test_bytes_that_are_no_text(shared: Path) -> None:
    """In a locale without UTF-8 Python hides them in the text, where no client can send them."""
    for arguments, stdin, what in (
        (("a\udcffb",), "", "The prompt"),
        (("x", "--lora-id", "\udcff"), "", "--lora-id"),
        ((), b"a\xff", "The prompt on stdin"),
    ):
        done = CliRunner().invoke(app, ["predict", "--outputs", str(shared), *arguments], input=stdin)
        assert (done.exit_code, done.stderr) == (2, f"{what} is not UTF-8 text.\n")


def test_utf8_in_another_locale_is_sent_as_it_was_meant(
    served: Served, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sent(served, monkeypatch)
    assert run("--outputs", shared, os.fsencode("é").decode("ascii", "surrogateescape")).exit_code == 0
    assert seen == [{"prompt": "é"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--outputs", "FILE"), "The prompt on stdin is empty."),
        (("x",), "--stack NAME, --outputs FILE and --endpoint ID"),
        (("x", "--outputs", "FILE", "--instances", "FILE"), "A PROMPT or --instances FILE, not both"),
        (("x", "--outputs", "FILE", "-o", "FILE"), "-o is for --instances FILE"),
        (("x", "--outputs", "FILE", "--image", "none.png"), "The image none.png cannot be read"),
        (("--outputs", "FILE", "--instances", "none.jsonl"), "none.jsonl cannot be read: No such file"),
        (("x", "--outputs", "FILE", "--concurrency", "0"), "--concurrency"),
        (
            ("--outputs", "FILE", "--instances", "-"),
            "--instances - is no file that answers could stand beside",
        ),
        (("--outputs", "FILE", "--instances", "x.jsonl", "-o", "-"), "-o names a file"),
        (("--outputs", "-", "--instances", "-", "-o", "x"), "would read stdin"),
    ],
)
def test_wrong_usage(shared: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(*(shared if each == "FILE" else each for each in arguments), stdin="")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_time_out_names_its_limit_and_what_to_lower(served: Served, shared: Path) -> None:
    status = {"code": "UNAVAILABLE", "message": LAST}
    served.cloud.admin.fault(":predict", status=status)
    done = run("--outputs", shared, "x", "--max-tokens", "512")
    assert done.exit_code == 8
    assert "60 s, the time-out of a shared endpoint" in done.stderr
    assert "Lower max_tokens below 512" in done.stderr
    assert served.cloud.admin.unmet_faults() == []


def test_a_time_out_of_a_dedicated_endpoint_names_its_own(served: Served, tmp_path: Path) -> None:
    """The stack's outputs do not have it: it is looked up when it was hit."""
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(served.outputs("dedicated")))
    served.cloud.admin.fault(":predict", status={"code": "UNAVAILABLE", "message": LAST})
    done = run("--outputs", outputs, "x")
    assert "The limit that was hit: 600 s, this dedicated endpoint's inferenceTimeout" in done.stderr


# A file of instances -----------------------------------------------------------------------------------------------


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    given: list[Any] = [f"prompt {number}" for number in range(30)]
    given[4] = {"prompt": "own", "max_tokens": 3, "raw_response": True}
    path.write_text("".join(json.dumps(each) + "\n" for each in given))
    return path


def test_a_file(served: Served, outputs: Path, instances: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sent(served, monkeypatch)
    done = run("--outputs", outputs, "--instances", instances, "--max-tokens", "9", "--concurrency", "4")
    assert done.exit_code == 0, done.output
    written = lines(instances.with_name("prompts.predictions.jsonl"))
    assert [record["line"] for record in written] == list(range(1, 31))
    assert written[0]["prediction"].startswith("Prompt:\nprompt 0\nOutput:\n")
    assert written[4]["prediction"].startswith("I am")
    assert {"prompt": "own", "max_tokens": 3, "raw_response": True} in seen
    assert {"prompt": "prompt 0", "max_tokens": 9} in seen
    assert "30 of 30 predictions" in done.stderr
    assert done.stdout == ""


def test_the_rest_of_a_file(
    served: Served, shared: Path, instances: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = instances.with_name("out.jsonl")
    given = instances.read_text().splitlines()
    given[10] = json.dumps({"prompt": "bad", "no_such_field": 1})
    instances.write_text("\n".join(given))
    first = run("--outputs", shared, "--instances", instances, "-o", out, "--json")
    assert first.exit_code == 8
    assert json.loads(first.stdout) == {
        "output": str(out),
        "instances": 30,
        "predicted": 29,
        "kept": 0,
        "failed": 1,
        "not_asked": 0,
    }
    assert "29 of 30 predictions\n1 failed: line 11. The same command asks again.\n" in first.stderr
    assert "unexpected keyword argument 'no_such_field'" in first.stderr
    (failed,) = [record for record in lines(out) if "error" in record]
    assert (failed["line"], failed["status"]) == (11, 500)
    given[10] = json.dumps("good")
    instances.write_text("\n".join(given))
    seen = sent(served, monkeypatch)
    again = run("--outputs", shared, "--instances", instances, "-o", out, "--json")
    assert again.exit_code == 0, again.output
    assert seen == [{"prompt": "good"}]
    assert [record["line"] for record in lines(out)] == list(range(1, 31))
    assert all("prediction" in record for record in lines(out))
    assert json.loads(again.stdout)["kept"] == 29


def test_without_permission_the_rest_is_not_asked(served: Served, shared: Path, instances: Path) -> None:
    status = {"code": "PERMISSION_DENIED", "message": "no predict for you"}
    served.cloud.admin.fault(":predict", status=status)
    done = run("--outputs", shared, "--instances", instances, "--concurrency", "1", "--json")
    assert done.exit_code == 8
    assert json.loads(done.stdout)["not_asked"] == 29
    assert "1 failed: line 1. The rest was not asked. The same command asks again." in done.stderr
    assert "roles/aiplatform.user" in done.stderr


def test_other_options_are_another_question(shared: Path, instances: Path) -> None:
    assert run("--outputs", shared, "--instances", instances).exit_code == 0
    other = run("--outputs", shared, "--instances", instances, "--max-tokens", "2")
    assert other.exit_code == 2
    assert "start over with --no-resume" in other.stderr
    assert (
        run("--outputs", shared, "--instances", instances, "--max-tokens", "2", "--no-resume").exit_code == 0
    )


def test_a_wrong_line_is_found_before_anything_is_asked(
    served: Served, shared: Path, instances: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sent(served, monkeypatch)
    instances.write_text(instances.read_text() + "{}\n")
    done = run("--outputs", shared, "--instances", instances)
    assert (done.exit_code, seen) == (2, [])
    assert "prompts.jsonl, line 31: an instance is an object with" in done.stderr
    assert not instances.with_name("prompts.predictions.jsonl").exists()


def test_the_instances_are_not_overwritten(shared: Path, instances: Path) -> None:
    before = instances.read_bytes()
    done = run("--outputs", shared, "--instances", instances, "-o", instances, "--no-resume")
    assert done.exit_code == 2
    assert instances.read_bytes() == before


def test_a_time_out_names_the_instances_own_limit(served: Served, shared: Path, tmp_path: Path) -> None:
    served.cloud.admin.fault(":predict", status={"code": "UNAVAILABLE", "message": LAST})
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "x", "max_tokens": 900}\n')
    done = run("--outputs", shared, "--instances", file, "--max-tokens", "7")
    assert (done.exit_code, "Lower max_tokens below 900" in done.stderr) == (8, True)
    served.cloud.admin.fault(":predict", status={"code": "UNAVAILABLE", "message": LAST})
    done = run("--outputs", shared, "x")
    assert "Lower max_tokens below 16" in done.stderr  # vLLM's own limit, where none is given


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_instances_from_a_pipe(shared: Path, tmp_path: Path, name: str) -> None:
    """They are read several times, which a pipe is not for."""
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "infra.cli", "predict", "--outputs", str(shared)]
    done = subprocess.run(
        [*command, "--instances", name, "-o", str(out), "--json"],
        input='"one"\n"two"\n',
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predicted"] == 2
    assert [record["line"] for record in lines(out)] == [1, 2]
    assert done.stderr == f"{out}: 2 of 2 predictions\n"  # no bar, and nothing of one


def test_a_wrong_line_of_a_pipe_is_named_by_the_pipe(shared: Path, tmp_path: Path) -> None:
    done = run("--outputs", shared, "--instances", "-", "-o", tmp_path / "out.jsonl", stdin='"one"\n{}\n')
    assert (done.exit_code, done.stderr.partition(":")[0]) == (2, "-, line 2")


def test_a_full_disk_names_the_file_of_answers(shared: Path, instances: Path) -> None:
    out = instances.with_name("out.jsonl")
    command = [sys.executable, "-m", "infra.cli", "predict", "--outputs", str(shared)]
    command += ["--instances", str(instances), "-o", str(out), "--concurrency", "1"]

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=small)
    assert done.returncode == 2
    assert done.stderr == (
        f"{out} cannot be written: File too large. The answers before are in it; with more room the same command "
        "goes on.\n"
    )
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    assert [record["line"] for record in lines(out)] == list(range(1, 31))


@pytest.mark.parametrize(
    ("sent_signal", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_stopped_loses_no_answer(
    tmp_path: Path, instances: Path, sent_signal: signal.Signals, status: int
) -> None:
    """In a process of its own: ten are answered, then the server is silent until the signal."""
    silent, asked = threading.Event(), []

    def reply(request: Request) -> Answer:
        prompt = json.loads(request.body)["instances"][0]["prompt"]
        asked.append(prompt)
        if len(asked) > 10 and not over.is_set():
            silent.set()
            over.wait(30)
        return Answer(body=json.dumps({"predictions": [prompt]}).encode())

    over = threading.Event()
    name = "projects/1/locations/us-central1/endpoints/2"
    file = tmp_path / "outputs.json"
    with serving(reply) as url:
        base = f"{url}/v1beta1/{name}"
        file.write_text(
            json.dumps({"endpoint": name, "openai_base_url": base, "predict_url": f"{base}:predict"})
        )
        command = [sys.executable, "-m", "infra.cli", "predict", "--outputs", str(file)]
        command += ["--instances", str(instances), "--concurrency", "1"]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        child = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert silent.wait(60)
        child.send_signal(sent_signal)
        _, err = child.communicate(timeout=30)
        over.set()
        assert child.returncode == status, err
        assert "Traceback" not in err
        if sent_signal == signal.SIGINT:
            assert "has 10 of 30 predictions. The same command goes on." in err
        answers = instances.with_name("prompts.predictions.jsonl")
        assert len(lines(answers)) == 10
        asked.clear()
        assert subprocess.run(command, env=env, capture_output=True, timeout=60).returncode == 0
    assert len(asked) == 20
    assert [record["line"] for record in lines(answers)] == list(range(1, 31))
