"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from infra.local.container import responder, tokens
from infra.local.container.api import context, fields, sse
from infra.local.container.api.errors import RequestRefused, json_response
from infra.local.container.api.logprobs import chat_logprobs
from infra.local.container.api.schema import ChatRequest, check_sampling, read
from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine
from infra.local.container.responder import Answer, Question

NO_TEMPLATE: Final = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the "
    "tokenizer does not define one."
)
DISTRUSTED: Final = (
    "Chat template is passed with request, but --trust-request-chat-template is not set. Refused request with "
    "untrusted chat template."
)
AUTO_TOOLS: Final = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'


@dataclass(frozen=True)
class _Reply:
    """One alternative: words, or a tool call (name and JSON arguments) and how it came about."""

    answer: Answer
    call: tuple[str, str] | None = None
    mode: str = "none"

    @property
    def named(self) -> bool:
        """Whether the request named the tool."""
        return self.mode == "named"


async def handle(body: bytes, engine: Engine) -> ContainerResponse:
    """Answer a chat completion request.

    Raises:
        RequestRefused: whatever vLLM of this version refuses, with its text.
    """
    request = read(ChatRequest, body, engine.dialect)
    adapter = context.check_model(request.model, engine)
    mode = tool_mode(request, engine)
    try:
        images = prepare(request, engine)
        prompt_tokens = tokens.count(render(request, engine)) + images * engine.image_tokens
        budget = context.token_budget(prompt_tokens, request.token_limit(), engine, chat=True)
    except RequestRefused as refused:
        if engine.dialect.appends_cause:
            refused.message += " None"
        raise
    check_sampling(_sampling(request), engine.dialect)
    question = _question(request, engine, budget, images, adapter)
    replies = [_reply(replace(question, choice=index), request, mode) for index in range(request.n or 1)]
    made = sum(reply.answer.tokens for reply in replies)
    engine.counts.update(prompt_tokens=prompt_tokens, generation_tokens=made, request_success=1)
    identity = {
        "id": engine.dialect.chat_id_prefix + uuid.uuid4().hex,
        "created": int(time.time()),
        "model": engine.served_names[0] if adapter is None else adapter,
    }
    role = engine.response_role if request.add_generation_prompt else str(request.messages[-1].get("role"))
    if request.stream:
        return sse.stream(_frames(request, engine, identity, role, replies, prompt_tokens))
    choices = [_choice(index, reply, request, engine, role) for index, reply in enumerate(replies)]
    return json_response(
        fields.chat_completion(
            engine.dialect,
            id=identity["id"],
            object="chat.completion",
            created=identity["created"],
            model=identity["model"],
            choices=choices,
            usage=fields.usage(engine.dialect, prompt_tokens, made),
        )
    )


def prepare(request: ChatRequest, engine: Engine) -> int:
    """Check that the chat can be rendered and return how many images it has.

    Raises:
        RequestRefused: no messages, no chat template, an image that this model does not take.
    """
    if not request.messages and engine.dialect.since("0.32.0"):
        raise RequestRefused(
            "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    if request.chat_template is not None and engine.distrusts_templates:
        raise RequestRefused(DISTRUSTED)
    if not engine.chat_template and request.chat_template is None:
        raise RequestRefused(NO_TEMPLATE)
    return context.count_images(request.messages, engine)


def render(request: ChatRequest, engine: Engine) -> str:
    """Write the messages as one prompt in Llama 3's layout; only its token count is used.

    A simulated container has no template engine and no model's own template.
    """
    texts = [
        f"<|start_header_id|>{message.get('role')}<|end_header_id|>\n\n{context.message_text(message)}<|eot_id|>"
        for message in request.messages
    ]
    tail = (
        f"<|start_header_id|>{engine.response_role}<|end_header_id|>\n\n"
        if request.add_generation_prompt
        else ""
    )
    return "<|begin_of_text|>" + "".join(texts) + tail


def _sampling(request: ChatRequest) -> dict[str, Any]:
    values = request.model_dump(include={"n", "temperature", "top_p", "top_k", "min_p", "min_tokens"})
    penalties = request.model_dump(include={"presence_penalty", "frequency_penalty"})
    return {**values, **penalties, "max_tokens": request.token_limit(), "stop": request.stops()}


def tool_mode(request: ChatRequest, engine: Engine) -> str:
    """Return how tools are used: ``none``, ``auto``, ``required`` or ``named``."""
    choice = request.tool_choice
    if isinstance(choice, dict):
        return "named"
    if not request.tools or choice in (None, "none"):
        return "none"
    if choice == "required" and engine.dialect.since("0.8.3"):
        return "required"
    if choice == "required":
        raise RequestRefused('tool_choice = "required" is not supported!')
    if not engine.auto_tools:
        raise RequestRefused(AUTO_TOOLS)
    return "auto"


def _question(
    request: ChatRequest, engine: Engine, budget: int, images: int, adapter: str | None
) -> Question:
    users = [message for message in request.messages if message.get("role") in ("user", "tool")]
    last = users[-1] if users else (request.messages[-1] if request.messages else {})
    if request.guided_regex is not None or request.guided_grammar is not None:
        raise RequestRefused(
            "The built-in responder of the local Google Cloud cannot follow guided_regex or guided_grammar; "
            "use guided_json, guided_choice or a real vLLM (make up CONTAINER=vllm)."
        )
    return Question(
        text=context.message_text(last),
        max_tokens=budget,
        stop=request.stops(),
        seed=request.seed,
        images=images,
        adapter=adapter,
        schema=_schema(request),
        choices=tuple(request.guided_choice or ()),
        keep_stop=request.include_stop_str_in_output,
    )


def _schema(request: ChatRequest) -> dict[str, Any] | None:
    if isinstance(request.guided_json, dict):
        return request.guided_json
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_schema":
        return dict((wanted.json_schema or {}).get("schema") or {"type": "object"})
    return {"type": "object"}


def _reply(question: Question, request: ChatRequest, mode: str) -> _Reply:
    tools = {tool.function.name: tool.function.parameters for tool in request.tools or ()}
    name: str | None = None
    if mode == "named" and isinstance(request.tool_choice, dict):
        name = str(request.tool_choice["function"]["name"])
    elif mode == "required":
        name = responder.chosen_tool(list(tools), question.text) or next(iter(tools))
    elif mode == "auto" and not _has_result(request):
        name = responder.chosen_tool(list(tools), question.text)
    if name is None:
        return _Reply(responder.answer(question))
    arguments = responder.call_arguments(tools.get(name))
    pieces = tuple(tokens.tokenize(arguments))
    return _Reply(Answer(pieces, "stop", None, len(pieces) + 1), (name, arguments), mode)


def _has_result(request: ChatRequest) -> bool:
    """Whether the last message is a tool's result, of which a model speaks instead of calling again."""
    return bool(request.messages) and request.messages[-1].get("role") == "tool"


def _call(reply: _Reply, engine: Engine) -> dict[str, Any]:
    """A tool call as the parser makes it: Mistral's and Kimi's templates take ids of their own form back only."""
    assert reply.call is not None
    name, arguments = reply.call
    identity = f"chatcmpl-tool-{uuid.uuid4().hex}"
    if engine.tool_call_parser == "mistral" and engine.dialect.since("0.6.3"):
        identity = uuid.uuid4().hex[:9]
    elif engine.tool_call_parser == "kimi_k2":
        identity = f"functions.{name}:0"
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _choice(index: int, reply: _Reply, request: ChatRequest, engine: Engine, role: str) -> dict[str, Any]:
    calls = [_call(reply, engine)] if reply.call else []
    # A tool that the model chose by itself leaves no content; a demanded one an empty text.
    content: str | None = reply.answer.text
    if reply.call is not None:
        content = None if reply.mode == "auto" else ""
    logprobs = None
    if request.logprobs:
        logprobs = chat_logprobs(reply.answer.pieces, request.top_logprobs or 0)
    finish = "tool_calls" if reply.call and not reply.named else reply.answer.finish_reason
    if reply.named and not engine.dialect.since("0.8.0"):
        finish = "tool_calls"
    return fields.chat_choice(
        engine.dialect,
        index=index,
        message=fields.message(engine.dialect, role, content, calls),
        logprobs=logprobs,
        finish_reason=finish,
        stop_reason=reply.answer.stop_reason,
    )


def _frames(
    request: ChatRequest,
    engine: Engine,
    identity: dict[str, Any],
    role: str,
    replies: list[_Reply],
    prompt_tokens: int,
) -> Iterator[dict[str, Any]]:
    options = request.stream_options
    wants_usage = bool(options and options.include_usage)
    continuous = False
    if options is not None and wants_usage:
        continuous = engine.dialect.continuous_usage(options.model_fields_set, options.continuous_usage_stats)

    def chunk(choice: dict[str, Any], made: int) -> dict[str, Any]:
        body = {
            "id": identity["id"],
            "object": "chat.completion.chunk",
            "created": identity["created"],
            "model": identity["model"],
            "choices": [choice],
        }
        if continuous:
            body["usage"] = fields.usage(engine.dialect, prompt_tokens, made, frame=True)
        elif wants_usage and engine.dialect.null_usage_in_frames:
            body["usage"] = None
        return body

    for index in range(len(replies)):
        first = {
            "index": index,
            "delta": {"role": role, "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        yield {**chunk(first, 0), **fields.first_frame(engine.dialect)}
    # vLLM makes all alternatives at once, so their frames take turns.
    turns = [list(_deltas(index, reply, request, engine)) for index, reply in enumerate(replies)]
    last = max(len(turn) for turn in turns) - 1
    for position in range(last + 1):
        for index, turn in enumerate(turns):
            if position >= len(turn):
                continue
            made = min(position + 1, replies[index].answer.tokens)
            body = chunk({**turn[position], **fields.delta_choice(engine.dialect)}, made)
            if turn[position]["finish_reason"] and not wants_usage:
                body.update(fields.fingerprint(engine.dialect))
            yield body
    total = sum(reply.answer.tokens for reply in replies)
    if wants_usage:
        yield {
            "id": identity["id"],
            "object": "chat.completion.chunk",
            "created": identity["created"],
            "model": identity["model"],
            "choices": [],
            "usage": fields.usage(engine.dialect, prompt_tokens, total, bare=True),
            **fields.fingerprint(engine.dialect),
        }


def _deltas(index: int, reply: _Reply, request: ChatRequest, engine: Engine) -> Iterator[dict[str, Any]]:
    """Yield the choices of the frames after the first: one token each, the last with the finish reason."""
    answer = reply.answer
    if reply.call is not None:
        finish = "stop" if reply.named and engine.dialect.since("0.8.0") else "tool_calls"
        call = _call(reply, engine)
        start = {**call, "index": 0, "function": {"name": call["function"]["name"]}}
        yield {"index": index, "delta": {"tool_calls": [start]}, "logprobs": None, "finish_reason": None}
        for position, piece in enumerate(answer.pieces, start=1):
            part = {"index": 0, "function": {"arguments": piece}}
            frame: dict[str, Any] = {"index": index, "delta": {"tool_calls": [part]}, "logprobs": None}
            if position < len(answer.pieces):
                yield {**frame, "finish_reason": None}
            else:
                yield {**frame, "finish_reason": finish, "stop_reason": None}
        return
    pieces = list(answer.pieces)
    last = pieces.pop() if answer.finish_reason == "length" and pieces else ""
    for piece in pieces:
        logprobs = chat_logprobs((piece,), request.top_logprobs or 0) if request.logprobs else None
        yield {"index": index, "delta": {"content": piece}, "logprobs": logprobs, "finish_reason": None}
    yield {
        "index": index,
        "delta": {"content": last},
        "logprobs": chat_logprobs((last,) if last else (), request.top_logprobs or 0)
        if request.logprobs
        else None,
        "finish_reason": answer.finish_reason,
        "stop_reason": answer.stop_reason,
    }
