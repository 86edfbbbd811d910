"""What of an answer is compared: everything but ids, times, words and token counts."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

_WORDS: Final = frozenset(
    {
        "content",
        "text",
        "token",
        "tokens",
        "bytes",
        "logprob",
        "token_logprobs",
        "text_offset",
        "top_logprobs",
        "refusal_text",
        "count",
        "arguments",
    }
)
_COUNTS: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_TIMES: Final = frozenset({"created"})
_RANDOM: Final = re.compile(
    r"(?<![0-9a-zA-Z])(chatcmpl|cmpl|modelperm|chatcmpl-tool)-[0-9a-f]{16,32}|0x[0-9a-f]+|(?<=vllm-0\.32\.0)-[0-9a-z-]+"
)
# Where the real container keeps its shrunk model.
_FOLDER: Final = re.compile(r"\S*/local-vllm-[^/]+/")


def shape(value: Any, name: str = "") -> Any:
    """Replace what may differ by its kind: ``<text>``, ``<count>``, ``<time>``; keep everything else."""
    if isinstance(value, dict):
        return {key: shape(item, key) for key, item in sorted(value.items())}
    if name in _TIMES and isinstance(value, int):
        return "<time>"
    if name in _COUNTS and isinstance(value, int):
        return "<count>"
    if name in _WORDS and value is not None:
        return f"<{name}>"
    if isinstance(value, list):
        return [shape(item, name) for item in value]
    if isinstance(value, str):
        value = _FOLDER.sub("<folder>/", value)
        return _RANDOM.sub(lambda m: f"{m.group(1) or ''}-<id>", value)
    return value


def frames(body: bytes) -> list[Any]:
    """Return the frames of a stream as shapes, runs of equal ones once; what is not a frame stays text.

    Frames of several alternatives come in the order of vLLM's scheduling, so they are sorted by alternative.
    """
    shapes: list[tuple[int, Any]] = []
    for block in body.decode(errors="replace").split("\n\n"):
        if not block.strip():
            continue
        data = block.removeprefix("data: ")
        try:
            item = shape(json.loads(data)) if block.startswith("data: ") else block
        except ValueError:
            item = data
        shapes.append((_alternative(item), item))
    found: list[Any] = []
    for _, item in sorted(shapes, key=lambda pair: pair[0]):
        if not found or found[-1] != item:
            found.append(item)
    return found


def _alternative(item: Any) -> int:
    """Return which alternative a frame belongs to; frames of none (usage, the end) come last."""
    choices = item.get("choices") if isinstance(item, dict) else None
    return int(choices[0]["index"]) if choices else sys.maxsize


def answer(status: int, content_type: str, body: bytes) -> dict[str, Any]:
    """Return what is compared of one answer."""
    kind = content_type.split(";")[0].strip()
    if kind == "text/event-stream":
        shown: Any = frames(body)
    elif kind == "application/json":
        shown = shape(json.loads(body))
    elif body.startswith(b"# "):
        shown = "<metrics>"
    else:
        shown = body.decode(errors="replace")
    return {"status": status, "type": kind, "body": shown}


def differences(simulated: Any, real: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Return where two shapes differ: path, simulated value, real value."""
    if isinstance(simulated, dict) and isinstance(real, dict):
        found = []
        for key in sorted(set(simulated) | set(real)):
            path = f"{where}.{key}" if where else key
            if key not in simulated:
                found.append((path, "<absent>", real[key]))
            elif key not in real:
                found.append((path, simulated[key], "<absent>"))
            else:
                found += differences(simulated[key], real[key], path)
        return found
    if isinstance(simulated, list) and isinstance(real, list) and len(simulated) == len(real):
        return [
            item
            for index, (one, other) in enumerate(zip(simulated, real, strict=True))
            for item in differences(one, other, f"{where}[{index}]")
        ]
    return [] if simulated == real else [(where, simulated, real)]
