"""What a started container knows about itself, and its counters."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from infra.local.container.adapters import Adapters
from infra.local.container.dialect import Dialect


@dataclass
class Engine:
    """The state that requests see.

    ``max_model_len`` and ``kv_tokens`` are in tokens. ``adapters`` is None when LoRA is off. ``chat_template`` says
    whether a chat can be rendered at all. ``vertex`` is True for the Vertex AI fork's server, which has both its
    prediction route and the OpenAI routes; ``openai`` for a server that has the OpenAI routes.
    """

    model: str
    served_names: tuple[str, ...]
    dialect: Dialect
    max_model_len: int
    vocab_size: int
    model_type: str
    chat_template: bool
    multimodal: bool
    auto_tools: bool
    tool_call_parser: str = ""
    distrusts_templates: bool = False
    response_role: str = "assistant"
    api_keys: tuple[str, ...] = ()
    image_limit: int = 1
    image_tokens: int = 1
    vertex: bool = True
    openai: bool = True
    kv_tokens: int = 0
    log_stats: bool = True
    adapters: Adapters | None = None
    lora_modules: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    counts: Counter[str] = field(default_factory=Counter)
