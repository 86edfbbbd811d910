"""A talk with the model of an endpoint, by OpenAI's client."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.client.advice import advice, message_of, timed_out
from infra.client.endpoint import MAX_DEDICATED_TIMEOUT_S, Endpoint, with_time_out
from infra.client.errors import ClientError, NoAnswer
from infra.client.rest import CONNECT_S
from infra.client.token import Token

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Pieces", "Reply", "Talk", "ToolCall", "openai_client"]


def openai_client(endpoint: Endpoint, token: Token) -> OpenAI:
    """OpenAI's client for an endpoint: the token is asked for at every request, nothing is tried twice.

    Its time-out is above the endpoint's own, so that it is the endpoint that says which limit was hit.
    """
    from openai import DefaultHttpxClient, OpenAI, Timeout

    seconds = (endpoint.timeout_s or MAX_DEDICATED_TIMEOUT_S) + 15
    return OpenAI(
        base_url=endpoint.openai_base_url,
        api_key=token.get,
        max_retries=0,
        http_client=DefaultHttpxClient(
            trust_env=not endpoint.local, timeout=Timeout(seconds, connect=CONNECT_S)
        ),
    )


class _CutError(Exception):
    """A stream that ended without saying that it is complete."""


class _OtherError(Exception):
    """An answer with a status that is well, and no chat completion in it."""


@dataclass
class ToolCall:
    """A call that the model wants made: ``arguments`` is the JSON text that it wrote, which may not be valid."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As OpenAI's API has it."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass
class Reply:
    """One answer, growing while it comes.

    Attributes:
        text: What was said.
        reasoning: What a reasoning parser took for thoughts.
        calls: Tool calls.
        finish_reason: Why it ended (``stop``, ``length``, ``tool_calls``); None while it comes, or when it was stopped.
        usage: Token counts as the server gives them; None where it gives none.
        model: Name of the model as the server gives it.
        first_token_s: Seconds to the first piece, None where none came.
        seconds: Seconds until now.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    model: str = ""
    first_token_s: float | None = None
    seconds: float = 0.0

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message of the talk."""
        calls = {"tool_calls": [call.as_dict() for call in self.calls]} if self.calls else {}
        return {"role": "assistant", "content": self.text or (None if self.calls else ""), **calls}

    def as_dict(self) -> dict[str, Any]:
        """The answer for ``--json``; times in seconds."""
        return {
            "model": self.model,
            "message": self.message,
            **({"reasoning": self.reasoning} if self.reasoning else {}),
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "first_token_s": None if self.first_token_s is None else round(self.first_token_s, 3),
            "seconds": round(self.seconds, 3),
        }


Pieces = Generator[tuple[str, str, Reply], None, None]
"""An answer while it comes: kind (``text``, ``reasoning``, ``call``, at last ``end``), the piece, the answer so far."""


class Talk:
    """A talk of several turns.

    Args:
        endpoint: Who is asked.
        token: With which token.
        system: System prompt.
        model: Name of a LoRA adapter; empty for the model itself.
        options: What else goes into each request: ``max_tokens``, ``temperature``, ``tools`` …
        stream: Whether answers come piece by piece.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        token: Token,
        *,
        system: str = "",
        model: str = "",
        options: Mapping[str, Any] | None = None,
        stream: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.messages: list[dict[str, Any]] = []
        self.system = system
        self._token = token
        self._model = model
        self._options = dict(options or {})
        self._stream = stream
        self._client: OpenAI | None = None

    def new(self) -> None:
        """Forget every turn but the system prompt."""
        self.messages.clear()

    def ask(self, text: str, images: Sequence[Mapping[str, Any]] = ()) -> Pieces:
        """Ask; see :data:`Pieces`.

        Question and answer are part of the talk when the answer is complete, or when the caller stops reading it
        after a piece. A question without any answer is not.

        Raises:
            NoAnswer: The request failed; its text says what to do.
        """
        content: Any = text
        if images:
            content = [*images, *([{"type": "text", "text": text}] if text else [])]
        return self._turn([{"role": "user", "content": content}])

    def answer_calls(self, results: Sequence[tuple[ToolCall, str]]) -> Pieces:
        """Give the results of the tool calls of the last answer; yields and raises as :meth:`ask`."""
        return self._turn(
            [{"role": "tool", "tool_call_id": call.id, "content": result} for call, result in results]
        )

    def drop_calls(self) -> None:
        """Take an answer with unanswered tool calls, and its question, out of the talk: no server goes on from it."""
        while self.messages:
            if self.messages.pop()["role"] == "user":
                return

    def _turn(self, added: list[dict[str, Any]]) -> Pieces:
        if self._client is None:
            self._client = openai_client(
                self.endpoint, self._token
            )  # its import takes a second: not the answer's
        reply = Reply()
        begun = time.monotonic()
        failed = True
        try:
            for kind, piece in self._pieces(self._client, [*self.messages, *added], reply):
                reply.seconds = time.monotonic() - begun
                if reply.first_token_s is None:
                    reply.first_token_s = reply.seconds
                yield kind, piece, reply
            reply.seconds = time.monotonic() - begun
            yield "end", "", reply
            failed = False
        except GeneratorExit:
            failed = False  # the reader has had enough; what was said counts
            raise
        except KeyboardInterrupt:
            failed = False
            raise
        except ClientError:
            raise
        except Exception as error:  # OpenAI's, those of its HTTP client in a stream, and of JSON that is none
            reply.seconds = time.monotonic() - begun
            raise self._refused(error, reply) from error
        finally:
            if not failed and (reply.text or reply.calls):
                if reply.finish_reason is None:
                    reply.calls.clear()  # perhaps half a call
                if reply.text or reply.calls:
                    self.messages += [*added, reply.message]

    def _pieces(
        self, client: OpenAI, messages: list[dict[str, Any]], reply: Reply
    ) -> Iterator[tuple[str, str]]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        request: dict[str, Any] = {"model": self._model, "messages": [*system, *messages], **self._options}
        create: Any = client.chat.completions.create
        if not self._stream:
            yield from _whole(create(**request), reply)
            return
        with contextlib.closing(
            create(**request, stream=True, stream_options={"include_usage": True})
        ) as chunks:
            yield from _streamed(chunks, reply)
        if reply.finish_reason is None:
            raise _CutError("the answer ended before its end") if reply.model else _OtherError()

    def _refused(self, error: Exception, reply: Reply) -> NoAnswer:
        body = getattr(error, "body", None)
        status = getattr(error, "status_code", None)
        if status is None and isinstance(body, Mapping) and isinstance(body.get("code"), int):
            status = body["code"]  # vLLM's error in the middle of a stream
        said = message_of(body) if body else message_of(_cause(error))
        endpoint = self.endpoint
        if timed_out(status, said, endpoint, reply.seconds):
            endpoint = with_time_out(endpoint, self._token)
        if isinstance(error, _CutError) and not timed_out(status, said, endpoint, reply.seconds):
            return NoAnswer(
                "The answer ended without a finish reason: the connection was cut, or the endpoint does not stream.\n"
                "  --no-stream asks for the whole answer at once; a dedicated endpoint streams."
            )
        if isinstance(error, _OtherError | json.JSONDecodeError):
            return NoAnswer(
                f"{endpoint.openai_base_url} answers with something that is no chat completion.\n"
                "  A proxy or a sign-in page between here and there? vertex-vllm status asks another way."
            )
        text = advice(
            endpoint,
            status,
            said,
            seconds=reply.seconds,
            max_tokens=self._options.get("max_tokens"),
            fixed_token=self._token.fixed,
        )
        return NoAnswer(text)


def _cause(error: Exception) -> str:
    """OpenAI's client says "Connection error."; what it was is the cause."""
    inner = error.__cause__ or error
    return str(inner) or type(inner).__name__


def _whole(completion: Any, reply: Reply) -> Iterator[tuple[str, str]]:
    choices = getattr(completion, "choices", None)  # the client takes any JSON, and any text
    if not choices:
        raise _OtherError()
    choice = choices[0]
    reply.model, reply.finish_reason = completion.model or "", choice.finish_reason or "stop"
    reply.usage = completion.usage.model_dump(exclude_none=True) if completion.usage else None
    thought = _reasoning(choice.message)
    if thought:
        reply.reasoning = thought
        yield "reasoning", thought
    if choice.message.content:
        reply.text = choice.message.content
        yield "text", reply.text
    for call in choice.message.tool_calls or ():
        reply.calls.append(ToolCall(call.id, call.function.name, call.function.arguments))
        yield "call", call.function.name


def _streamed(chunks: Any, reply: Reply) -> Iterator[tuple[str, str]]:
    by_index: dict[int, ToolCall] = {}
    for chunk in chunks:
        reply.model = chunk.model or reply.model
        if chunk.usage is not None:
            reply.usage = chunk.usage.model_dump(exclude_none=True)
        for choice in chunk.choices:
            delta = choice.delta
            reply.finish_reason = choice.finish_reason or reply.finish_reason
            thought = _reasoning(delta)
            if thought:
                reply.reasoning += thought
                yield "reasoning", thought
            if delta.content:
                reply.text += delta.content
                yield "text", delta.content
            for part in delta.tool_calls or ():
                call = by_index.get(part.index)
                if call is None:
                    call = by_index[part.index] = ToolCall()
                    reply.calls.append(call)
                call.id = part.id or call.id
                if part.function is not None:
                    call.name = part.function.name or call.name
                    call.arguments += part.function.arguments or ""
                yield "call", call.name


def _reasoning(message: Any) -> str:
    """vLLM's field beside the content, by its older and its newer name."""
    return str(getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or "")
