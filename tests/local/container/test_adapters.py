"""Dynamic LoRA in the simulated container: what is loaded, what is kept, and what vLLM would say of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import config, layer, weights, write_adapter
from tests.local.container.conftest import FORK, Asker, Objects, Reply

V085 = f"{FORK}:20250506_0916_RC01"
Serve = Callable[..., Asker]


class Counting(Objects):
    """A bucket that remembers what was read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.seen: list[str] = []

    def read(self, uri: str) -> bytes:
        self.seen.append(uri)
        return super().read(uri)


def adapter(name: str = "gs://b/sql", shapes: Any = None, **changes: Any) -> dict[str, bytes]:
    return {
        f"{name}/adapter_config.json": config(**changes),
        f"{name}/adapter_model.safetensors": weights(layer() if shapes is None else shapes),
    }


def ask(asker: Asker, lora_id: Any, key: str = "lora_id") -> Reply:
    instance = {"prompt": "Rows?", "max_tokens": 60, key: lora_id}
    return asker("POST", "/generate", {"instances": [instance]})


@pytest.mark.parametrize("key", ["lora_id", "dynamic-lora"])
def test_an_adapter_is_read_from_its_bucket(serve: Serve, key: str) -> None:
    asker = serve("--enable-lora", objects=Objects(adapter()))
    for name in ("gs://b/sql", "gs://b/sql/"):
        assert f"The LoRA adapter {name} (rank 8) was loaded" in ask(asker, name, key).json["predictions"][0]


def test_one_on_the_hub_is_taken_unless_it_is_a_model(serve: Serve) -> None:
    asker = serve("--enable-lora")
    assert (
        "The LoRA adapter someone/adapter was loaded" in ask(asker, "someone/adapter").json["predictions"][0]
    )
    for name in ("meta-llama/Meta-Llama-3.1-8B-Instruct", "sql", "/weights/sql", "gs:/b/sql"):
        refused = ask(asker, name)
        assert refused.status == 400
        assert f"Loading lora {name} failed: No adapter found for {name}" in refused.message


def test_one_that_is_loaded_is_not_read_again(serve: Serve) -> None:
    objects = Counting({**adapter(), **adapter("gs://b/chat"), **adapter("gs://b/code")})
    asker = serve("--enable-lora", "--max-loras=1", "--max-cpu-loras=2", objects=objects)

    def reads(name: str) -> int:
        objects.seen.clear()
        assert ask(asker, name).status == 200
        return len(objects.seen)

    assert reads("gs://b/sql") == 2
    # Other bytes under the same name are not seen: that is why the stack gives other content another path.
    objects.files.update(adapter(r=64))
    assert reads("gs://b/sql") == 0
    assert reads("gs://b/chat") == 2
    assert reads("gs://b/sql") == 0
    assert reads("gs://b/code") == 2  # for which chat, the least recently used, goes
    assert reads("gs://b/chat") == 2
    assert "LoRA rank 64 is greater than max_lora_rank 16." in ask(asker, "gs://b/sql").message


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        ({}, "gs://b/none", "No adapter found for gs://b/none"),
        (adapter(), "gs://b", "No adapter found for gs://b"),
        (adapter(), "gs://b/sq", "No adapter found for gs://b/sq"),
        ({"gs://b/sql/adapter_config.json": config()}, "gs://b/sql", "gs://b/sql doesn't contain tensors"),
        ({"gs://b/sql/adapter_config.json": b"{"}, "gs://b/sql", "adapter_config.json is not JSON"),
        (adapter(r=32), "gs://b/sql", "LoRA rank 32 is greater than max_lora_rank 16."),
        (adapter(use_dora=True), "gs://b/sql", "vLLM does not yet support DoRA."),
        (adapter(modules_to_save=["lm_head"]), "gs://b/sql", "only supports modules_to_save being None."),
        (adapter(bias="all", r=32), "gs://b/sql", "max_lora_rank 16. Adapter bias is not supported."),
        (adapter(peft_type="IA3"), "gs://b/sql", "vLLM loads LORA only"),
        (adapter(shapes=layer(40)), "gs://b/sql", "While loading gs://b/sql: it has 41 layers"),
        ({**adapter(), "gs://b/sql/adapter_model.safetensors": b"cut"}, "gs://b/sql", "deserializing header"),
        ({}, "gs://denied/sql", "gs://denied/sql cannot be read: sa@p.iam.gserviceaccount.com does not have"),
    ],
)
def test_what_vllm_cannot_load(serve: Serve, files: dict[str, bytes], name: str, said: str) -> None:
    refused = ask(serve("--enable-lora", objects=Objects(files)), name)
    assert refused.status == 400
    assert said in refused.message


def test_a_pickle_is_loaded_without_a_look(serve: Serve) -> None:
    files = {"gs://b/sql/adapter_config.json": config(), "gs://b/sql/adapter_model.bin": b"pickle"}
    assert ask(serve("--enable-lora", objects=Objects(files)), "gs://b/sql").status == 200


def test_the_rank_that_the_arguments_allow(serve: Serve) -> None:
    files = adapter(r=32, shapes=layer(rank=32))
    asker = serve(
        "--enable-lora", "--max-lora-rank=32", "--max-num-seqs=64", image=V085, objects=Objects(files)
    )
    assert "(rank 32)" in ask(asker, "gs://b/sql").json["predictions"][0]


def test_what_the_stack_uploads_is_loaded(serve: Serve, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "sql", more=("tokenizer.json",))
    files = {f"gs://b/models/lora/sql/0a/{path.name}": path.read_bytes() for path in folder.iterdir()}
    asker = serve("--enable-lora", objects=Objects(files))
    assert ask(asker, "gs://b/models/lora/sql/0a").status == 200
