"""Log probabilities of the built-in responder.

The responder chooses nothing: each of its tokens is certain, so its log probability is 0 and there is no second
candidate. That is what is reported, whatever number of candidates was asked for.
"""

from __future__ import annotations

from typing import Any


def chat_logprobs(pieces: tuple[str, ...], top: int) -> dict[str, Any]:
    """Return the ``logprobs`` of a chat choice."""
    return {
        "content": [{**_entry(piece), "top_logprobs": [_entry(piece)] if top else []} for piece in pieces]
    }


def completion_logprobs(pieces: tuple[str, ...], top: int, offset: int = 0) -> dict[str, Any]:
    """Return the ``logprobs`` of a completion choice; ``offset`` is the position of the first character."""
    offsets = []
    for piece in pieces:
        offsets.append(offset)
        offset += len(piece)
    return {
        "text_offset": offsets,
        "token_logprobs": [0.0 for _ in pieces],
        "tokens": list(pieces),
        "top_logprobs": [{piece: 0.0} if top else None for piece in pieces],
    }


def _entry(piece: str) -> dict[str, Any]:
    return {"token": piece, "logprob": 0.0, "bytes": list(piece.encode())}
