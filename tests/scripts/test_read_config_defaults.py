"""The script that reads transformers' defaults, on sources of the same shape."""

from __future__ import annotations

import json
from pathlib import Path

from infra.cards.config import COMPOSITES, KEYS
from infra.cards.families import FAMILIES
from scripts.read_config_defaults import FILE, main, read

SOURCE = """
@strict
class LlamaConfig(PreTrainedConfig):
    model_type = "llama"
    vocab_size: int = 32_000
    max_position_embeddings: int = 4096 * 32
    hidden_size: int = interval(min=0)(default=64)
    num_key_value_heads: int | None = None
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    mamba_d_head: int | str | None = "auto"
    layer_types: list[str] | None = None

class OtherConfig(PreTrainedConfig):
    model_type = "never_heard_of"
    vocab_size: int = 1
"""


def test_defaults_are_read_without_importing(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "configuration_llama.py").write_text(SOURCE)
    assert read(tmp_path) == {
        "llama": {
            "hidden_size": 64,
            "mamba_d_head": "auto",
            "max_position_embeddings": 131072,
            "tie_word_embeddings": False,
            "vocab_size": 32000,
        }
    }


def test_the_table_holds_what_the_reader_asks_for() -> None:
    table = json.loads(FILE.read_text("utf-8"))
    assert table["source"].startswith("transformers 5.")
    kinds = set(FAMILIES) | set(COMPOSITES) | {c.vision_type for c in COMPOSITES.values()}
    assert set(table["defaults"]) <= kinds
    assert all(set(values) <= KEYS for values in table["defaults"].values())
    assert table["defaults"]["gemma3_text"]["num_attention_heads"] == 8


def test_a_folder_without_transformers(tmp_path: Path) -> None:
    assert main([str(tmp_path), "1.0"]) == 1
    assert main([]) == 2
