"""Request bodies of the OpenAI routes: the fields that vLLM reads and its checks on them.

pydantic finds the errors, so that their entries (``type``, ``loc``, ``msg``, ``input``) are those that vLLM's own
pydantic models give. The checks that differ between versions look at the dialect in the validation context.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from infra.local.container.api.errors import FieldError, RequestRefused, invalid_body
from infra.local.container.dialect import Dialect
from infra.local.container.words import words

INT64: Final = 2**63 - 1

# Request fields of the two versions that refuse unknown ones (protocol.py of the wheels 0.6.2 and 0.6.4.post1).
_COMMON_OLD: Final = words(
    "model frequency_penalty logit_bias logprobs max_tokens n presence_penalty response_format seed "
    "stop stream stream_options temperature top_p user best_of use_beam_search top_k min_p "
    "repetition_penalty length_penalty stop_token_ids include_stop_str_in_output ignore_eos "
    "min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens "
    "prompt_logprobs echo add_special_tokens guided_json guided_regex guided_choice guided_grammar "
    "guided_decoding_backend guided_whitespace_pattern "
)
_CHAT_OLD: Final = _COMMON_OLD | words(
    "messages top_logprobs tools tool_choice parallel_tool_calls add_generation_prompt documents "
    "chat_template chat_template_kwargs "
)
_COMPLETION_OLD: Final = _COMMON_OLD | {"prompt", "suffix", "allowed_token_ids"}
_ADDED_IN_0_6_4: Final = {
    "chat": frozenset({"max_completion_tokens", "continue_final_message", "priority", "request_id"}),
    "completion": frozenset({"priority"}),
}
_REMOVED_IN_0_6_4: Final = frozenset({"early_stopping"})


class StreamOptions(BaseModel):
    """What a stream carries beside its pieces."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = True
    continuous_usage_stats: bool | None = False


class ResponseFormat(BaseModel):
    """OpenAI's ``response_format``."""

    model_config = ConfigDict(extra="allow")
    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: dict[str, Any] | None = None


class FunctionDefinition(BaseModel):
    """A function that the model may call."""

    model_config = ConfigDict(extra="allow")
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """One entry of ``tools``."""

    model_config = ConfigDict(extra="allow")
    type: Literal["function"] = "function"
    function: FunctionDefinition


class SamplingFields(BaseModel):
    """Fields that chat and plain completions share."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str | None = None
    frequency_penalty: float | None = 0.0
    presence_penalty: float | None = 0.0
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    n: int | None = 1
    seed: Annotated[int, Field(ge=-INT64 - 1, le=INT64)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    user: str | None = None
    echo: bool | None = False
    response_format: ResponseFormat | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _stream_options_need_stream(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, Mapping) and data.get("stream_options") and not data.get("stream"):
            raise _field(info, "Stream options can only be defined when `stream=True`.", "stream_options")
        return data

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings as a tuple, whichever way they were given."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class ChatRequest(SamplingFields):
    """Body of ``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = "none"
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _logprobs(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("top_logprobs"), int):
            return data
        top = data["top_logprobs"]
        newest = _dialect(info).since("0.14.0")
        if top < 0 and not (newest and top == -1):
            text = "`top_logprobs` must be a positive value" + (" or -1." if newest else ".")
            raise _field(info, text, "top_logprobs", top)
        needs = top != 0 if _dialect(info).since("0.9.0") else True
        if needs and not data.get("logprobs"):
            raise _field(info, "when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
        return data

    @model_validator(mode="before")
    @classmethod
    def _tools(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        speech = _dialect(info)
        if speech.since("0.20.0") and data.get("tools") == []:
            text = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
            raise _field(info, text, "tools")
        if "tool_choice" not in data and data.get("tools"):
            data["tool_choice"] = "auto"
        choice = data.get("tool_choice")
        if choice is None or (choice == "none" and speech.since("0.7.0")):
            return data
        if data.get("tools") is None:
            raise _field(info, "When using `tool_choice`, `tools` must be set.", "tool_choice")
        if not speech.since("0.7.0") and choice != "auto" and not isinstance(choice, dict):
            text = (
                '`tool_choice` must either be a named tool or "auto". `tool_choice="none" is not supported.'
            )
            raise _field(info, text)
        if choice not in ("auto", "required") and not isinstance(choice, dict):
            raise _field(
                info,
                f"Invalid value for `tool_choice`: {choice}! "
                'Only named tools, "none", "auto" or "required" are supported.',
                "tool_choice",
            )
        if isinstance(choice, dict):
            _check_named_tool(choice, data["tools"], info)
        return data

    @model_validator(mode="before")
    @classmethod
    def _final_message(cls, data: Any, info: ValidationInfo) -> Any:
        if (
            isinstance(data, Mapping)
            and data.get("continue_final_message")
            and data.get("add_generation_prompt")
        ):
            text = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            raise _field(info, text)
        return data

    def token_limit(self) -> int | None:
        """Return the limit on new tokens; ``max_completion_tokens`` wins over ``max_tokens``."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(SamplingFields):
    """Body of ``POST /v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    suffix: str | None = None
    add_special_tokens: bool = True

    @model_validator(mode="before")
    @classmethod
    def _prompt_and_logprobs(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping):
            return data
        speech = _dialect(info)
        prompt = data.get("prompt")
        empty = prompt is None or (prompt == "" and speech.since("0.32.0"))
        if empty and speech.since("0.10.2") and data.get("prompt_embeds") is None:
            raise _field(info, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        logprobs = data.get("logprobs")
        if isinstance(logprobs, int) and logprobs < 0 and not (speech.since("0.11.0") and logprobs == -1):
            text = "`logprobs` must be a positive value" + (" or -1." if speech.since("0.11.0") else ".")
            raise _field(info, text, "logprobs", logprobs)
        return data


def _check_named_tool(choice: Mapping[str, Any], tools: Any, info: ValidationInfo) -> None:
    usage = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'
    function = choice.get("function")
    if not isinstance(function, Mapping):
        text = f"Invalid value for `function`: `{function}` in `tool_choice`! {usage}"
        raise _field(info, text, "tool_choice.function")
    if "name" not in function:
        text = f"Expected field `name` in `function` in `tool_choice`! {usage}"
        raise _field(info, text, "tool_choice.function.name")
    names = [tool.get("function", {}).get("name") for tool in tools if isinstance(tool, Mapping)]
    if function["name"] not in names:
        text = "The tool specified in `tool_choice` does not match any of the specified `tools`"
        raise _field(info, text, "tool_choice")


def _dialect(info: ValidationInfo) -> Dialect:
    context = info.context
    assert isinstance(context, Dialect)
    return context


def _field(info: ValidationInfo, text: str, parameter: str | None = None, value: object = None) -> FieldError:
    return FieldError(text, parameter, value, named=_dialect(info).names_params)


RequestModel = TypeVar("RequestModel", bound=SamplingFields)


def read(model: type[RequestModel], body: bytes, dialect: Dialect) -> RequestModel:
    """Read a request body, or raise what vLLM answers.

    Raises:
        RequestRefused: the body is not JSON, not an object, lacks a field, has one of a wrong type, or (up to 0.6.4)
            has one that vLLM does not know.
    """
    if not body:
        raise invalid_body([{"type": "missing", "loc": (), "msg": "Field required", "input": None}], dialect)
    try:
        data = json.loads(body)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        position = getattr(error, "pos", 0)
        entry = {"type": "json_invalid", "loc": (position,), "msg": "JSON decode error", "input": {}}
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise invalid_body([{**entry, "ctx": {"error": reason}}], dialect) from None
    except RecursionError:
        entry = {"type": "json_invalid", "loc": (0,), "msg": "JSON decode error", "input": {}}
        raise invalid_body([{**entry, "ctx": {"error": "nested too deeply"}}], dialect) from None
    problems: list[Any] = []
    result: RequestModel | None = None
    try:
        result = model.model_validate(data, context=dialect, from_attributes=True)
    except ValidationError as error:
        problems.extend(error.errors(include_url=False))
    if isinstance(data, dict):
        problems += _missing(model, data, dialect)
        problems += _unknown_fields(model, data, dialect)
    if problems or result is None:
        raise invalid_body(problems, dialect)
    return result


def _missing(model: type[SamplingFields], data: Mapping[str, Any], dialect: Dialect) -> list[dict[str, Any]]:
    needed = ["model"] if dialect.model_required else []
    if model is CompletionRequest and not dialect.since("0.9.0"):
        needed.append("prompt")
    return [
        {"type": "missing", "loc": (name,), "msg": "Field required", "input": dict(data)}
        for name in needed
        if name not in data
    ]


def _unknown_fields(
    model: type[SamplingFields], data: Mapping[str, Any], dialect: Dialect
) -> list[dict[str, Any]]:
    if not dialect.forbids_extra_fields:
        return []
    chat = model is ChatRequest
    known = _CHAT_OLD if chat else _COMPLETION_OLD
    if dialect.since("0.6.4"):
        known |= _ADDED_IN_0_6_4["chat" if chat else "completion"]
    else:
        known |= _REMOVED_IN_0_6_4
    return [
        {
            "type": "extra_forbidden",
            "loc": (name,),
            "msg": "Extra inputs are not permitted",
            "input": value,
        }
        for name, value in data.items()
        if name not in known
    ]


# (version range, field, test that fails, text): SamplingParams._verify_args of the wheels.
_Check = tuple[str, Callable[[Any], bool], Callable[[Any], str]]
_CHECKS: Final[tuple[_Check, ...]] = (
    ("n", lambda v: v < 1, lambda v: f"n must be at least 1, got {v}."),
    (
        "presence_penalty",
        lambda v: not -2 <= v <= 2,
        lambda v: f"presence_penalty must be in [-2, 2], got {v}.",
    ),
    (
        "frequency_penalty",
        lambda v: not -2 <= v <= 2,
        lambda v: f"frequency_penalty must be in [-2, 2], got {v}.",
    ),
    ("temperature", lambda v: v < 0, lambda v: f"temperature must be non-negative, got {v}."),
    ("top_p", lambda v: not 0 < v <= 1, lambda v: f"top_p must be in (0, 1], got {v}."),
    ("min_p", lambda v: not 0 <= v <= 1, lambda v: f"min_p must be in [0, 1], got {v}."),
    ("max_tokens", lambda v: v < 1, lambda v: f"max_tokens must be at least 1, got {v}."),
    ("min_tokens", lambda v: v < 0, lambda v: f"min_tokens must be greater than or equal to 0, got {v}."),
)


def check_sampling(values: Mapping[str, Any], dialect: Dialect) -> None:
    """Check sampling values the way vLLM's SamplingParams does.

    Args:
        values: ``n``, ``temperature``, ``top_p``, ``top_k``, ``min_p``, ``max_tokens``, ``min_tokens``, penalties
            and ``stop``; missing or None means not given.
        dialect: the version that speaks.

    Raises:
        RequestRefused: the first value that is out of range.
    """
    for name, fails, text in _CHECKS:
        value = values.get(name)
        if value is not None and fails(value):
            raise _sampling(text(value), name, value, dialect)
    temperature = values.get("temperature")
    if temperature is not None and temperature > 2 and dialect.since("0.32.0"):
        raise _sampling(
            f"temperature must be in [0, 2], got {temperature}.", "temperature", temperature, dialect
        )
    top_k = values.get("top_k")
    if top_k is not None and (top_k < -1 or (top_k == 0 and not dialect.since("0.9.0"))):
        disabled = "0 (disable)" if dialect.since("0.9.0") else "-1 (disable)"
        raise _sampling(f"top_k must be {disabled}, or at least 1, got {top_k}.", "top_k", top_k, dialect)
    limit, least = values.get("max_tokens"), values.get("min_tokens") or 0
    if limit is not None and least > limit:
        text_ = f"min_tokens must be less than or equal to max_tokens={limit}, got {least}."
        raise _sampling(text_, "min_tokens", least, dialect)
    if any(stop == "" for stop in values.get("stop") or ()):
        raise _sampling("stop cannot contain an empty string.", None, None, dialect)


def _sampling(text: str, name: str | None, value: object, dialect: Dialect) -> RequestRefused:
    error = FieldError(text, name, value, named=dialect.names_params and name in _NAMED)
    return RequestRefused(str(error), status=HTTPStatus.BAD_REQUEST, param=name if name in _NAMED else None)


_NAMED: Final = frozenset({"temperature", "top_p", "max_tokens"})
