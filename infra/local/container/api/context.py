"""Checks that chat and plain completions share: model name, length of the context, images."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from infra.local.container.api.errors import RequestRefused
from infra.local.container.engine import Engine


def check_model(name: str | None, engine: Engine) -> str | None:
    """Accept a model name and return the LoRA adapter that it stands for, if it does.

    The Vertex AI fork accepts an empty name (clients send ``model=""``).

    Raises:
        RequestRefused: 404 for a name that is not served.
    """
    unnamed = engine.vertex or engine.dialect.accepts_empty_model
    if name in engine.served_names or name is None or (name == "" and unnamed):
        return None
    if name in engine.lora_modules:
        return name
    aliases = f" Valid aliases: {', '.join(engine.served_names)}." if engine.dialect.names_aliases else ""
    raise RequestRefused(
        f"The model `{name}` does not exist.{aliases}",
        status=HTTPStatus.NOT_FOUND,
        kind="NotFoundError",
        param="model",
    )


def token_budget(prompt_tokens: int, asked: int | None, engine: Engine, *, chat: bool) -> int:
    """Return how many new tokens fit, at most ``asked``.

    Raises:
        RequestRefused: 400 with vLLM's text and both numbers when prompt and answer exceed ``max_model_len``.
    """
    limit, dialect = engine.max_model_len, engine.dialect
    if dialect.since("0.14.0"):
        return _budget_new(prompt_tokens, asked, engine)
    intro = f"This model's maximum context length is {limit} tokens. However, "
    if dialect.since("0.10.0"):
        if prompt_tokens >= limit:
            raise RequestRefused(
                f"{intro}your request has {prompt_tokens} input tokens. Please reduce the length of the input messages."
            )
        if asked is not None and prompt_tokens + asked > limit:
            names = "'max_tokens' or 'max_completion_tokens' is too large"
            raise RequestRefused(
                f"{names}: {asked}. This model's maximum context length is {limit} tokens and your request has "
                f"{prompt_tokens} input tokens ({asked} > {limit} - {prompt_tokens})."
            )
    elif asked is None and prompt_tokens >= limit:
        raise RequestRefused(
            f"{intro}you requested {prompt_tokens} tokens in the messages, Please reduce the length of the messages."
        )
    elif asked is not None and prompt_tokens + asked > limit:
        raise RequestRefused(
            f"{intro}you requested {asked + prompt_tokens} tokens ({prompt_tokens} in the messages, {asked} in the "
            "completion). Please reduce the length of the messages or completion."
        )
    return limit - prompt_tokens if asked is None else asked


def _budget_new(prompt_tokens: int, asked: int | None, engine: Engine) -> int:
    limit = engine.max_model_len
    text = f"This model's maximum context length is {limit} tokens. However, "
    # The prompt is cut one token above the limit before it is counted.
    counted = min(prompt_tokens, limit + 1)
    least = "at least " if counted == limit + 1 else ""
    if engine.dialect.since("0.32.0"):
        if asked is not None and asked > limit:
            raise RequestRefused(
                f"max_tokens={asked} cannot be greater than max_model_len={limit}. Please request fewer output tokens. "
                f"(parameter=max_tokens, value={asked})",
                param="max_tokens",
            )
        if prompt_tokens >= limit:
            raise RequestRefused(
                f"{text}your prompt contains {least}{counted} input tokens, which exceeds this limit even without "
                "any output tokens. Please reduce the length of the input prompt. "
                f"(parameter=input_tokens, value={counted})",
                param="input_tokens",
            )
        return min(limit - prompt_tokens, asked if asked is not None else limit)
    wanted = asked if asked is not None else 0
    if prompt_tokens + max(wanted, 1) > limit:
        raise RequestRefused(
            f"{text}you requested {wanted} output tokens and your prompt contains {least}{counted} input tokens, for a "
            f"total of {least}{counted + wanted} tokens. Please reduce the length of the input prompt or the number of "
            f"requested output tokens. (parameter=input_tokens, value={counted})",
            param="input_tokens",
        )
    return limit - prompt_tokens if asked is None else asked


def count_images(messages: list[dict[str, Any]], engine: Engine) -> int:
    """Count the image parts of a chat and check that this model takes them.

    Raises:
        RequestRefused: 400 for a text model, too many images, or an image that is not where it says.
    """
    parts = [part for message in messages for part in _parts(message)]
    images = [part for part in parts if part.get("type") in ("image_url", "input_image", "image_pil")]
    for part in images:
        if not engine.multimodal:
            raise RequestRefused(text_model_error(engine))
        check_image_url(_url(part), engine)
    if len(images) > engine.image_limit:
        where = "request" if not engine.dialect.since("0.10.0") else "prompt"
        raise RequestRefused(f"At most {engine.image_limit} image(s) may be provided in one {where}.")
    return len(images)


def text_model_error(engine: Engine) -> str:
    """Return vLLM's words for an image sent to a text model."""
    if engine.dialect.since("0.9.0"):
        return f"{engine.served_names[0]} is not a multimodal model"
    if engine.dialect.since("0.6.4"):
        return f"Unknown image model type: {engine.model_type}"
    return f"Unknown model type: {engine.model_type}"


def check_image_url(url: str, engine: Engine) -> None:
    """Check that an image URL has a scheme that vLLM fetches, and that a data URL carries an image.

    Nothing is fetched: the local cloud makes no outgoing request.
    """
    if url.startswith("data:"):
        if not url.startswith("data:image/") or ";base64," not in url:
            raise RequestRefused("Only base64 data URLs of images are supported for now.")
        return
    if not url.startswith(("http://", "https://", "gs://" if engine.vertex else "https://")):
        raise RequestRefused("The URL must be either a HTTP, data or file URL.")


def message_text(message: dict[str, Any]) -> str:
    """Return the text of a chat message, parts joined by line breaks as vLLM joins them."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in _parts(message) if part.get("type") == "text")


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _url(part: dict[str, Any]) -> str:
    image = part.get("image_url")
    if isinstance(image, dict):
        return str(image.get("url", ""))
    return str(image or "")
