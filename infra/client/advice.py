"""What a failed request means, and what to do about it.

Pure. A request meets three parties that refuse in words of their own: Google's front end (hosts, sizes, time-outs,
permissions), Vertex AI (traffic, replicas) and vLLM (lengths, templates, images, tools).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from infra.client.endpoint import DEDICATED_TIMEOUT_S, MAX_DEDICATED_TIMEOUT_S, SHARED_TIMEOUT_S, Endpoint

__all__ = ["advice", "message_of", "timed_out", "words_of"]

_NEAR: Final = 0.95
"""A connection that breaks after this part of the time-out was cut by it."""

_LONG: Final = 700


def message_of(body: object) -> str:
    """The message of an error's body, on one line: Google's, vLLM's (flat or nested), or the text itself."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return " ".join(str(body).split())[:_LONG]
    if isinstance(body, list) and body:  # Google wraps the error of a stream in a list
        body = body[0]
    for key in ("error", "message", "detail"):
        if isinstance(body, Mapping) and body.get(key):
            # Vertex AI's predict answers the container's error as the text of its own.
            return message_of(body[key])
    return " ".join(str(body or "").split())[:_LONG]


def words_of(endpoint: Endpoint) -> str:
    """An endpoint in a few words, for people."""
    if endpoint.local:
        where = "on the local cloud"
    else:
        where = f"in {endpoint.region}, " + ("a host of its own" if endpoint.dedicated else "shared host")
    return f"Endpoint {endpoint.id} {where}"


def timed_out(status: int | None, message: str, endpoint: Endpoint, seconds: float | None = None) -> bool:
    """Whether the endpoint's time-out ended a request.

    Args:
        status: HTTP status, None where the connection broke.
        message: Of the error.
        endpoint: Which was asked.
        seconds: How long the request took.
    """
    if "took too long" in message.lower() or status == 504:
        return True
    if status not in (None, 503) or "No healthy replica" in message or seconds is None:
        return False
    limit = endpoint.timeout_s or DEDICATED_TIMEOUT_S
    return _NEAR * limit <= seconds <= limit + 15


def advice(
    endpoint: Endpoint,
    status: int | None,
    message: str,
    *,
    seconds: float | None = None,
    max_tokens: int | None = None,
    fixed_token: bool = False,
) -> str:
    """What happened and what to do, in a few lines.

    Args:
        endpoint: Which was asked.
        status: HTTP status, None where there was no answer, or it broke off.
        message: Of the error; see :func:`message_of`.
        seconds: How long the request took.
        max_tokens: What was asked for at most; None for no limit.
        fixed_token: Whether the access token was given by the user, so that nobody could make a new one.
    """
    if timed_out(status, message, endpoint, seconds):
        return _too_slow(endpoint, status, message, seconds, max_tokens)
    what = f"The endpoint answers {status}: {message or 'no reason'}" if status else f"No answer: {message}"
    remedy = _remedy(endpoint, status, message, fixed_token)
    return f"{what}\n  {remedy}" if remedy else what


def _too_slow(
    endpoint: Endpoint, status: int | None, message: str, seconds: float | None, max_tokens: int | None
) -> str:
    after = f" after {seconds:.0f} s" if seconds is not None else ""
    limit = endpoint.timeout_s
    if not endpoint.dedicated:
        which = (
            f"{SHARED_TIMEOUT_S:.0f} s, the time-out of a shared endpoint, which cannot be changed "
            f"(a dedicated one allows up to {MAX_DEDICATED_TIMEOUT_S:.0f} s)"
        )
    elif limit is None:
        which = (
            f"the dedicated endpoint's inferenceTimeout: {DEDICATED_TIMEOUT_S:.0f} s where it is not set, "
            f"at most {MAX_DEDICATED_TIMEOUT_S:.0f} s"
        )
    else:
        which = f"{limit:.0f} s, this dedicated endpoint's inferenceTimeout (at most {MAX_DEDICATED_TIMEOUT_S:.0f} s)"
    shown = f"{status}, the answer took too long" if status else "the connection was cut"
    lower = (
        f"max_tokens below {max_tokens}"
        if max_tokens
        else "max_tokens (none was given: the model stops by itself)"
    )
    lines = [
        f"Timed out{after} ({shown}). The limit that was hit: {which}.",
        f"  Lower {lower}, or the length of the prompt.",
    ]
    if not endpoint.dedicated:
        lines.append(
            '  More time, and streaming: vertex-vllm:dedicatedEndpoint: "true" in Pulumi.STACK.yaml.'
        )
    elif limit is None or limit < MAX_DEDICATED_TIMEOUT_S:
        lines.append(
            "  More time: clientConnectionConfig.inferenceTimeout of the endpoint (Vertex AI's endpoints.update)."
        )
    lines.append("  Slow although few are asking? vertex-vllm explain says what the hardware allows.")
    if message and status:
        lines.append(f"  It said: {message}")
    return "\n".join(lines)


_STATUS: Final = {
    429: "Too many requests for the quota or the replicas: wait, ask less often, or raise max_replica_count.",
    500: "The model server failed: vertex-vllm logs shows what it wrote, vertex-vllm diagnose why.",
    502: "The model server did not answer: vertex-vllm logs shows what it wrote, vertex-vllm diagnose why.",
}

_WORDS: Final[tuple[tuple[str, str], ...]] = (
    (
        r"No healthy replica",
        "The container is starting, or failed to: vertex-vllm status shows its state, vertex-vllm diagnose the cause.",
    ),
    (
        r"doesn't have traffic_split",
        "Nothing is deployed, or nothing gets traffic: pulumi up; vertex-vllm status.",
    ),
    (
        r"dedicated (endpoint|dns|domain)",
        "The addresses are those of an older endpoint: pulumi refresh, or --endpoint ID reads them anew.",
    ),
    (
        r"exceeds [\d.]+ ?MB limit|payload size exceeds|request size",
        "A request may have 1.5 MB on a shared and 10 MB on a dedicated endpoint: a smaller image, or its URL.",
    ),
    (
        r"chat template",
        "A base model has none: serve its Instruct model, or set vllm.chat_template in the stack file. "
        "vertex-vllm predict continues a text without one.",
    ),
    (
        r"maximum context length|max_model_len|longer than the maximum model length",
        "Lower --max-tokens, shorten the prompt (/new begins anew), or raise vllm.max_model_len in the stack file.",
    ),
    (
        r"tool choice requires|enable-auto-tool-choice",
        "The server was started without a tool parser: vllm.tool_calling: true in the stack file.",
    ),
    (
        r"not a multimodal model|Unknown (image )?model type|At most 0 image",
        "This model takes no images: ask without, or serve one that does (vertex-vllm models list).",
    ),
    (
        r"At most \d+ image",
        "Send fewer images (those of earlier turns count; /new begins anew), or raise --limit-mm-per-prompt in "
        "vllm.extra_args of the stack file.",
    ),
    (
        r"No adapter found",
        "pulumi stack output lora has the stack's adapters; one whose files changed has another path since.",
    ),
    (
        r"greater than max_lora_rank",
        "Raise --max-lora-rank in vllm.extra_args of the stack file, or train the adapter with a lower rank.",
    ),
    (
        r"[Mm]odel `[^`]*` does not exist",
        "--model names a LoRA adapter that is loaded; without it the model itself answers.",
    ),
)


def _remedy(endpoint: Endpoint, status: int | None, message: str, fixed_token: bool) -> str:
    if status is None:
        if endpoint.local:
            return "Is the local cloud up? make env starts it, make up deploys the stack."
        dns = (
            " A deleted endpoint's host has no address any more: vertex-vllm status." if endpoint.dns else ""
        )
        return f"Asked was {endpoint.openai_base_url}.{dns}"
    if status == 401:
        if fixed_token:
            return "GOOGLE_OAUTH_ACCESS_TOKEN has expired (a token lasts an hour) or holds none: export a new one."
        return "The credentials are not taken: gcloud auth application-default login"
    if status == 403:
        return f"It needs aiplatform.endpoints.predict on the project {endpoint.project}: roles/aiplatform.user has it."
    for pattern, remedy in _WORDS:
        if re.search(pattern, message):
            return remedy
    if status == 404:
        return "The endpoint is not there any more, or has no such route: vertex-vllm status; pulumi refresh."
    if status == 503:
        return "vertex-vllm status shows whether a replica is there; vertex-vllm logs what it wrote."
    return _STATUS.get(status, "")
