"""Chat completions: fields, streams, refusals, by version."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import openai
import pytest

from infra.local.container.api.chat import NO_TEMPLATE
from tests.local.container.conftest import BASE, FORK, LLAMA, VISION, Asker

V085 = f"{FORK}:20250506_0916_RC01"
V092 = f"{FORK}:20250710_0916_RC01"
UPSTREAM = "docker.io/vllm/vllm-openai:v"
A100 = ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
Serve = Callable[..., Asker]


def _body(**fields: Any) -> dict[str, Any]:
    return {"model": LLAMA, "messages": [{"role": "user", "content": "Hello there"}], **fields}


def _chat(asker: Asker, **fields: Any) -> Any:
    return asker("POST", "/v1/chat/completions", _body(**fields))


def test_a_completion_has_every_field_of_0_6_2(serve: Serve) -> None:
    reply = _chat(serve())
    assert reply.status == 200
    body = reply.json
    assert body["id"].startswith("chat-")
    assert set(body) == {"id", "object", "created", "model", "choices", "usage", "prompt_logprobs"}
    choice = body["choices"][0]
    assert set(choice) == {"index", "message", "logprobs", "finish_reason", "stop_reason"}
    assert set(choice["message"]) == {"role", "content", "tool_calls"}
    assert choice["finish_reason"] == "stop"
    assert "not a language model" in choice["message"]["content"]
    assert "Hello there" in choice["message"]["content"]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_openais_client_understands_completions_and_streams(serve: Serve) -> None:
    reply = _chat(serve(image=V092))
    completion = openai.types.chat.ChatCompletion.model_validate(reply.json)
    assert completion.choices[0].message.role == "assistant"
    events = _chat(serve(image=V092), stream=True, stream_options={"include_usage": True}).events
    chunks = [openai.types.chat.ChatCompletionChunk.model_validate(event) for event in events[:-1]]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        completion.choices[0].message.content
    )
    assert events[-1] == "[DONE]"


def test_the_same_request_gives_the_same_words(serve: Serve) -> None:
    asker = serve()
    texts = {_chat(asker, seed=seed).json["choices"][0]["message"]["content"] for seed in (7, 7, 7)}
    assert len(texts) == 1


def test_stream_frames(serve: Serve) -> None:
    reply = _chat(serve(image=V085), stream=True, max_tokens=3)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    first, *middle, last, done = reply.events
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["object"] == "chat.completion.chunk"
    assert [event["choices"][0]["finish_reason"] for event in middle] == [None, None]
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["stop_reason"] is None
    assert "usage" not in last
    assert done == "[DONE]"


def test_usage_comes_last_when_it_is_asked_for(serve: Serve) -> None:
    events = _chat(
        serve(image=V085), stream=True, max_tokens=3, stream_options={"include_usage": True}
    ).events
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 3
    assert all("usage" not in event for event in events[:-2])


def test_0_6_2_sends_usage_in_every_frame_when_it_is_asked_for(serve: Serve) -> None:
    events = _chat(serve(), stream=True, max_tokens=2, stream_options={"include_usage": True}).events
    assert [event["usage"]["completion_tokens"] for event in events[:-1]] == [0, 1, 2, 2]


def test_limits_and_stops(serve: Serve) -> None:
    asker = serve(image=V085)
    short = _chat(asker, max_tokens=5).json
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 5
    stopped = _chat(asker, stop=[" of", "zz"]).json["choices"][0]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", " of")
    assert stopped["message"]["content"].endswith("the built-in responder")
    kept = _chat(asker, stop=" of", include_stop_str_in_output=True).json["choices"][0]
    assert kept["message"]["content"].endswith("responder of")
    assert _chat(asker, max_completion_tokens=4, max_tokens=9).json["usage"]["completion_tokens"] == 4


def test_alternatives_differ(serve: Serve) -> None:
    choices = _chat(serve(), n=3).json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in choices}) == 3


def test_logprobs_say_that_the_text_is_certain(serve: Serve) -> None:
    content = _chat(serve(), logprobs=True, top_logprobs=3, max_tokens=2).json["choices"][0]["logprobs"][
        "content"
    ]
    assert [entry["logprob"] for entry in content] == [0.0, 0.0]
    assert [len(entry["top_logprobs"]) for entry in content] == [1, 1]
    assert bytes(content[0]["bytes"]).decode() == content[0]["token"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"temperature": -1}, "temperature must be non-negative, got -1.0."),
        ({"top_p": 0}, "top_p must be in (0, 1], got 0.0."),
        ({"top_k": 0}, "top_k must be -1 (disable), or at least 1, got 0."),
        ({"min_p": 2}, "min_p must be in [0, 1], got 2.0."),
        ({"n": 0}, "n must be at least 1, got 0."),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0."),
        ({"presence_penalty": 3}, "presence_penalty must be in [-2, 2], got 3.0."),
        ({"stop": [""]}, "stop cannot contain an empty string."),
        ({"max_tokens": 2, "min_tokens": 5}, "min_tokens must be less than or equal to max_tokens=2, got 5."),
        (
            {"max_tokens": 5000},
            "This model's maximum context length is 4096 tokens. However, you requested 50",
        ),
        ({"model": "other"}, "The model `other` does not exist."),
        (
            {"foo": 1},
            "'type': 'extra_forbidden', 'loc': ('body', 'foo'), 'msg': 'Extra inputs are not permitted'",
        ),
        ({"messages": "hi"}, "'type': 'list_type', 'loc': ('body', 'messages')"),
        ({"stream_options": {}, "n": "x"}, "'type': 'int_parsing', 'loc': ('body', 'n')"),
        (
            {"stream_options": {"include_usage": True}},
            "Stream options can only be defined when `stream=True`.",
        ),
        ({"top_logprobs": 2}, "when using `top_logprobs`, `logprobs` must be set to true."),
        ({"tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set."),
        (
            {"tools": [TOOL]},
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        ),
        ({"tools": [TOOL], "tool_choice": "none"}, '`tool_choice` must either be a named tool or "auto".'),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "The tool specified in `tool_choice` does not match any of the specified `tools`",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]},
            "Unknown model type: llama",
        ),
        ({"guided_regex": "a+"}, "cannot follow guided_regex"),
    ],
)
def test_refusals_of_0_6_2(serve: Serve, fields: dict[str, Any], text: str) -> None:
    reply = _chat(serve(), **fields)
    assert reply.status == (404 if "does not exist" in text else 400)
    assert reply.json["object"] == "error"
    assert reply.json["code"] == reply.status
    assert text in reply.message


def test_a_missing_model_is_named_in_0_6_2_and_optional_later(serve: Serve) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    old = serve()("POST", "/v1/chat/completions", body)
    assert old.status == 400
    assert "'type': 'missing', 'loc': ('body', 'model')" in old.message
    assert serve(image=V085)("POST", "/v1/chat/completions", body).status == 200


def test_an_empty_model_name_stands_for_the_served_one(serve: Serve) -> None:
    assert _chat(serve(), model="").json["model"] == LLAMA


def test_served_names_replace_the_models(serve: Serve) -> None:
    asker = serve("--served-model-name", "a", "b")
    assert _chat(asker, model="b").json["model"] == "a"
    assert _chat(asker, model=LLAMA).status == 404


def test_errors_are_nested_in_newer_versions(serve: Serve) -> None:
    reply = _chat(serve(image=f"{UPSTREAM}0.20.0", health_route="/health"), model="other")
    assert reply.json["error"] == {
        "message": "The model `other` does not exist.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }


def test_a_base_model_has_no_chat_template(serve: Serve) -> None:
    asker = serve(model=BASE)
    reply = _chat(asker, model=BASE)
    assert (reply.status, reply.message) == (400, NO_TEMPLATE)
    assert _chat(asker, model=BASE, chat_template="{{ messages }}").status == 200
    assert _chat(serve("--chat-template={{ messages }}", model=BASE), model=BASE).status == 200


def test_0_9_adds_the_cause_to_a_chat_it_cannot_prepare(serve: Serve) -> None:
    assert _chat(serve(model=BASE, image=V092), model=BASE).message == f"{NO_TEMPLATE} None"


def test_context_length_texts_by_version(serve: Serve) -> None:
    long = [{"role": "user", "content": "word " * 5000}]
    old = _chat(serve(), messages=long)
    assert "tokens in the messages, Please reduce the length of the messages." in old.message
    newer = _chat(serve(image=f"{UPSTREAM}0.10.2", health_route="/health"), messages=long)
    assert "However, your request has " in newer.message
    asked = _chat(serve(image=f"{UPSTREAM}0.10.2", health_route="/health"), max_tokens=5000)
    assert "'max_tokens' or 'max_completion_tokens' is too large: 5000." in asked.message


def _picture(url: str, count: int = 1) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for _ in range(count)]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]


def test_images_go_to_multimodal_models_only(serve: Serve) -> None:
    asker = serve("--max-num-seqs=12", model=VISION, machine=A100)
    for url in (PIXEL, "https://example.com/cat.png"):
        reply = _chat(asker, model=VISION, messages=_picture(url))
        assert reply.status == 200, reply.body
        assert "1 image, which I cannot see" in reply.json["choices"][0]["message"]["content"]
    two = _chat(asker, model=VISION, messages=_picture(PIXEL, 2))
    assert (two.status, two.message) == (400, "At most 1 image(s) may be provided in one request.")
    assert _chat(asker, model=VISION, messages=_picture("ftp://x/y.png")).status == 400
    assert _chat(asker, model=VISION, messages=_picture("data:text/plain;base64,eA==")).status == 400


def test_more_images_when_the_limit_says_so(serve: Serve) -> None:
    asker = serve("--max-num-seqs=12", "--limit-mm-per-prompt=image=2", model=VISION, machine=A100)
    assert _chat(asker, model=VISION, messages=_picture(PIXEL, 2)).status == 200


TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser=vertex-llama-3")


def test_a_tool_is_called_when_the_prompt_names_it(serve: Serve) -> None:
    asker = serve(*TOOLS, image=V085)
    messages = [{"role": "user", "content": "Please get the weather in Paris."}]
    choice = _chat(asker, tools=[TOOL], messages=messages).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    call = choice["message"]["tool_calls"][0]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "x", "days": 1}
    other = _chat(asker, tools=[TOOL]).json["choices"][0]
    assert other["finish_reason"] == "stop"
    assert other["message"]["tool_calls"] == []


@pytest.mark.parametrize(
    ("parser", "image", "form"),
    [
        ("llama3_json", V085, r"chatcmpl-tool-[0-9a-f]{32}"),
        ("mistral", V085, r"[0-9a-zA-Z]{9}"),  # MistralToolCall.generate_random_id, 0.6.3 and later
        ("kimi_k2", f"{UPSTREAM}0.10.2", r"functions\.get_weather:0"),
    ],
)
def test_ids_of_calls_have_the_form_of_the_parser(serve: Serve, parser: str, image: str, form: str) -> None:
    health = {"health_route": "/health"} if image.startswith(UPSTREAM) else {}
    asker = serve("--enable-auto-tool-choice", f"--tool-call-parser={parser}", image=image, **health)
    messages = [{"role": "user", "content": "Please get the weather in Paris."}]
    (call,) = _chat(asker, tools=[TOOL], messages=messages).json["choices"][0]["message"]["tool_calls"]
    assert re.fullmatch(form, call["id"])
    events = _chat(asker, tools=[TOOL], messages=messages, stream=True).events
    started = [event["choices"][0]["delta"].get("tool_calls") for event in events if event != "[DONE]"]
    assert [
        re.fullmatch(form, calls[0]["id"]) is not None for calls in started if calls and "id" in calls[0]
    ] == [True]


def test_the_result_of_a_call_is_answered_in_words(serve: Serve) -> None:
    """Not by the same call again, which would never end."""
    asker = serve(*TOOLS)
    asked = [{"role": "user", "content": "Use get weather for Paris"}]
    call = _chat(asker, tools=[TOOL], messages=asked).json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "cloudy, 12 degrees"}
    choice = _chat(asker, tools=[TOOL], messages=[*asked, call, result]).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["tool_calls"] == []
    assert "“cloudy, 12 degrees”" in choice["message"]["content"]


def test_a_named_tool_is_called_whatever_the_prompt(serve: Serve) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    choice = _chat(serve(image=V085), tools=[TOOL], tool_choice=named).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == ""
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_a_streamed_tool_call_adds_up(serve: Serve) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    events = _chat(serve(image=V085), tools=[TOOL], tool_choice=named, stream=True).events
    calls = [event["choices"][0]["delta"].get("tool_calls") for event in events[:-1]]
    parts = [call[0]["function"] for call in calls if call]
    assert parts[0]["name"] == "get_weather"
    assert json.loads("".join(part.get("arguments", "") for part in parts)) == {"city": "x", "days": 1}
    assert events[-2]["choices"][0]["finish_reason"] == "stop"


def test_json_is_answered_where_a_schema_asks_for_it(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    content = _chat(serve(image=V085), response_format=wanted).json["choices"][0]["message"]["content"]
    assert json.loads(content) == {"ok": False}
    guided = _chat(serve(), guided_choice=["yes", "no"]).json["choices"][0]["message"]["content"]
    assert guided == "yes"
