"""Families and parsers by name, and what a draft of a card says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cards import ModelCard
from infra.cards.checkpoint import Tensor
from infra.cards.config import ConfigError
from infra.cards.writing import Repository, draft, family_of, parsers_of

CONFIGS = Path(__file__).parent / "configs"
MODELS = Path(__file__).parents[2] / "infra" / "catalog" / "models"
TOOLS = "{% if tools %}{% endif %}"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Meta-Llama-3.1-8B-Instruct", "llama-3.1"),
        ("Llama-4-Scout-17B-16E", "llama-4"),
        ("CodeLlama-7b-hf", "code-llama"),
        ("Llama-Guard-3-8B", "llama-guard"),
        ("Qwen2.5-VL-7B-Instruct-AWQ", "qwen-2.5-vl"),
        ("Qwen-7B-Chat", "qwen"),
        ("Qwen3-Next-80B-A3B-Instruct", "qwen-3-next"),
        ("DeepSeek-R1-Distill-Qwen-7B", "deepseek-r1-distill"),
        ("DeepSeek-V3.2-Exp", "deepseek-v3.2"),
        ("gemma-2b", "gemma"),
        ("gemma-2-2b-it", "gemma-2"),
        ("gemma-3n-E2B-it", "gemma-3n"),
        ("Mixtral-8x7B-v0.1", "mixtral"),
        ("Mistral-7B-Instruct-v0.3", "mistral"),
        ("Mistral-Small-3.1-24B-Instruct-2503", "mistral-small"),
        ("Phi-3.5-mini-instruct", "phi-3.5"),
        ("falcon-40b-instruct", "falcon"),
        ("Falcon-H1-34B-Instruct", "falcon-h1"),
        ("InternVL2_5-8B", "internvl-2.5"),
        ("gpt2", "gpt-2"),
        ("something-new", "qwen3"),
    ],
)
def test_family(name: str, family: str) -> None:
    assert family_of(f"acme/{name}", "qwen3") == family


def test_families_and_parsers_are_those_of_the_catalogue() -> None:
    cards = [
        ModelCard.model_validate(yaml.safe_load(path.read_text("utf-8"))) for path in MODELS.glob("*/*.yaml")
    ]
    named = [card for card in cards if family_of(card.id, "") == card.family]
    assert len(named) > 0.9 * len(cards)
    ours = [card for card in cards if card.chat_template and "vertex" not in (card.tool_call_parser or "")]
    same = [
        card
        for card in ours
        if parsers_of(card.family, card.id, TOOLS) == (card.tool_call_parser, card.reasoning_parser)
    ]
    assert len(same) > 0.9 * len(ours)


def test_no_tools_in_the_template_no_parser() -> None:
    assert parsers_of("qwen-3", "Qwen/Qwen3-4B", "{{ messages }}") == (None, "qwen3")
    assert parsers_of("qwen-3", "Qwen/Qwen3-4B", TOOLS) == ("hermes", "qwen3")


def repository(model_id: str, **changes: Any) -> Repository:
    files = json.loads((CONFIGS / f"{model_id.replace('/', '--')}.json").read_text("utf-8"))
    values: dict[str, Any] = {
        "id": model_id,
        "origin": "the repository at revision 0, 2026-01-01",
        "config": files["config.json"],
        "preprocessor_config": files.get("preprocessor_config.json"),
        "hf_quant_config": files.get("hf_quant_config.json"),
        "tokenizer_config": None,
        "gated": False,
        "gated_source": "its page",
        "chat_template": None,
        "chat_template_file": "none of its files",
        "tensors": None,
        "total_size": None,
    }
    return Repository(**{**values, **changes})


def test_a_draft_of_a_model_that_sees() -> None:
    tensors = (
        Tensor("visual.merger.mlp.0.weight", "BF16", (10, 20), 400),
        Tensor("model.norm.weight", "BF16", (3584,), 7168),
    )
    made = draft(repository("Qwen/Qwen2.5-VL-7B-Instruct", tensors=tensors))
    assert made.card.vision is not None
    assert (made.card.vision.parameters, made.card.vision.max_tokens_per_image) == (200, 16384)
    assert made.card.sources["vision"] == (
        "config.json, preprocessor_config.json, headers of the safetensors files of the repository at revision 0, "
        "2026-01-01"
    )
    assert (made.card.tool_call_parser, made.card.chat_template) == (None, False)
    assert made.unknown == ()


def test_what_a_draft_does_not_know_is_said() -> None:
    made = draft(repository("Qwen/Qwen2.5-VL-7B-Instruct", preprocessor_config=None, chat_template="{{ x }}"))
    assert [line.partition(":")[0] for line in made.unknown] == [
        "weights",
        "vision.max_tokens_per_image",
        "vision.parameters",
        "tool_call_parser",
    ]
    assert "max_tokens_per_image" not in made.card.model_dump(exclude_none=True)["vision"]


def test_modelopts_own_file_is_read() -> None:
    weights = draft(repository("nvidia/GLM-5-NVFP4")).card.weights
    assert (weights.quantization, weights.quantization_bits, weights.group_size) == ("modelopt_fp4", 4, 16)


def test_what_stands_for_a_missing_key_is_a_source() -> None:
    made = draft(repository("google/gemma-3-4b-it", total_size=8_600_158_944))
    assert "transformers' default for gemma3_text: " in made.card.sources["architecture"]
    assert made.card.sources["weights"].startswith("total_size of the index of the repository")
    assert draft(repository("google/gemma-3-4b-it"), family="mine").card.family == "mine"


def test_code_for_the_tokenizer() -> None:
    own = {"auto_map": {"AutoTokenizer": ["a.B", None]}, "tokenizer_class": "TikTokenTokenizer"}
    known = {**own, "tokenizer_class": "Qwen2Tokenizer"}
    assert draft(repository("moonshotai/Kimi-K2-Instruct", tokenizer_config=own)).card.needs_remote_code
    assert not draft(repository("moonshotai/Kimi-K2-Instruct", tokenizer_config=known)).card.needs_remote_code


def test_heads_that_do_not_divide_are_refused() -> None:
    made = repository("Qwen/Qwen3-0.6B")
    for heads in (0, 5):
        with pytest.raises(ConfigError, match=r"key_value_heads|do not divide"):
            draft(replace(made, config={**made.config, "num_key_value_heads": heads}))


def test_heads_of_every_known_config_divide() -> None:
    for path in CONFIGS.glob("*.json"):
        draft(repository(path.stem.replace("--", "/")))
