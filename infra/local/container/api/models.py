"""``GET /v1/models``, ``GET /version`` and ``POST /tokenize``."""

from __future__ import annotations

import uuid
from typing import Any

from infra.local.container import tokens
from infra.local.container.api import context
from infra.local.container.api.errors import invalid_body, json_response
from infra.local.container.api.generate import parse_body
from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine


def listing(engine: Engine) -> ContainerResponse:
    """Return the served names, and LoRA modules with the model that they adapt."""
    cards = [_card(name, engine.model, None, engine.max_model_len, engine) for name in engine.served_names]
    cards += [
        _card(name, path, engine.served_names[0], None, engine) for name, path in engine.lora_modules.items()
    ]
    return json_response({"object": "list", "data": cards})


def _card(name: str, root: str, parent: str | None, length: int | None, engine: Engine) -> dict[str, Any]:
    created = int(engine.started)
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": root,
        "parent": parent,
        "max_model_len": length,
        "permission": [
            {
                "id": f"modelperm-{uuid.uuid4().hex}",
                "object": "model_permission",
                "created": created,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
    }


def version(engine: Engine) -> ContainerResponse:
    """Return the version of vLLM that is simulated."""
    return json_response({"version": engine.dialect.version})


def tokenize(body: bytes, engine: Engine) -> ContainerResponse:
    """Count the tokens of a prompt or of chat messages with the simple tokenizer; ids stand for no real token."""
    data = parse_body(body)
    context.check_model(data.get("model"), engine)
    if isinstance(data.get("messages"), list):
        text = "\n".join(
            context.message_text(message) for message in data["messages"] if isinstance(message, dict)
        )
    elif isinstance(data.get("prompt"), str):
        text = data["prompt"]
    else:
        missing = [
            {"type": "missing", "loc": (name,), "msg": "Field required", "input": data}
            for name in ("prompt", "messages")
        ]
        raise invalid_body(missing, engine.dialect)
    ids = [tokens.token_id(token, engine.vocab_size) for token in tokens.tokenize(text)]
    answer: dict[str, Any] = {"count": len(ids), "max_model_len": engine.max_model_len, "tokens": ids}
    if engine.dialect.since("0.9.1"):
        answer["token_strs"] = tokens.tokenize(text) if data.get("return_token_strs") else None
    return json_response(answer)
