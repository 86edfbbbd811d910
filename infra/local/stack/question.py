"""One question to the endpoint of the stack: a chat by OpenAI's client, or a completion by the default route."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from openai import APIError, BadRequestError, DefaultHttpxClient, InternalServerError, OpenAI

from infra.local.cloud.cli import TOKEN
from infra.local.engine.steps import Problem

QUESTION = "What is Pulumi, in one sentence?"
#: For a model without a chat template, which goes on with a text.
BEGINNING = "Pulumi is"
MAX_TOKENS = 64
#: A real vLLM on two cores answers 64 tokens within a minute.
SECONDS = 180
#: And is up within two minutes.
STARTING = 180.0
TOLD_EVERY = 15.0


@dataclass(frozen=True)
class Answer:
    """What was asked, how, and what came back."""

    asked: str
    route: str
    text: str


def ask(outputs: dict[str, Any], say: Callable[[str], None], patience: float = STARTING) -> Answer:
    """Asks the endpoint of these stack outputs one question.

    Args:
        outputs: Of the stack.
        say: Told what happens, a line at a time.
        patience: Seconds to wait for a container that is being started again with its server.

    Raises:
        Problem: It did not answer; the text has its error.
    """
    begun = time.monotonic()
    told = 0.0
    while True:
        try:
            return _ask(outputs)
        except InternalServerError as error:
            passed = time.monotonic() - begun
            if "No healthy replica" not in str(error) or passed > patience:
                raise _no_answer(outputs, error) from error
            if passed >= told:
                say(f"the container is being started again ({passed:.0f} s)")
                told = passed + TOLD_EVERY
            time.sleep(1)


def _ask(outputs: dict[str, Any]) -> Answer:
    client = OpenAI(
        base_url=outputs["openai_base_url"],
        api_key=TOKEN,
        max_retries=0,
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
    except InternalServerError:
        raise
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
