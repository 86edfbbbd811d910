"""``POST /v1/completions``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from infra.local.container import responder, tokens
from infra.local.container.api import context, fields, sse
from infra.local.container.api.errors import RequestRefused, json_response
from infra.local.container.api.logprobs import completion_logprobs
from infra.local.container.api.schema import CompletionRequest, check_sampling, read
from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine
from infra.local.container.responder import Answer, Question


async def handle(body: bytes, engine: Engine) -> ContainerResponse:
    """Answer a completion request.

    Raises:
        RequestRefused: whatever vLLM of this version refuses, with its text.
    """
    request = read(CompletionRequest, body, engine.dialect)
    adapter = context.check_model(request.model, engine)
    if request.suffix is not None:
        if engine.dialect.since("0.32.0"):
            text = "suffix is only supported for models with FIM completion rendering"
            raise RequestRefused(text, param="suffix")
        raise RequestRefused("suffix is not currently supported")
    prompts = prompts_of(request, engine)
    counts = [tokens.count(prompt) + 1 if isinstance(prompt, str) else len(prompt) for prompt in prompts]
    limits = [context.token_budget(count, request.max_tokens, engine, chat=False) for count in counts]
    values = request.model_dump(
        include={"n", "temperature", "top_p", "top_k", "min_p", "min_tokens", "max_tokens"}
    )
    penalties = request.model_dump(include={"presence_penalty", "frequency_penalty"})
    check_sampling({**values, **penalties, "stop": request.stops()}, engine.dialect)
    answers = [
        responder.answer(_question(prompt, request, limit, index, adapter))
        for prompt, limit in zip(prompts, limits, strict=True)
        for index in range(request.n or 1)
    ]
    made = sum(answer.tokens for answer in answers)
    engine.counts.update(prompt_tokens=sum(counts), generation_tokens=made, request_success=1)
    identity = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": engine.served_names[0] if adapter is None else adapter,
    }
    if request.stream:
        return sse.stream(_frames(request, engine, identity, prompts, answers, sum(counts)))
    choices = []
    for index, reply in enumerate(answers):
        prompt = prompts[index // (request.n or 1)]
        echoed = prompt if request.echo and isinstance(prompt, str) else ""
        choices.append(
            fields.completion_choice(
                engine.dialect,
                index=index,
                text=echoed + reply.text,
                logprobs=_logprobs(reply.pieces, request, len(echoed)),
                finish_reason=reply.finish_reason,
                stop_reason=reply.stop_reason,
            )
        )
    usage = fields.usage(engine.dialect, sum(counts), made)
    return json_response(fields.completion(engine.dialect, **identity, choices=choices, usage=usage))


def prompts_of(request: CompletionRequest, engine: Engine) -> list[str | list[int]]:
    """Return the prompts one by one; token ids stay token ids.

    Raises:
        RequestRefused: no prompt, or an empty list.
    """
    prompt = request.prompt
    if prompt is None:
        raise RequestRefused("Either prompt or prompt_embeds must be provided and non-empty.", param="prompt")
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        newer = engine.dialect.since("0.20.0")
        raise RequestRefused(
            "You must pass at least one prompt" if newer else "please provide at least one prompt"
        )
    if isinstance(prompt[0], int):
        return [[number for number in prompt if isinstance(number, int)]]
    return [item for item in prompt if not isinstance(item, int)]


def _question(
    prompt: str | list[int], request: CompletionRequest, limit: int, index: int, adapter: str | None
) -> Question:
    wanted = request.response_format
    schema: dict[str, Any] | None = request.guided_json if isinstance(request.guided_json, dict) else None
    if wanted is not None and wanted.type != "text":
        schema = dict((wanted.json_schema or {}).get("schema") or {"type": "object"})
    return Question(
        text=prompt if isinstance(prompt, str) else " ".join(str(number) for number in prompt),
        max_tokens=limit,
        stop=request.stops(),
        seed=request.seed,
        choice=index,
        adapter=adapter,
        schema=schema,
        choices=tuple(request.guided_choice or ()),
        keep_stop=request.include_stop_str_in_output,
    )


def _logprobs(pieces: tuple[str, ...], request: CompletionRequest, offset: int) -> dict[str, Any] | None:
    return None if request.logprobs is None else completion_logprobs(pieces, request.logprobs, offset)


def _frames(
    request: CompletionRequest,
    engine: Engine,
    identity: dict[str, Any],
    prompts: list[str | list[int]],
    answers: list[Answer],
    prompt_tokens: int,
) -> Iterator[dict[str, Any]]:
    options = request.stream_options
    wants_usage = bool(options and options.include_usage)
    continuous = False
    if options is not None and wants_usage:
        continuous = engine.dialect.continuous_usage(options.model_fields_set, options.continuous_usage_stats)
    # vLLM works on all prompts at once, so their frames take turns.
    turns = [_deltas(index, reply, request, prompts) for index, reply in enumerate(answers)]
    last = max(len(turn) for turn in turns) - 1
    for position in range(last + 1):
        for index, turn in enumerate(turns):
            if position >= len(turn):
                continue
            body = {**identity, "choices": [engine.dialect.stream_choice(turn[position])]}
            if continuous:
                count = min(position + 1, answers[index].tokens)
                body["usage"] = fields.usage(engine.dialect, prompt_tokens, count, frame=True)
            elif not engine.dialect.since("0.32.0"):
                body["usage"] = None
            if turn[position]["finish_reason"] and not wants_usage:
                body.update(fields.fingerprint(engine.dialect))
            yield body
    total = sum(reply.tokens for reply in answers)
    if wants_usage:
        usage = fields.usage(engine.dialect, prompt_tokens, total, bare=True)
        yield {**identity, "choices": [], "usage": usage, **fields.fingerprint(engine.dialect)}


def _deltas(
    index: int, reply: Answer, request: CompletionRequest, prompts: list[str | list[int]]
) -> list[dict[str, Any]]:
    """Return the choices of one answer's frames: one token each, the last with the finish reason."""
    prompt = prompts[index // (request.n or 1)]
    pieces = list(reply.pieces)
    if request.echo and isinstance(prompt, str):
        pieces.insert(0, prompt)
    last = pieces.pop() if reply.finish_reason == "length" and pieces else ""
    return [
        {
            "index": index,
            "text": piece,
            "logprobs": _logprobs((piece,) if piece else (), request, 0),
            "finish_reason": reply.finish_reason if made == len(pieces) else None,
            "stop_reason": reply.stop_reason if made == len(pieces) else None,
        }
        for made, piece in enumerate([*pieces, last])
    ]
