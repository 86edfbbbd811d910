"""``vertex-vllm bench``: against the local cloud, against a server of known times, and with saved runs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.bench.results import read_run
from infra.cli.app import app
from infra.cli.bench import _hints, _price
from infra.cli.stack import planned
from infra.client import find
from infra.recipes.costs import cost_outputs
from tests.cli.conftest import serving
from tests.client.conftest import Served

from .conftest import Model, error, level_of, run_of

__all__ = ["serving"]

ROOT = Path(__file__).resolve().parents[2]
NAME = "projects/1/locations/us-central1/endpoints/7"


def bench(*arguments: object, width: int = 200) -> Result:
    return CliRunner().invoke(
        app, ["bench", *map(str, arguments)], env={"COLUMNS": str(width), "NO_COLOR": "1"}
    )


@pytest.fixture
def outputs(model: Model, tmp_path: Path) -> Path:
    """Outputs of a stack whose chat completions the test's server answers."""
    base = model.url.removesuffix("/v1")
    file = tmp_path / "outputs.json"
    file.write_text(
        json.dumps(
            {
                "endpoint": NAME,
                "openai_base_url": f"{base}/v1beta1/{NAME}",
                "predict_url": f"{base}/v1/{NAME}:predict",
            }
        )
    )
    return file


@pytest.mark.parametrize("kind", ["shared", "dedicated"])
def test_on_the_local_cloud(served: Served, kind: str, tmp_path: Path) -> None:
    file, saved, picture = (tmp_path / name for name in ("o.json", "r.json", "p.svg"))
    file.write_text(json.dumps(served.outputs(kind)))
    done = bench(
        *("--outputs", file, "--concurrency", "1,4", "--requests", 8, "--input-tokens", 64),
        *("--output-tokens", 16, "--save", saved, "--plot", picture),
    )
    assert done.exit_code == 0, done.output
    run = read_run(saved)
    assert run.endpoint == served.names[kind]
    assert run.local
    assert [(level.value, level.completed, level.failed) for level in run.levels] == [(1, 8, 0), (4, 8, 0)]
    for level in run.levels:
        assert level.output_tokens == 8 * 16
        assert level.input_tokens == pytest.approx(8 * 64, rel=0.15)
        assert all(0 < first <= last for first, last in zip(level.ttft, level.latency, strict=True))
    ElementTree.parse(picture)
    assert "times are those of this machine, not of a GPU" in done.output
    assert f"{served.names[kind]}: 2 levels, at most 17 requests of 16 output tokens" in done.stderr


def test_json_is_all_of_stdout(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    file.write_text(json.dumps(served.outputs("shared")))
    done = bench("--outputs", file, "--rate", "20", "--requests", 6, "--output-tokens", 8, "--json")
    found = json.loads(done.stdout)
    (level,) = found["levels"]
    assert (level["kind"], level["value"], level["completed"], level["failed"]) == ("rate", 20, 6, 0)
    assert level["output_throughput"] == pytest.approx(6 * 8 / level["duration"], rel=0.01)
    assert level["usd_per_million_output_tokens"] is None


def row(done: Result, name: str) -> list[str]:
    found = re.search(rf"^ *{name} +(.+)$", done.stdout, re.MULTILINE)
    assert found, done.output
    return found[1].split()


def test_figures_errors_and_price(model: Model, outputs: Path) -> None:
    model.first, model.each = 0.1, 0.01
    model.refuse = lambda number: error(503, "upstream") if number == 3 else None
    done = bench(
        *("--outputs", outputs, "--concurrency", "2", "--requests", 8, "--output-tokens", 11),
        *("--usd-per-hour", 3.6),
    )
    assert done.exit_code == 0, done.output
    answers, errors, *_ = cells = row(done, "2")
    assert (answers, errors) == ("7", "1")
    assert float(cells[4]) >= 100  # TTFT
    assert float(cells[7]) >= 10  # TPOT
    assert float(cells[-1]) == pytest.approx(1000 / float(cells[3].replace(",", "")), rel=0.01)
    assert "concurrency 2: 1 x HTTP 503: upstream" in done.stdout
    assert "time limit" not in done.stdout  # none can have been reached
    assert model.most == 2
    assert len(model.asked) == 9  # one to warm up
    assert all(asked["ignore_eos"] and asked["max_tokens"] == 11 for asked in model.asked)


def test_the_length_of_prompts_follows_what_the_server_counts(model: Model, outputs: Path) -> None:
    model.first = model.each = 0
    bench("--outputs", outputs, "--concurrency", "1", "--requests", 3, "--input-tokens", 100)
    counted = [len(asked["messages"][0]["content"].split()) + 10 for asked in model.asked]
    assert counted[0] == 111  # 100 words, a name, and 10 that the server adds
    assert counted[1:] == [101] * 3


def test_own_prompts_and_an_adapter(model: Model, outputs: Path, tmp_path: Path) -> None:
    model.first = model.each = 0
    file = tmp_path / "p.txt"
    file.write_text("first\nsecond\n")
    done = bench(
        *("--outputs", outputs, "--concurrency", "1", "--requests", 3, "--prompts", file),
        *("--model", "lora", "--no-ignore-eos"),
    )
    assert done.exit_code == 0, done.output
    said = [asked["messages"][0]["content"] for asked in model.asked]
    assert said == ["first", "second", "first", "second"]
    assert {asked["model"] for asked in model.asked} == {"lora"}
    assert not any("ignore_eos" in asked for asked in model.asked)


@pytest.mark.parametrize(
    ("refused", "said"),
    [(error(403, "denied"), "aiplatform.endpoints.predict"), (error(500, "boom"), "HTTP 500: boom")],
)
def test_no_load_where_the_first_request_fails(model: Model, outputs: Path, refused: Any, said: str) -> None:
    model.refuse = lambda number: refused
    done = bench("--outputs", outputs, "--concurrency", "16")
    assert done.exit_code == 8
    assert "so no load was sent" in done.stderr
    assert said in done.stderr
    assert len(model.asked) == 1


def test_a_server_that_breaks_down_ends_the_run(model: Model, outputs: Path) -> None:
    model.first = model.each = 0
    model.refuse = lambda number: error(500, "boom") if number > 1 else None
    done = bench("--outputs", outputs, "--concurrency", "1,2,4")
    assert done.exit_code == 8
    assert len(model.asked) == 21
    assert "after 20 errors in a row" in done.stdout


def test_ctrl_c_keeps_the_levels_that_ended(model: Model, outputs: Path, tmp_path: Path) -> None:
    model.first = model.each = 0
    # The second level, after one request to warm up and four of the first, never ends.
    model.refuse = lambda number: setattr(model, "first", 30) if number > 5 else None
    saved = tmp_path / "run.json"
    command = [sys.executable, "-m", "infra.cli", "bench", "--outputs", outputs, "--concurrency", "2,3"]
    options = ["--requests", "4", "--output-tokens", "2", "--save", saved]
    with subprocess.Popen(
        [*map(str, command + options)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        deadline = time.monotonic() + 30
        while len(model.asked) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130, said
    assert b"Interrupted: 1 of 2 levels ended." in said
    assert b"Traceback" not in said
    assert [(level.value, level.completed) for level in read_run(saved).levels] == [(2, 4)]


@pytest.mark.parametrize(
    ("error", "seconds", "said"),
    [
        ("HTTP 503: x", 61, "lower --output-tokens"),
        ("HTTP 504", 61, "lower --output-tokens"),
        ("HTTP 503: x", 2, "vertex-vllm status"),  # no time limit was reached
        ("the stream broke: x", 2, "vertex-vllm logs"),
        ("HTTP 429: x", 2, "quota"),
        ("HTTP 401", 2, "aiplatform.endpoints.predict on E "),
        ("HTTP 400: you must provide a chat template", 2, "vllm.chat_template: plain"),
        ("HTTP 500", 61, ""),
    ],
)
def test_what_to_do_about_errors(error: str, seconds: float, said: str) -> None:
    found = " ".join(_hints([error], "E", seconds))
    assert ("time limit" in found) == ("lower" in said)
    assert said in found
    assert bool(said) == bool(found)


def test_what_was_given_up_is_in_no_time(tmp_path: Path) -> None:
    """Those that waited longest are left out of the percentiles, which must be said."""
    file = tmp_path / "run.json"
    errors = {"no whole answer in 2 s": 3, "not sent: too many under way": 2, "HTTP 500": 1}
    file.write_text(run_of(level_of(4, sent=16, errors=errors), local=True).saved())
    assert "concurrency 4: the 5 of 16 requests that were given up are in none of the times above" in (
        bench("--from", file).stdout
    )
    file.write_text(run_of(level_of(4, sent=11, errors={"HTTP 500": 1}), local=True).saved())
    assert "given up" not in bench("--from", file).stdout


def test_a_run_that_cannot_be_kept_is_shown(model: Model, outputs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    refused = bench("--outputs", outputs, "--save", folder)
    assert (refused.exit_code, model.asked) == (2, [])
    assert "is a folder" in refused.stderr
    model.first = model.each = 0
    once = ("--outputs", outputs, "--concurrency", "1", "--requests", 2, "--output-tokens", 2)
    done = bench(*once, "--plot", "/proc/no.svg")
    assert done.exit_code == 2
    assert row(done, "1")[:2] == ["2", "0"]
    assert "--plot /proc/no.svg: cannot be written" in done.stderr


def test_it_asks_which_endpoint() -> None:
    done = bench("--concurrency", "1")
    assert done.exit_code == 2
    assert "--stack" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--concurrency", "0"),
        ("--concurrency", "1.5"),
        ("--concurrency", "513"),
        ("--concurrency", "1,1"),
        ("--concurrency", "x"),
        ("--concurrency", ""),
        ("--rate", "nan"),
        ("--rate", "101"),
        ("--rate", "1", "--concurrency", "1"),
        ("--requests", "10001"),
        ("--seconds", "4000"),
        ("--save", "/nowhere/run.json"),
    ],
)
def test_bounds_are_kept(model: Model, outputs: Path, arguments: tuple[str, ...]) -> None:
    assert bench("--outputs", outputs, *arguments).exit_code == 2
    assert model.asked == []


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """An earlier and a later run."""
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(run_of(level_of(1), level_of(4)).saved())
    slow = tuple(0.03 + number / 1e4 for number in range(10))
    after.write_text(run_of(level_of(4, tpot=slow), price=None).saved())
    return before, after


def test_two_saved_runs_side_by_side(runs: tuple[Path, Path]) -> None:
    before, after = runs
    done = bench("--from", after, "--compare", before)
    assert done.exit_code == 0, done.output
    assert "Price unknown" in done.stdout
    assert row(done, "4")[-1] == "unknown"
    assert re.search(r"^concurrency 4 +\+0\.0 % +~ \+0\.0 % +\+52\.2 % ", done.stdout, re.MULTILINE)
    found = json.loads(bench("--from", after, "--compare", before, "--json").stdout)["compared"]
    assert [each["tpot"]["verdict"] for each in found["levels"]] == ["worse"]


@pytest.mark.parametrize(
    ("tpot", "local", "said"),
    [(0.0, False, True), (1e-5, False, True), (0.002, False, False), (0.0, True, False)],
)
def test_answers_that_were_not_streamed(tmp_path: Path, tpot: float, local: bool, said: bool) -> None:
    file = tmp_path / "run.json"
    file.write_text(run_of(level_of(4, tpot=(tpot,) * 10), local=local).saved())
    assert ("came all at once" in bench("--from", file).stdout) == said


@pytest.mark.parametrize("width", [80, 117, 118, 200])
def test_the_table_is_whole_at_any_width(runs: tuple[Path, Path], width: int) -> None:
    done = bench("--from", runs[0], width=width)
    assert "…" not in done.stdout
    assert row(done, "4")[0] == "10"
    assert max(len(line) for line in done.stdout.splitlines()[:4]) <= width


def test_a_saved_run_goes_without_an_endpoint(runs: tuple[Path, Path]) -> None:
    assert bench("--from", runs[0], "--endpoint", "7").exit_code == 2
    assert bench("--from", runs[0].with_name("none.json")).exit_code == 2
    other = bench("--from", runs[0], "--compare", __file__)
    assert other.exit_code == 2
    assert "is no run" in other.stderr


@pytest.mark.parametrize(
    ("costs", "known"), [({}, False), ({"replica": {"usd_per_hour": "unknown"}}, False), (None, True)]
)
def test_the_price_is_the_plans(
    serving: Any, costs: dict[str, Any] | None, known: bool, tmp_path: Path
) -> None:
    outputs = {
        "endpoint": NAME,
        "openai_base_url": f"https://us-central1-aiplatform.googleapis.com/v1beta1/{NAME}",
        "predict_url": f"https://us-central1-aiplatform.googleapis.com/v1/{NAME}:predict",
        **({"cost": costs} if costs is not None else cost_outputs(serving)),
    }
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(outputs))
    endpoint = find(outputs=file, environ={})
    price, hardware = _price(endpoint, None, None)
    if not known:
        assert (price, hardware) == (None, "")
    else:
        assert price is not None
        assert price.usd_per_hour == pytest.approx(serving.usd_per_hour)
        assert hardware == "g2-standard-12 with 1 x NVIDIA_L4 in us-central1"
    by_hand, _ = _price(endpoint, None, 5.0)
    assert by_hand is not None
    assert by_hand.usd_per_hour == 5


@pytest.mark.parametrize(("local", "known"), [(False, True), (True, False)])
def test_the_price_of_a_stack_file(model: Model, outputs: Path, local: bool, known: bool) -> None:
    endpoint = find(outputs=outputs, environ={})
    assert endpoint.local
    if not local:
        endpoint = replace(
            endpoint, openai_base_url="https://us-central1-aiplatform.googleapis.com/v1beta1/e"
        )
    price, hardware = _price(endpoint, ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml", None)
    assert hardware.startswith("g2-standard-12 with 1 x NVIDIA_L4")
    assert (price is not None) == known  # a simulation's speed at a GPU's price is no cost
    if price is not None:
        plan, _ = planned(ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml", region="us-central1")
        assert price.usd_per_hour == plan.usd_per_hour
        assert price.source.startswith("1 replica on-demand")
