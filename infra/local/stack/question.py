"""One question to the endpoint of the stack: a chat by OpenAI's client, or a completion by the default route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from openai import APIError, BadRequestError, DefaultHttpxClient, OpenAI

from infra.local.cloud.cli import TOKEN
from infra.local.engine.steps import Problem

QUESTION = "What is Pulumi, in one sentence?"
#: For a model without a chat template, which goes on with a text.
BEGINNING = "Pulumi is"
MAX_TOKENS = 64
#: A real vLLM on two cores answers 64 tokens within a minute.
SECONDS = 180


@dataclass(frozen=True)
class Answer:
    """What was asked, how, and what came back."""

    asked: str
    route: str
    text: str


def ask(outputs: dict[str, Any]) -> Answer:
    """Asks the endpoint of these stack outputs one question.

    Raises:
        Problem: It did not answer; the text has its error.
    """
    client = OpenAI(
        base_url=outputs["openai_base_url"],
        api_key=TOKEN,
        max_retries=1,
        http_client=DefaultHttpxClient(trust_env=False, timeout=SECONDS),  # loopback: never through a proxy
    )
    try:
        chat = client.chat.completions.create(
            model="", messages=[{"role": "user", "content": QUESTION}], max_tokens=MAX_TOKENS
        )
        return Answer(QUESTION, "openai client, chat completion", chat.choices[0].message.content or "")
    except BadRequestError as error:
        if "chat template" not in str(error):
            raise _no_answer(outputs, error) from error
    except APIError as error:
        raise _no_answer(outputs, error) from error
    return _complete(outputs)


def _complete(outputs: dict[str, Any]) -> Answer:
    body = {"instances": [{"prompt": BEGINNING, "max_tokens": MAX_TOKENS, "raw_response": True}]}
    try:
        with httpx.Client(trust_env=False, timeout=SECONDS) as http:
            response = http.post(
                outputs["predict_url"], json=body, headers={"Authorization": f"Bearer {TOKEN}"}
            )
        response.raise_for_status()
        return Answer(
            BEGINNING,
            "a base model has no chat template: default predict route",
            response.json()["predictions"][0],
        )
    except httpx.HTTPStatusError as error:
        raise _no_answer(outputs, f"{error}: {error.response.text[:500]}") from error
    except httpx.HTTPError as error:
        raise _no_answer(outputs, error) from error


def _no_answer(outputs: dict[str, Any], error: object) -> Problem:
    return Problem(
        f"The model is deployed, but {outputs['endpoint']} did not answer: {error}\n"
        "Run make up again; make status shows what exists in the local cloud."
    )
