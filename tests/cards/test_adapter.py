"""Reading a LoRA adapter: what is kept of it, and what is no adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.cards.adapter import CONFIG, WEIGHTS, AdapterConfig, AdapterError, parse_config, read_adapter
from tests.adapters import LLAMA, config, layer, weights, write_adapter


def test_what_is_kept_of_a_configuration() -> None:
    assert parse_config(config()) == AdapterConfig(
        rank=8, peft_type="LORA", base_model=LLAMA, target_modules=frozenset({"q_proj", "v_proj"})
    )
    assert parse_config(config(rank_pattern={"q_proj": 32, "v_proj": 4})).rank == 32
    assert parse_config(config(target_modules="all-linear")).target_modules == frozenset()
    assert parse_config(config(modules_to_save=["lm_head"], use_dora=True, bias="all")) == AdapterConfig(
        rank=8,
        peft_type="LORA",
        base_model=LLAMA,
        target_modules=frozenset({"q_proj", "v_proj"}),
        modules_to_save=("lm_head",),
        bias="all",
        use_dora=True,
    )
    assert parse_config(config(init_lora_weights="pissa")).init_lora_weights == "pissa"
    # Not trained with PEFT: vLLM needs three keys.
    assert parse_config(b'{"r": 4, "lora_alpha": 8, "target_modules": []}') == AdapterConfig(rank=4)
    # Another kind has no rank of this kind; what it is is said by its type.
    assert parse_config(config(peft_type="IA3", r=None)).peft_type == "IA3"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<html>", "adapter_config.json is not JSON."),
        (b"[]", "holds no JSON object"),
        (config(r=None), "has no r, which vLLM needs"),
        (config(r=None, lora_alpha=None), "has no r and no lora_alpha, which"),
        (config(target_modules=None), "has no target_modules"),
        (config(r=0), "r: 0, which is no rank"),
        (config(r="8"), "r: '8', which is no rank"),
        (config(r=True), "r: True, which is no rank"),
    ],
)
def test_no_configuration(content: bytes, problem: str) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_config(content)
    assert problem in caught.value.problem
    assert "save_pretrained" in caught.value.remedy


def test_an_adapter_in_a_folder(tmp_path: Path) -> None:
    left_there = ("optimizer.pt", "training_args.bin", "README.md")
    folder = write_adapter(tmp_path / "sql", more=("tokenizer.json", *left_there), r=16)
    found = read_adapter(folder)
    assert found.config.rank == 16
    assert found.files == (CONFIG, WEIGHTS, "tokenizer.json")
    assert {tensor.name for tensor in found.tensors} == set(layer())


def cut(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-7])


def lfs(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n")


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def one_below(folder: Path) -> None:
    write_adapter(folder / "checkpoint-500")
    (folder / CONFIG).unlink()


@pytest.mark.parametrize(
    ("spoil", "problem", "remedy"),
    [
        (
            lambda folder: (folder / CONFIG).unlink(),
            "the folder has no adapter_config.json",
            "save_pretrained",
        ),
        (
            one_below,
            "the folder has no adapter_config.json",
            "or name the folder that has it: checkpoint-500",
        ),
        (lambda folder: (folder / WEIGHTS).unlink(), "the folder has no adapter_model.safetensors", "save"),
        (pickled, "the weights are in adapter_model.bin, which is a pickle", "safe_serialization=True"),
        (lfs, "is only a Git LFS pointer to the file", "git lfs pull"),
        (cut, "it is not whole", "copy the file again"),
        (lambda folder: (folder / WEIGHTS).write_bytes(weights({})), "holds no tensor", "save"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "not a safetensors file", "copy the file again"),
        (lambda folder: (folder / CONFIG).write_bytes(b" " * 2**21), "has 2097152 bytes", "save"),
    ],
)
def test_what_is_no_adapter(tmp_path: Path, spoil: Any, problem: str, remedy: str) -> None:
    folder = write_adapter(tmp_path / "sql")
    spoil(folder)
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert str(tmp_path) not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"there is no folder sql/ in adapters/\."):
        read_adapter(tmp_path / "adapters" / "sql")
