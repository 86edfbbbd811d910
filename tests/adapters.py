"""LoRA adapters as PEFT saves them: a configuration, and weights that are small, whole and all zero."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.cards.adapter import CONFIG, WEIGHTS

__all__ = ["config", "layer", "weights", "write_adapter"]

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
Shapes = dict[str, tuple[int, int]]


def config(**changes: Any) -> bytes:
    """An ``adapter_config.json`` of Llama 3.1 8B; None takes a key away."""
    document = {
        "peft_type": "LORA",
        "base_model_name_or_path": LLAMA,
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "modules_to_save": None,
        "use_dora": False,
        "init_lora_weights": True,
        **changes,
    }
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def layer(number: int = 0, rank: int = 8, hidden: int = 4096, keys: int = 1024) -> Shapes:
    """The tensors of one layer of an adapter of Llama 3.1 8B, for queries and values."""
    at = f"base_model.model.model.layers.{number}.self_attn"
    return {
        f"{at}.q_proj.lora_A.weight": (rank, hidden),
        f"{at}.q_proj.lora_B.weight": (hidden, rank),
        f"{at}.v_proj.lora_A.weight": (rank, hidden),
        f"{at}.v_proj.lora_B.weight": (keys, rank),
    }


def weights(shapes: Shapes, *, fill: bytes = b"\0") -> bytes:
    """A safetensors file with these tensors in bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (rows, columns) in shapes.items():
        begin, end = end, end + rows * columns * 2
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + fill * end


def write_adapter(
    folder: Path,
    shapes: Shapes | None = None,
    *,
    more: Iterable[str] = (),
    fill: bytes = b"\0",
    **changes: Any,
) -> Path:
    """Saves an adapter; ``changes`` are those of its configuration, ``more`` names of further files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_bytes(config(**changes))
    (folder / WEIGHTS).write_bytes(weights(layer() if shapes is None else shapes, fill=fill))
    for name in more:
        (folder / name).write_text("{}")
    return folder
