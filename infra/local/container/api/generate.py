"""``POST /generate``: Vertex AI's prediction format, and vLLM's own plain one.

With ``instances`` in the body the answer is ``{"predictions": [...]}``, as Vertex AI wants it; without, it is vLLM's
plain ``{"text": [...]}``. The Vertex fork's source is not public: field names and the text of an answer are those of
Google's guide and notebooks; its error texts are not known, so ours say what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from infra.local.container import responder, tokens
from infra.local.container.adapters import AdapterRefused
from infra.local.container.api import context
from infra.local.container.api.errors import RequestRefused, json_response
from infra.local.container.api.schema import check_sampling
from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine
from infra.local.container.responder import Question
from infra.local.container.words import words

# vLLM's SamplingParams default: 16 new tokens (vllm/sampling_params.py, 0.6.2).
DEFAULT_MAX_TOKENS: Final = 16
IMAGE_MARK: Final = "<|image|>"
_SAMPLING: Final = words(
    "n best_of presence_penalty frequency_penalty repetition_penalty temperature top_p top_k min_p "
    "seed stop stop_token_ids include_stop_str_in_output ignore_eos max_tokens min_tokens logprobs "
    "prompt_logprobs detokenize skip_special_tokens spaces_between_special_tokens "
    "truncate_prompt_tokens length_penalty early_stopping use_beam_search "
)
_VERTEX: Final = frozenset(
    {"prompt", "stream", "raw_response", "lora_id", "dynamic-lora", "multi_modal_data"}
)


@dataclass(frozen=True)
class Generation:
    """One checked instance of a request."""

    prompt: str
    sampling: Mapping[str, Any]
    raw: bool
    adapter: str | None
    images: tuple[str, ...]


async def handle(body: bytes, engine: Engine) -> ContainerResponse:
    """Answer one request of the predict route.

    Raises:
        RequestRefused: the body or one of its instances is refused.
    """
    data = parse_body(body)
    instances = instances_of(data, engine)
    if not is_prediction(data, engine):
        return (
            _stream(instances[0], engine)
            if data.get("stream")
            else json_response({"text": _texts(instances[0], engine)})
        )
    texts = [_texts(instance, engine) for instance in instances]
    return json_response({"predictions": [text[0] if len(text) == 1 else text for text in texts]})


def is_prediction(data: Mapping[str, Any], engine: Engine) -> bool:
    """Say whether a body is in Vertex AI's format; only the fork's server knows it."""
    return engine.vertex and "instances" in data


def instances_of(data: Mapping[str, Any], engine: Engine) -> list[Generation]:
    """Return the checked instances of a body: one, in vLLM's plain format.

    Raises:
        RequestRefused: the first instance that is refused, by name.
    """
    if not is_prediction(data, engine):
        return [check_instance(data, engine, where="")]
    instances = data["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestRefused("`instances` must be a list with at least one instance.")
    parameters = data.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise RequestRefused("`parameters` must be an object.")
    checked = []
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise RequestRefused(
                f'instances[{index}] must be an object with "prompt", not {type(instance).__name__}.'
            )
        checked.append(check_instance({**parameters, **instance}, engine, where=f"instances[{index}]."))
    return checked


def parse_body(body: bytes) -> dict[str, Any]:
    """Read the JSON object of a request.

    Raises:
        RequestRefused: not JSON, or not an object.
    """
    try:
        data = json.loads(body)
    except ValueError as error:
        raise RequestRefused(f"The request body is not JSON: {error}.") from None
    except RecursionError:
        raise RequestRefused("The request body is nested too deeply.") from None
    if not isinstance(data, dict):
        raise RequestRefused(f"The request body must be a JSON object, not {type(data).__name__}.")
    return data


def check_instance(data: Mapping[str, Any], engine: Engine, *, where: str) -> Generation:
    """Check one instance: prompt, sampling fields, adapter and image.

    Args:
        data: the instance.
        engine: the container that will answer.
        where: prefix of field names in error texts, such as ``instances[0].``.

    Raises:
        RequestRefused: what is wrong and what would be right.
    """
    prompt = data.get("prompt")
    if not isinstance(prompt, str):
        raise RequestRefused(f"{where}prompt is missing or not a string.", param="prompt")
    unknown = sorted(set(data) - _SAMPLING - _VERTEX)
    if unknown:
        # SamplingParams is called with the fields of the body, so Python's own words are what a client sees.
        text = f"SamplingParams.__init__() got an unexpected keyword argument '{unknown[0]}'"
        raise RequestRefused(text, status=HTTPStatus.INTERNAL_SERVER_ERROR, kind="InternalServerError")
    sampling = {name: data[name] for name in _SAMPLING & set(data)}
    for name, kind in _KINDS.items():
        value = sampling.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            expected = "an integer" if kind is int else "a number"
            raise RequestRefused(f"{where}{name} must be {expected}, got {value!r}.", param=name)
    stop = sampling.get("stop")
    stops = () if stop is None else ((stop,) if isinstance(stop, str) else tuple(stop))
    check_sampling({**sampling, "stop": stops}, engine.dialect)
    images = _images(data.get("multi_modal_data"), prompt, engine, where)
    adapter = _adapter(data.get("lora_id") or data.get("dynamic-lora"), engine, where)
    limit = sampling.get("max_tokens") or DEFAULT_MAX_TOKENS
    count = tokens.count(prompt) + 1 + len(images) * engine.image_tokens
    if count > engine.max_model_len:
        raise RequestRefused(
            f"{where}prompt has {count} tokens, more than max_model_len {engine.max_model_len}: shorten the prompt or "
            "deploy with a larger vllm.max_model_len."
        )
    room = max(1, engine.max_model_len - count)
    sampling = {**sampling, "max_tokens": min(limit, room), "stop": stops}
    return Generation(prompt, sampling, bool(data.get("raw_response", False)), adapter, images)


_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "max_tokens": int,
    "top_k": int,
    "n": int,
    "seed": int,
    "temperature": (int, float),
    "top_p": (int, float),
    "min_p": (int, float),
    "presence_penalty": (int, float),
    "frequency_penalty": (int, float),
}


def _images(given: Any, prompt: str, engine: Engine, where: str) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, dict) or set(given) != {"image"}:
        raise RequestRefused(f'{where}multi_modal_data must be {{"image": URL}}.')
    urls = given["image"] if isinstance(given["image"], list) else [given["image"]]
    if not engine.multimodal:
        raise RequestRefused(context.text_model_error(engine))
    for url in urls:
        context.check_image_url(str(url), engine)
    if len(urls) > engine.image_limit:
        raise RequestRefused(f"At most {engine.image_limit} image(s) may be provided in one request.")
    if prompt.count(IMAGE_MARK) != len(urls):
        raise RequestRefused(
            f"{where}prompt has {prompt.count(IMAGE_MARK)} {IMAGE_MARK} for {len(urls)} image(s): begin it with "
            f"<|begin_of_text|>{IMAGE_MARK}."
        )
    return tuple(str(url) for url in urls)


def _adapter(given: Any, engine: Engine, where: str) -> str | None:
    if not given:
        return None
    if not isinstance(given, str):
        raise RequestRefused(f"{where}lora_id must be a Cloud Storage path or a Hugging Face repository.")
    if engine.adapters is None:
        raise RequestRefused(
            f"{where}lora_id needs a server started with --enable-lora (vllm.enable_lora: true)."
        )
    try:
        found = engine.adapters.load(given)
    except AdapterRefused as refused:
        raise RequestRefused(f"{where}lora_id: {refused}") from None
    return found.name if found.rank is None else f"{found.name} (rank {found.rank})"


def _texts(instance: Generation, engine: Engine) -> list[str]:
    outputs = []
    for index in range(instance.sampling.get("n") or 1):
        reply = responder.answer(_question(instance, index))
        engine.counts.update(generation_tokens=reply.tokens)
        outputs.append(written(instance, reply.text, engine))
    engine.counts.update(prompt_tokens=tokens.count(instance.prompt) + 1, request_success=1)
    return outputs


def written(instance: Generation, text: str, engine: Engine) -> str:
    """Lay out one output: Vertex's ``Prompt:/Output:`` text, its raw form, or vLLM's prompt and output in one."""
    if not engine.vertex:
        return instance.prompt + text
    return text if instance.raw else f"Prompt:\n{instance.prompt}\nOutput:\n{text}"


def _question(instance: Generation, index: int) -> Question:
    return Question(
        text=instance.prompt,
        max_tokens=instance.sampling["max_tokens"],
        stop=instance.sampling["stop"],
        seed=instance.sampling.get("seed"),
        choice=index,
        images=len(instance.images),
        adapter=instance.adapter,
    )


def _stream(instance: Generation, engine: Engine) -> ContainerResponse:
    """Stream as vLLM's plain server does: the whole text so far in each chunk, chunks end with a zero byte."""
    reply = responder.answer(_question(instance, 0))

    async def chunks() -> AsyncIterator[bytes]:
        text = ""
        for piece in reply.pieces:
            text += piece
            yield json.dumps({"text": [written(instance, text, engine)]}).encode() + b"\0"

    engine.counts.update(prompt_tokens=tokens.count(instance.prompt) + 1, request_success=1)
    return ContainerResponse(200, {"content-type": "text/plain; charset=utf-8"}, chunks())
