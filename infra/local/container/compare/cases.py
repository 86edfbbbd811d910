"""The requests and argument lists that both containers get."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

MODEL: Final = "meta-llama/Meta-Llama-3.1-8B-Instruct"
BASE: Final = "meta-llama/Meta-Llama-3.1-8B"
MAX_MODEL_LEN: Final = 512


@dataclass(frozen=True)
class Case:
    """One request."""

    name: str
    method: str
    path: str
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    def content(self) -> bytes:
        """Return the body's bytes."""
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body).encode()


def _chat(name: str, **fields: Any) -> Case:
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 4,
        "ignore_eos": True,
    }
    body.update(fields)
    return Case(
        f"chat: {name}", "POST", "/v1/chat/completions", {k: v for k, v in body.items() if v is not ...}
    )


def _text(name: str, **fields: Any) -> Case:
    body: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 4, "ignore_eos": True}
    body.update(fields)
    return Case(
        f"completion: {name}", "POST", "/v1/completions", {k: v for k, v in body.items() if v is not ...}
    )


_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_IMAGE: Final = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
    "+A8AAQUBAScY42YAAAAASUVORK5CYII="
)

CASES: Final[tuple[Case, ...]] = (
    Case("health", "GET", "/health"),
    Case("ping", "GET", "/ping"),
    Case("models", "GET", "/v1/models"),
    Case("version", "GET", "/version"),
    Case("metrics", "GET", "/metrics"),
    Case("no such route", "GET", "/nope"),
    Case("no such route, POST", "POST", "/v1/nope", {}),
    Case("wrong method", "GET", "/v1/chat/completions"),
    Case("wrong method on models", "POST", "/v1/models", {}),
    Case("not JSON", "POST", "/v1/chat/completions", raw=b"{not json"),
    Case("empty body", "POST", "/v1/chat/completions", raw=b""),
    Case("list as body", "POST", "/v1/chat/completions", []),
    _chat("plain"),
    _chat("no model", model=...),
    _chat("empty model", model=""),
    _chat("other model", model="other"),
    _chat("no messages", messages=...),
    _chat("empty messages", messages=[]),
    _chat("messages is a string", messages="hello"),
    _chat("unknown field", foo=1),
    _chat("max_completion_tokens", max_tokens=..., max_completion_tokens=3),
    _chat("no limit, stop word", max_tokens=6, stop=["zzzz"]),
    _chat("two choices", n=2, temperature=1.0),
    _chat("n is 0", n=0),
    _chat("n is text", n="two"),
    _chat("temperature below 0", temperature=-1),
    _chat("temperature 3", temperature=3),
    _chat("top_p 0", top_p=0),
    _chat("top_p 2", top_p=2),
    _chat("top_k -2", top_k=-2),
    _chat("min_p 2", min_p=2),
    _chat("presence_penalty 3", presence_penalty=3),
    _chat("max_tokens 0", max_tokens=0),
    _chat("max_tokens -1", max_tokens=-1),
    _chat("max_tokens is text", max_tokens="many"),
    _chat("max_tokens above the length", max_tokens=100000),
    _chat("prompt above the length", messages=[{"role": "user", "content": "hello world " * 600}]),
    _chat("min_tokens above max_tokens", min_tokens=9),
    _chat("empty stop", stop=[""]),
    _chat("seed", seed=7),
    _chat("seed is text", seed="x"),
    _chat("logprobs", logprobs=True, top_logprobs=2),
    _chat("top_logprobs without logprobs", top_logprobs=2),
    _chat("top_logprobs -2", logprobs=True, top_logprobs=-2),
    _chat("stream", stream=True),
    _chat("stream with usage", stream=True, stream_options={"include_usage": True}),
    _chat(
        "stream with usage in every frame",
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    ),
    _chat("stream of two choices", stream=True, n=2, temperature=1.0),
    _chat("stream with logprobs", stream=True, logprobs=True, top_logprobs=1),
    _chat("stream_options without stream", stream_options={"include_usage": True}),
    _chat("stream of another model", stream=True, model="other"),
    _chat("tools, choice none", tools=[_TOOL], tool_choice="none"),
    _chat("tools, choice auto", tools=[_TOOL], tool_choice="auto"),
    _chat("tools, no choice", tools=[_TOOL]),
    _chat("tool_choice without tools", tool_choice="auto"),
    _chat("tool_choice unknown", tools=[_TOOL], tool_choice="sometimes"),
    _chat(
        "named tool that is missing",
        tools=[_TOOL],
        tool_choice={"type": "function", "function": {"name": "x"}},
    ),
    _chat("tools empty", tools=[]),
    _chat(
        "image for a text model",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": _IMAGE}},
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ],
    ),
    _chat("text parts", messages=[{"role": "user", "content": [{"type": "text", "text": "Hello."}]}]),
    _chat(
        "system and assistant",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Bye."},
        ],
    ),
    _chat(
        "continue_final_message and add_generation_prompt",
        continue_final_message=True,
        add_generation_prompt=True,
    ),
    _chat("response_format unknown", response_format={"type": "xml"}),
    _text("plain"),
    _text("no prompt", prompt=...),
    _text("empty list", prompt=[]),
    _text("empty string", prompt=""),
    _text("two prompts", prompt=["a", "b"]),
    _text("token ids", prompt=[72, 101, 108]),
    _text("echo", echo=True),
    _text("suffix", suffix="end"),
    _text("logprobs", logprobs=1),
    _text("logprobs -2", logprobs=-2),
    _text("other model", model="other"),
    _text("two choices", n=2, temperature=1.0),
    _text("max_tokens 0", max_tokens=0),
    _text("max_tokens above the length", max_tokens=100000),
    _text("prompt above the length", prompt="hello world " * 600),
    _text("temperature below 0", temperature=-0.5),
    _text("stream", stream=True),
    _text("stream with usage", stream=True, stream_options={"include_usage": True}),
    _text("stream of two prompts", stream=True, prompt=["a", "b"]),
    _text("stream_options without stream", stream_options={"include_usage": True}),
    Case("tokenize prompt", "POST", "/tokenize", {"model": MODEL, "prompt": "hello"}),
    Case(
        "tokenize messages",
        "POST",
        "/tokenize",
        {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]},
    ),
    Case("tokenize nothing", "POST", "/tokenize", {"model": MODEL}),
    Case("tokenize other model", "POST", "/tokenize", {"model": "other", "prompt": "hello"}),
)

_SCHEMA: Final = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
_NAMED: Final = {"type": "function", "function": {"name": "toggle"}}
_TOGGLE: Final = {"type": "function", "function": {"name": "toggle", "parameters": _SCHEMA}}
_FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}

# Asked of a base model, which has no chat template.
BASE_CASES: Final[tuple[Case, ...]] = (
    _chat("base model, no template", model=BASE),
    _chat("base model, no template, stream", model=BASE, stream=True),
    _chat("base model, template in the request", model=BASE, chat_template="{{ messages[0]['content'] }}"),
    _text("base model", model=BASE),
)
# Asked of a server with --enable-auto-tool-choice and a parser; long enough for the smallest JSON.
TOOL_CASES: Final[tuple[Case, ...]] = (
    _chat("named tool", tools=[_TOGGLE], tool_choice=_NAMED, max_tokens=64, ignore_eos=...),
    _chat("required tool", tools=[_TOGGLE], tool_choice="required", max_tokens=96, ignore_eos=...),
    _chat(
        "named tool, stream", tools=[_TOGGLE], tool_choice=_NAMED, max_tokens=64, ignore_eos=..., stream=True
    ),
    _chat("JSON schema", response_format=_FORMAT, max_tokens=64, ignore_eos=...),
    _chat("tools and choice none", tools=[_TOGGLE], tool_choice="none"),
)


@dataclass(frozen=True)
class Group:
    """A server (its arguments after the model) and what it is asked."""

    name: str
    model: str
    arguments: tuple[str, ...]
    cases: tuple[Case, ...]


_COMMON: Final = (f"--max-model-len={MAX_MODEL_LEN}", "--max-num-seqs=8", "--enforce-eager", "--port=8080")
GROUPS: Final[tuple[Group, ...]] = (
    Group("instruct", MODEL, _COMMON, CASES),
    Group("base", BASE, _COMMON, BASE_CASES),
    Group(
        "tools", MODEL, (*_COMMON, "--enable-auto-tool-choice", "--tool-call-parser=llama3_json"), TOOL_CASES
    ),
)

# Argument lists after `vllm serve`; both parsers must accept or refuse them with the same last line.
ARGUMENTS: Final[tuple[tuple[str, ...], ...]] = (
    ("m", "--max-model-len=4096"),
    ("m", "--max_model_len", "4096"),
    ("m", "--max-model-len=4k"),
    ("m", "--max-model-len=auto"),
    ("m", "--max-model-len=four"),
    ("m", "--max-model-len"),
    ("m", "--foo"),
    ("m", "--foo=1", "--bar", "2"),
    ("m", "--swap-space=16"),
    ("m", "--disable-log-requests"),
    ("m", "--enforce-eager"),
    ("m", "--no-enforce-eager"),
    ("m", "--enforce-eag"),
    ("m", "--enforce-eager=true"),
    ("m", "--dtype=bfloat16"),
    ("m", "--dtype=int8"),
    ("m", "--tensor-parallel-size=two"),
    ("m", "-tp", "2"),
    ("m", "--gpu-memory-utilization=high"),
    ("m", "--gpu-memory-utilization=0.9"),
    ("m", "--max-num-seqs=12.5"),
    ("m", "--max-lora-rank=7"),
    ("m", "--max-lora-rank=16", "--enable-lora", "--max-loras=1", "--max-cpu-loras=8"),
    ("m", "--kv-cache-dtype=int3"),
    ("m", "--served-model-name", "a", "b"),
    ("m", "--disable-log-stats"),
    ("m", "--trust-remote-code"),
    ("m", "--block-size=16"),
    ("m", "--port=http"),
    ("m", "--port=8080", "--host=0.0.0.0"),
    ("m", "--max-num-batched-tokens=8k"),
    ("m", "--max-num"),
    ("m", "--task=generate"),
    ("m", "--device=cpu"),
    ("m", "--model-type=llama3.1"),
)
