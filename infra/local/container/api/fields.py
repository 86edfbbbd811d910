"""Which fields the answers carry in which version, as data.

Read in ``protocol.py`` of the wheels named by :data:`infra.local.container.dialect.SOURCE`: a row is valid from its
version until the next row.
"""

from __future__ import annotations

from typing import Any, Final

from infra.local.container.dialect import Dialect

_Rows = tuple[tuple[str, tuple[str, ...]], ...]

# Fields of a chat message beside role, content and tool_calls; all null here.
_MESSAGE: Final[_Rows] = (
    ("0.6.2", ()),
    ("0.7.2", ("reasoning_content",)),
    ("0.10.2", ("refusal", "annotations", "audio", "function_call", "reasoning_content")),
    ("0.14.0", ("refusal", "annotations", "audio", "function_call", "reasoning", "reasoning_content")),
    ("0.20.0", ("refusal", "annotations", "audio", "function_call", "reasoning")),
)
_CHAT_CHOICE: Final[_Rows] = (
    ("0.6.2", ()),
    ("0.10.2", ("token_ids",)),
    ("0.32.0", ("token_ids", "routed_experts")),
)
_CHAT: Final[_Rows] = (
    ("0.6.2", ("prompt_logprobs",)),
    ("0.9.0", ("prompt_logprobs", "kv_transfer_params")),
    (
        "0.10.2",
        ("service_tier", "system_fingerprint", "prompt_logprobs", "prompt_token_ids", "kv_transfer_params"),
    ),
    (
        "0.32.0",
        (
            "service_tier",
            "system_fingerprint",
            "prompt_logprobs",
            "prompt_token_ids",
            "prompt_text",
            "kv_transfer_params",
            "ec_transfer_params",
            "metrics",
        ),
    ),
)
_COMPLETION_CHOICE: Final[_Rows] = (
    ("0.6.2", ("prompt_logprobs",)),
    ("0.10.2", ("token_ids", "prompt_logprobs", "prompt_token_ids")),
    ("0.32.0", ("token_ids", "prompt_logprobs", "prompt_token_ids", "routed_experts")),
)
_COMPLETION: Final[_Rows] = (
    ("0.6.2", ()),
    ("0.9.0", ("kv_transfer_params",)),
    ("0.10.2", ("service_tier", "system_fingerprint", "kv_transfer_params")),
    ("0.32.0", ("service_tier", "system_fingerprint", "kv_transfer_params", "ec_transfer_params", "metrics")),
)
_USAGE: Final[_Rows] = (
    ("0.6.2", ()),
    ("0.6.4", ("prompt_tokens_details",)),
    ("0.32.0", ("prompt_tokens_details", "completion_tokens_details")),
)


def _nulls(rows: _Rows, dialect: Dialect) -> dict[str, Any]:
    names: tuple[str, ...] = rows[0][1]
    for since, row in rows:
        if dialect.since(since):
            names = row
    return dict.fromkeys(names)


def message(
    dialect: Dialect, role: str, content: str | None, tool_calls: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a chat message; from 0.32 an empty ``tool_calls`` is left out."""
    fields: dict[str, Any] = {"role": role, "content": content, **_nulls(_MESSAGE, dialect)}
    if tool_calls or not dialect.since("0.32.0"):
        fields["tool_calls"] = tool_calls
    return fields


def chat_choice(dialect: Dialect, **fields: Any) -> dict[str, Any]:
    """Return one choice of a chat completion."""
    return {**fields, **_nulls(_CHAT_CHOICE, dialect)}


def chat_completion(dialect: Dialect, **fields: Any) -> dict[str, Any]:
    """Return a chat completion."""
    return {**fields, **_nulls(_CHAT, dialect), **fingerprint(dialect)}


def completion_choice(dialect: Dialect, **fields: Any) -> dict[str, Any]:
    """Return one choice of a completion."""
    return {**fields, **_nulls(_COMPLETION_CHOICE, dialect)}


def completion(dialect: Dialect, **fields: Any) -> dict[str, Any]:
    """Return a completion."""
    return {**fields, **_nulls(_COMPLETION, dialect), **fingerprint(dialect)}


def fingerprint(dialect: Dialect) -> dict[str, Any]:
    """Return the system fingerprint as a field, where the version has one."""
    return {} if dialect.fingerprint is None else {"system_fingerprint": dialect.fingerprint}


def usage(
    dialect: Dialect, prompt: int, made: int, *, bare: bool = False, frame: bool = False
) -> dict[str, Any]:
    """Return a usage block.

    ``bare`` leaves the null details out, as the last frame of a stream does; ``frame`` keeps only the one of 0.32
    that is in every frame.
    """
    counts: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + made,
        "completion_tokens": made,
    }
    if bare:
        return counts
    if frame:
        return {**counts, "completion_tokens_details": None} if dialect.since("0.32.0") else counts
    return {**counts, **_nulls(_USAGE, dialect)}


def first_frame(dialect: Dialect) -> dict[str, Any]:
    """Return the null fields of a chat stream's first frame: prompt token ids from 0.10.2, prompt text in 0.32."""
    names = ["prompt_token_ids"] if dialect.since("0.10.2") else []
    names += ["prompt_text"] if dialect.since("0.32.0") else []
    return dict.fromkeys(names)


def delta_choice(dialect: Dialect) -> dict[str, Any]:
    """Return the null fields of the choice in a later frame of a chat stream: token ids from 0.10.2."""
    return {"token_ids": None} if dialect.since("0.10.2") else {}
