"""``models add``: against a hub on loopback with the real huggingface_hub, and from files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from infra.cards import ModelCard
from infra.cards.writing import to_yaml
from infra.cli import models_add, repository
from infra.cli.app import app
from infra.recipes import catalog
from tests.hub import COMMIT, Answer, Hub, safetensors, serving

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "infra" / "catalog" / "models"
TOKEN = "hf_" + "x" * 34  # opens nothing

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 128,
    "hidden_size": 64,
    "intermediate_size": 192,
    "max_position_embeddings": 40960,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 1000,
}
FIRST = safetensors({"model.embed_tokens.weight": ("BF16", (1000, 64), 2)})
SECOND = safetensors(
    {
        "model.layers.0.self_attn.q_proj.weight": ("BF16", (512, 64), 2),
        "lm_head.weight": ("BF16", (1000, 64), 2),
    }
)
INDEX = {
    "metadata": {"total_size": 1000 * 64 * 4 + 512 * 64 * 2},
    "weight_map": {
        "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
        "model.layers.0.self_attn.q_proj.weight": "model-00002-of-00002.safetensors",
        "lm_head.weight": "model-00002-of-00002.safetensors",
    },
}
FILES: dict[str, bytes] = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer_config.json": json.dumps({"chat_template": "{% for tool in tools %}{% endfor %}"}).encode(),
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "model-00001-of-00002.safetensors": FIRST,
    "model-00002-of-00002.safetensors": SECOND,
    "README.md": b"---\nlicense: apache-2.0\nextra_gated_prompt: please\n---\n# Qwen3\n",
}
NAME = "acme/Qwen3-Tiny"


def files(**changes: bytes | None) -> dict[str, bytes]:
    """The repository's files with others in place; __ in a name is a dot, None takes a file away."""
    changed = {name.replace("__", "."): content for name, content in changes.items()}
    return {name: content for name, content in {**FILES, **changed}.items() if content is not None}


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(models_add, "_MODELS", folder)
    return folder


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(NAME, FILES)) as running:
        endpoint(monkeypatch, running.url)
        yield running


def endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set what HF_ENDPOINT sets, which huggingface_hub reads once for a process."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", "add", *arguments], prog_name="vertex-vllm")


def written(catalogue: Path) -> ModelCard:
    (path,) = catalogue.glob("*/*")
    assert path.suffix == ".yaml"  # and nothing half-written beside it
    return ModelCard.model_validate(yaml.safe_load(path.read_text("utf-8")))


# From the hub


def test_a_card_from_the_hub(hub: Hub, catalogue: Path) -> None:
    result = run(NAME)
    assert result.exit_code == 0, result.output
    card = written(catalogue)
    assert (card.id, card.family, card.gated, card.chat_template) == (NAME, "qwen-3", False, True)
    assert (card.tool_call_parser, card.reasoning_parser) == ("hermes", "qwen3")
    assert (card.architecture.num_key_value_heads, card.architecture.sliding_window) == (2, None)
    # The embedding and a projection: the output matrix is the input's.
    assert (card.weights.parameters, card.weights.bytes) == (1000 * 64 + 512 * 64, 2 * (1000 * 64 + 512 * 64))
    assert card.weights.dtype == "bfloat16"
    assert f"the repository at revision {COMMIT}, 20" in card.sources["architecture"]
    assert "without 128000 bytes: the output matrix, which is the input's" in card.sources["weights"]
    assert card.sources["gated"].startswith("Hugging Face API, 20")
    assert "wrote " in result.stderr
    assert "make test-fast" in result.stderr


def test_only_headers_of_the_weights_are_asked_for(hub: Hub, catalogue: Path) -> None:
    assert run(NAME).exit_code == 0
    ranges = {path.rpartition("/")[2]: wanted for path, _, wanted in hub.seen if wanted}
    assert set(ranges) == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert set(ranges.values()) == {"bytes=0-100000"}


def test_stdout_has_the_card_and_nothing_else(hub: Hub, catalogue: Path) -> None:
    result = run(NAME, "--stdout")
    assert result.exit_code == 0
    assert ModelCard.model_validate(yaml.safe_load(result.stdout)).id == NAME
    assert "Qwen3ForCausalLM: 96,768 parameters, 0.00 GiB, bfloat16" in result.stderr
    assert list(catalogue.iterdir()) == []


def test_a_revision_is_resolved_to_its_commit(hub: Hub, catalogue: Path) -> None:
    assert run(NAME, "--revision", "main").exit_code == 0
    assert COMMIT in written(catalogue).sources["weights"]


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    result = run(NAME)
    assert {authorization for _, authorization, _ in hub.seen} == {f"Bearer {TOKEN}"}
    assert TOKEN not in result.output + to_yaml(written(catalogue))


def test_gated_on_the_hub(hub: Hub, catalogue: Path) -> None:
    hub.gated = "manual"
    assert run(NAME).exit_code == 0
    assert written(catalogue).gated


def test_a_repository_that_was_renamed(hub: Hub, catalogue: Path) -> None:
    old = "acme/Qwen3-Old"
    hub.fault = lambda path: hub._info() if path == f"/api/models/{old}" else None
    result = run(old)
    assert result.exit_code == 0
    assert f"{old} is called {NAME} now" in result.stderr
    assert written(catalogue).id == NAME


def test_a_card_is_not_replaced_by_accident(hub: Hub, catalogue: Path) -> None:
    assert run(NAME).exit_code == 0
    path = catalogue / f"{NAME}.yaml"
    path.write_text("# mine\n")
    asked = len(hub.seen)
    result = run(NAME)
    assert result.exit_code == 2
    assert "the catalogue has this model. Replace its card with --force" in result.stderr
    assert len(hub.seen) == asked  # refused before anything is asked
    assert path.read_text() == "# mine\n"
    assert run(NAME, "--force").exit_code == 0
    assert written(catalogue).id == NAME


def status(code: int, **headers: str) -> Answer:
    return Answer(code, b"{}", {name.replace("_", "-"): text for name, text in headers.items()})


def on(part: str, answer: Answer) -> Any:
    return lambda path: answer if part in path else None


HTML = Answer(200, b"<html><body>Sign in to the network</body></html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("fault", "token", "said"),
    [
        (
            on("/api/", status(401, X_Error_Code="RepoNotFound")),
            False,
            "has no such model, or it is private, and",
        ),
        (
            on("/api/", status(404, X_Error_Code="RepoNotFound")),
            True,
            "no such model, or the token may not read it",
        ),
        (
            on("/resolve/", status(401, X_Error_Code="GatedRepo")),
            False,
            "is gated, and there is no token. Accept",
        ),
        (
            on("/resolve/", status(403, X_Error_Code="GatedRepo")),
            True,
            "is gated, and the token's account may not",
        ),
        (
            on("/api/", status(401, X_Error_Message="Invalid credentials in Authorization header")),
            True,
            "answered 401 for acme/Qwen3-Tiny: the token is not valid",
        ),
        (on("/resolve/", status(403)), True, "answered 403 for acme/Qwen3-Tiny: the token lacks the right"),
        (on("/api/", status(429, Retry_After="17")), False, "too many requests. Try again in 17 s"),
        (on(".safetensors", status(429)), False, "too many requests. Try again in some minutes"),
        (on("/api/", status(500)), False, "answered 500 for acme/Qwen3-Tiny: the hub has a fault"),
        (on("/resolve/", status(503)), False, "answered 503"),
        (on("/api/", HTML), False, "answered with something else than the hub does"),
        (on("config.json", HTML), False, "is HTML. A proxy or a sign-in page may be in between"),
        (on("-00002-of", HTML), False, "answered with something else than the hub does"),
        (on("/api/", Answer(200, b"[]")), False, "answered with something else than the hub does"),
        (on("/api/", Answer(200, b'{"id": "acme/x", "siblings": []}')), False, "answered with no commit"),
        (on("config.json", Answer(200, b"")), False, "is not JSON (line 1)"),
    ],
)
def test_a_fault_is_one_clear_error(
    hub: Hub, catalogue: Path, monkeypatch: pytest.MonkeyPatch, fault: Any, token: bool, said: str
) -> None:
    hub.fault = fault
    if token:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    result = run(NAME)
    assert said in result.stderr, result.stderr
    assert result.exit_code in (2, 3)
    assert result.exit_code == (2 if "is HTML" in said or "not JSON" in said else 3)
    assert "Traceback" not in result.output
    assert TOKEN not in result.output
    assert list(catalogue.iterdir()) == []


def test_a_revision_that_is_not_there(hub: Hub, catalogue: Path) -> None:
    result = run(NAME, "--revision", "v9")
    assert result.exit_code == 3
    assert "acme/Qwen3-Tiny at v9: the repository has no such revision" in result.stderr


def test_no_answer(hub: Hub, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_TIMEOUT", 0.2)
    hub.fault = lambda path: Answer(delay=1.0)
    result = run(NAME)
    assert result.exit_code == 3
    assert "did not answer within 0 s. Try again. Without network: copy config.json" in result.stderr


def test_no_hub(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint(monkeypatch, "http://127.0.0.1:9")  # the discard port: nobody listens
    result = run(NAME)
    assert result.exit_code == 3
    assert "http://127.0.0.1:9 cannot be reached (ConnectError). Check the network" in result.stderr
    assert list(catalogue.iterdir()) == []


def test_a_token_that_cannot_be_sent_is_not_shown(
    hub: Hub, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN + "é")
    result = run(NAME)
    assert result.exit_code == 3
    assert "the token cannot be sent: HF_TOKEN has a character" in result.stderr
    assert TOKEN not in result.output


def test_offline_is_said(hub: Hub, catalogue: Path) -> None:
    """In a process of its own, as huggingface_hub reads its environment once."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.url}
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "models", "add", NAME, "--stdout"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 3
    assert "HF_HUB_OFFLINE is set" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_executable_of_the_clone_with_an_endpoint(hub: Hub, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "vertex-vllm"), "models", "add", NAME, "--stdout"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_ENDPOINT": hub.url},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert ModelCard.model_validate(yaml.safe_load(done.stdout)).id == NAME


@pytest.mark.parametrize("wrong", ["gpt2", "a/b/c", "../x/y", "a/..", "", "acme/", "acme/x y"])
def test_what_is_no_id(wrong: str, catalogue: Path) -> None:
    result = run(wrong)
    assert result.exit_code == 2
    assert "is no model id" in result.stderr


def test_gated_is_the_hubs_to_say(hub: Hub, catalogue: Path) -> None:
    result = run(NAME, "--gated")
    assert result.exit_code == 2
    assert "belong to --from" in result.stderr


# What a repository may be instead


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["params.json", "consolidated.safetensors"], "It has Mistral's own format"),
        (["adapter_config.json", "adapter_model.safetensors"], "It is a LoRA adapter"),
        (["model.Q4_K_M.gguf"], "It holds GGUF files"),
        (["README.md"], "Is it a language model"),
    ],
)
def test_no_config(hub: Hub, catalogue: Path, names: list[str], said: str) -> None:
    hub.files = dict.fromkeys(names, b"{}")
    result = run(NAME)
    assert result.exit_code == 2
    assert f"there is no config.json. {said}" in result.stderr


def test_an_architecture_that_is_not_known(hub: Hub, catalogue: Path) -> None:
    hub.files = files(config__json=json.dumps({**CONFIG, "model_type": "novel"}).encode())
    result = run(NAME)
    assert result.exit_code == 2
    assert "acme/Qwen3-Tiny: Qwen3ForCausalLM: this reader does not know model_type 'novel'" in result.stderr
    assert list(catalogue.iterdir()) == []


# From files


def folder(tmp_path: Path, content: Mapping[str, bytes], name: str = "files") -> Path:
    made = tmp_path / name
    made.mkdir()
    for file, data in content.items():
        (made / file).write_bytes(data)
    return made


def test_files_give_the_same_card_as_the_hub(hub: Hub, catalogue: Path, tmp_path: Path) -> None:
    assert run(NAME).exit_code == 0
    card = written(catalogue)
    result = run(NAME, "--from", str(folder(tmp_path, FILES)), "--force", "--not-gated")
    assert result.exit_code == 0, result.output
    again = written(catalogue)
    assert again.model_dump(exclude={"sources"}) == card.model_dump(exclude={"sources"})
    assert "the repository (revision not known), from files, 20" in again.sources["architecture"]
    assert again.sources["gated"] == "said by who wrote the card"
    assert str(tmp_path) not in to_yaml(again)


def test_gated_by_the_readme(catalogue: Path, tmp_path: Path) -> None:
    assert run(NAME, "--from", str(folder(tmp_path, FILES))).exit_code == 0
    card = written(catalogue)
    assert (card.gated, card.sources["gated"]) == (True, "README.md of the repository (extra_gated_...)")


@pytest.mark.parametrize(
    "readme", [None, b"# no front matter", b"---\nlicense: mit\n---\n", b"---\n: [\n---\n"]
)
def test_gated_has_to_be_said_where_the_files_do_not(
    catalogue: Path, tmp_path: Path, readme: bytes | None
) -> None:
    result = run(NAME, "--from", str(folder(tmp_path, files(README__md=readme))))
    assert result.exit_code == 2
    assert "--gated if its page asks to accept terms before it shows files, else --not-gated" in result.stderr
    assert list(catalogue.iterdir()) == []


def test_the_revision_that_huggingface_hub_notes(catalogue: Path, tmp_path: Path) -> None:
    made = folder(tmp_path, FILES)
    notes = made / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / "config.json.metadata").write_text(f"{COMMIT}\netag\n1.0\n")
    assert run(NAME, "--from", str(made)).exit_code == 0
    assert f"revision {COMMIT}, from files" in written(catalogue).sources["weights"]


def test_a_snapshot_is_named_by_its_revision(catalogue: Path, tmp_path: Path) -> None:
    assert run(NAME, "--from", str(folder(tmp_path, FILES, COMMIT))).exit_code == 0
    assert f"revision {COMMIT}, from files" in written(catalogue).sources["weights"]


def test_an_index_alone_gives_the_bytes(catalogue: Path, tmp_path: Path) -> None:
    shards: dict[str, bytes | None] = {name: None for name in FILES if name.endswith(".safetensors")}
    content = {name: data for name, data in FILES.items() if name not in shards}
    result = run(NAME, "--from", str(folder(tmp_path, content)))
    assert result.exit_code == 0
    weights = written(catalogue).weights
    assert (weights.parameters, weights.bytes) == (None, INDEX["metadata"]["total_size"])  # type: ignore[index]
    assert (
        "not known: weights: no safetensors header could be read; bytes are those of the index"
        in result.stderr
    )


def test_one_shard_missing_is_not_a_smaller_model(catalogue: Path, tmp_path: Path) -> None:
    content = {name: data for name, data in FILES.items() if "00002-of" not in name}
    assert run(NAME, "--from", str(folder(tmp_path, content))).exit_code == 0
    assert written(catalogue).weights.parameters is None


def test_one_shard_alone_is_not_the_whole_checkpoint(catalogue: Path, tmp_path: Path) -> None:
    few = {name: data for name, data in FILES.items() if "00002-of" not in name and "index" not in name}
    result = run(NAME, "--from", str(folder(tmp_path, few)))
    assert result.exit_code == 2
    assert (
        "1 of 2 safetensors files are missing (model-00002-of-00002.safetensors), and there is no"
        " model.safetensors.index.json"
    ) in result.stderr
    assert list(catalogue.iterdir()) == []


def test_one_shard_alone_on_the_hub(hub: Hub, catalogue: Path) -> None:
    hub.files = {name: data for name, data in FILES.items() if "00001-of" not in name and "index" not in name}
    result = run(NAME)
    assert result.exit_code == 2
    assert f"{NAME}: 1 of 2 safetensors files are missing (model-00001-of-00002.safetensors)" in result.stderr


def test_all_shards_without_an_index_are_a_checkpoint(catalogue: Path, tmp_path: Path) -> None:
    all_but_index = {name: data for name, data in FILES.items() if "index" not in name}
    assert run(NAME, "--from", str(folder(tmp_path, all_but_index))).exit_code == 0
    assert written(catalogue).weights.parameters == 1000 * 64 + 512 * 64


def test_a_file_that_holds_too_little_is_noticed_by_its_parameters(catalogue: Path, tmp_path: Path) -> None:
    few = {name: data for name, data in FILES.items() if "-of-" not in name and "index" not in name}
    result = run(NAME, "--from", str(folder(tmp_path, {**few, "model.safetensors": FIRST})))
    assert (
        "note: the safetensors files hold 64,000 parameters, the shapes of config.json make" in result.stderr
    )


@pytest.mark.parametrize(
    ("kv_heads", "said"),
    [
        (0, "config.json has num_key_value_heads: 0 and num_attention_heads: 4"),
        (3, "config.json has 4 attention heads and 3 key and value heads, which do not divide them"),
        (8, "config.json has 4 attention heads and 8 key and value heads, which do not divide them"),
    ],
)
def test_heads_that_cannot_be(catalogue: Path, tmp_path: Path, kv_heads: int, said: str) -> None:
    config = json.dumps({**CONFIG, "num_key_value_heads": kv_heads}).encode()
    result = run(NAME, "--from", str(folder(tmp_path, files(config__json=config))))
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(catalogue.iterdir()) == []


def test_an_architecture_that_vllm_has_not_is_said(catalogue: Path, tmp_path: Path) -> None:
    config = json.dumps({**CONFIG, "architectures": ["Qwen3ForCausalLLM"]}).encode()
    result = run(NAME, "--from", str(folder(tmp_path, files(config__json=config))))
    assert result.exit_code == 0
    assert (
        "note: no version of vLLM that the catalogue knows has Qwen3ForCausalLLM (the nearest is Qwen3ForCausalLM)"
        in result.stderr
    )
    known = run(NAME, "--from", str(folder(tmp_path, FILES, "known")), "--force")
    assert "no version of vLLM" not in known.stderr


def test_no_whole_checkpoint_of_the_catalogue_seems_to_lack_a_file() -> None:
    books = catalog()
    noticed = [name for name in books.models() if list(models_add._too_few(books.model(name)))]
    assert noticed == ["nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16"]  # its experts are of a latent width


def test_no_weights_at_all(catalogue: Path, tmp_path: Path) -> None:
    content = {"config.json": FILES["config.json"], "README.md": FILES["README.md"]}
    result = run(NAME, "--from", str(folder(tmp_path, content)))
    assert result.exit_code == 0
    card = written(catalogue)
    assert (card.weights.bytes, card.chat_template) == (None, False)
    assert "parameters and bytes are left out" in result.stderr
    assert card.sources["chat_template"].startswith("no tokenizer_config.json and no chat_template.jinja")


def test_one_file_and_no_copies(catalogue: Path, tmp_path: Path) -> None:
    content = {
        **{name: FILES[name] for name in ("config.json", "README.md")},
        "model.safetensors": FIRST,
        "consolidated.safetensors": SECOND,
    }
    assert run(NAME, "--from", str(folder(tmp_path, content))).exit_code == 0
    assert written(catalogue).weights.parameters == 64_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config__json": b"{"}, "config.json: is not JSON (line 1). Download the file again."),
        ({"config__json": b"<!doctype html>"}, "config.json: is HTML. Download the file again."),
        ({"config__json": b"[]"}, "config.json: holds no JSON object."),
        ({"config__json": b"\xff\xfe"}, "config.json: cannot be read: it is not UTF-8."),
        ({"config__json": None}, "there is no config.json."),
        ({"model-00001-of-00002__safetensors": b"version https://git-lfs"}, "not a safetensors file"),
    ],
)
def test_a_broken_file_is_named(
    catalogue: Path, tmp_path: Path, changes: dict[str, bytes | None], said: str
) -> None:
    result = run(NAME, "--from", str(folder(tmp_path, files(**changes))))
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(catalogue.iterdir()) == []


def test_a_folder_that_is_not_there(catalogue: Path, tmp_path: Path) -> None:
    result = run(NAME, "--from", str(tmp_path / "nowhere"))
    assert (result.exit_code, result.stderr) == (2, f"{tmp_path / 'nowhere'}: there is no such folder.\n")


@pytest.mark.parametrize(
    ("changes", "has", "where"),
    [
        ({}, True, "tokenizer_config.json of"),
        ({"tokenizer_config__json": b"{}"}, False, "tokenizer_config.json has none"),
        (
            {"tokenizer_config__json": b"{}", "chat_template__jinja": b"{{ x }}"},
            True,
            "chat_template.jinja of",
        ),
        (
            {"tokenizer_config__json": b"{}", "chat_template__json": b'{"chat_template": "y"}'},
            True,
            "chat_template.json",
        ),
        (
            {"tokenizer_config__json": b'{"chat_template": [{"name": "default", "template": "z"}]}'},
            True,
            "tokenizer",
        ),
        ({"tokenizer_config__json": b'{"chat_template": ""}'}, False, "tokenizer_config.json has none"),
    ],
)
def test_where_the_chat_template_is(
    catalogue: Path, tmp_path: Path, changes: dict[str, bytes], has: bool, where: str
) -> None:
    assert run(NAME, "--from", str(folder(tmp_path, files(**changes)))).exit_code == 0
    card = written(catalogue)
    assert card.chat_template is has
    assert card.sources["chat_template"].startswith(where)
    if "tool" not in str(changes) and changes:
        assert card.tool_call_parser is None  # its template has no tools


def test_a_tokenizer_of_its_own_needs_the_repositorys_code(catalogue: Path, tmp_path: Path) -> None:
    tokenizer = {
        "auto_map": {"AutoTokenizer": ["tok.TikTokenTokenizer", None]},
        "tokenizer_class": "TikTokenTokenizer",
    }
    changed = files(tokenizer_config__json=json.dumps(tokenizer).encode())
    assert run(NAME, "--from", str(folder(tmp_path, changed))).exit_code == 0
    assert written(catalogue).needs_remote_code


def test_a_catalogue_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models"
    file.write_text("")
    monkeypatch.setattr(models_add, "_MODELS", file)
    result = run(NAME, "--from", str(folder(tmp_path, FILES)))
    assert result.exit_code == 2
    assert "cannot be written: " in result.stderr


# The style


def test_every_card_of_the_catalogue_survives_writing() -> None:
    paths = sorted(CARDS.glob("*/*.yaml"))
    assert len(paths) > 100
    for path in paths:
        card = ModelCard.model_validate(yaml.safe_load(path.read_text("utf-8")))
        assert ModelCard.model_validate(yaml.safe_load(to_yaml(card))) == card, path


@pytest.mark.parametrize(
    "model_id",
    [
        "deepseek-ai/DeepSeek-V3.2",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "microsoft/phi-4",
        "openai/gpt-oss-20b",
        "Qwen/Qwen3.5-35B-A3B-FP8",
    ],
)
def test_the_style_is_the_catalogues(model_id: str) -> None:
    text = (CARDS / f"{model_id}.yaml").read_text("utf-8")
    ours = to_yaml(ModelCard.model_validate(yaml.safe_load(text)))
    assert (
        ours.partition("\nsources:")[0].partition("\nrecommended:")[0]
        == (text.partition("\nsources:")[0].partition("\nrecommended:")[0])
    )


def test_long_sources_are_folded(catalogue: Path, tmp_path: Path) -> None:
    assert run(NAME, "--from", str(folder(tmp_path, FILES))).exit_code == 0
    text = (catalogue / f"{NAME}.yaml").read_text("utf-8")
    assert "  weights: >-\n    headers of the safetensors files" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_no_fixture_holds_a_token() -> None:
    for path in (ROOT / "tests" / "cards" / "configs").iterdir():
        assert "hf_" not in path.read_text("utf-8").replace("hf_quant_config", "")
