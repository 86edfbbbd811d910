"""Which start-ups are measured: one plain one for every model, then one thing changed at a time for one model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.gpu_probe.configs import full_config
from benchmarks.kv_configs import NoConfig
from infra.cards import ModelCard

GIB: Final = 2**30
MODELS: Final = Path(__file__).resolve().parents[2] / "infra" / "catalog" / "models"

#: One of each shape that memory tells apart, small and telling ones first.
PLAIN: Final = (
    "meta-llama/Llama-3.1-8B-Instruct",  # GQA, the reference model of most published rows
    "meta-llama/Llama-3.2-1B-Instruct",  # tied embeddings, heads of 64
    "Qwen/Qwen2.5-7B-Instruct",  # large vocabulary, four KV heads
    "Qwen/Qwen3-8B",
    "google/gemma-2-9b-it",  # windows on every second layer, 256,000 words, heads of 256
    "google/gemma-3-1b-it",  # windows on five of six layers
    "meta-llama/Llama-2-13b-hf",  # MHA
    "mistralai/Mistral-7B-Instruct-v0.1",  # a window on all layers
    "microsoft/phi-4",
    "deepseek-ai/DeepSeek-V2-Lite-Chat",  # latent attention, experts
    "Qwen/Qwen3-30B-A3B",  # experts
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "Qwen/Qwen3-32B",
)
_REFERENCE: Final = PLAIN[0]
_PLAIN: Final = {"max_model_len": 8192}
#: What is changed, on top of the plain start of the reference model. Without graphs where they would only cost time.
_CHANGES: Final[tuple[dict[str, Any], ...]] = (
    *(
        {"max_num_batched_tokens": tokens, "max_num_seqs": sequences, "enforce_eager": True}
        for tokens in (2048, 8192, 32768)
        for sequences in (16, 256, 1024)
    ),
    *({"max_num_seqs": sequences} for sequences in (16, 128, 512)),
    {"gpu_memory_utilization": 0.8, "enforce_eager": True},
    {"kv_cache_dtype": "fp8", "enforce_eager": True},
    {"quantization": "fp8", "enforce_eager": True},
    {"enable_lora": True, "max_loras": 1, "max_lora_rank": 16, "enforce_eager": True},
    {"enable_lora": True, "max_loras": 8, "max_lora_rank": 64, "enforce_eager": True},
    {"max_model_len": 131072, "enforce_eager": True},
)


@dataclass(frozen=True)
class Case:
    """One start-up: the model, its ``config.json``, arguments of ``vllm.LLM``.

    ``weights`` is the size of all weights in GiB, to leave out what no card of this size can load.
    """

    model: str
    config: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: float | None = None

    @property
    def id(self) -> str:
        """Names the case: the model and what is not a default."""
        return "-".join((self.model, *(f"{key}={value}" for key, value in self.arguments.items())))

    @property
    def file(self) -> str:
        """The id as the name of a file."""
        return re.sub(r"[^\w.=-]+", "_", self.id)

    def as_json(self) -> str:
        """The case as the starter reads it."""
        return json.dumps({"id": self.id, "config": self.config, "arguments": self.arguments})


def card(model: str) -> ModelCard:
    """The catalogue's card of a model.

    Raises:
        NoConfig: the catalogue has none.
    """
    path = MODELS / f"{model}.yaml"
    if not path.is_file():
        raise NoConfig(
            f"{model}: there is no {path.relative_to(MODELS.parents[2])}; --models takes ids of the catalogue"
        )
    return ModelCard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def case(model: str, arguments: dict[str, Any]) -> Case:
    """The case of a catalogued model.

    Raises:
        NoConfig: the model is not in the catalogue, or its full ``config.json`` cannot be written.
    """
    known = card(model)
    size = known.weights.bytes
    longest = known.architecture.max_position_embeddings
    if (arguments.get("max_model_len") or 0) > longest:
        arguments = {**arguments, "max_model_len": longest}
    return Case(model, full_config(known), arguments, None if size is None else size / GIB)


def plan(models: Sequence[str] = (), extra: Iterable[dict[str, Any]] = ()) -> list[Case]:
    """The plain start of each model, then the changes of the first; ``extra`` arguments replace those changes.

    Raises:
        NoConfig: see :func:`case`.
    """
    chosen = models or PLAIN
    first = models[0] if models else _REFERENCE
    given = tuple(extra)
    changes = given or (_CHANGES if not models else ())
    cases = [case(model, dict(_PLAIN)) for model in chosen]
    cases += [case(first, {**_PLAIN, **change}) for change in changes]
    return list({one.id: one for one in cases}.values())
