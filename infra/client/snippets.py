"""Ready lines for the clients that people use, with the base URL that is right for the endpoint's kind.

Clients get this wrong by themselves. Those for Vertex AI (LiteLLM's ``vertex_ai/`` provider, LangChain's Vertex AI
package) build the region's shared host out of project and region, which a dedicated endpoint does not answer
(litellm #10436 and #22965, langchain-google #1119). So LiteLLM and LangChain are used here as clients of an
OpenAI-compatible server, whose address is given in full.

Pure and light: the Pulumi program imports it for the stack output ``snippets``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Final

__all__ = ["CLIENTS", "INSTALL", "snippets"]

QUESTION: Final = "What is a car?"
MAX_TOKENS: Final = 50

INSTALL: Final = {
    "curl": "",
    "openai": "pip install openai google-auth requests",
    "litellm": "pip install litellm google-auth requests",
    "langchain": "pip install langchain-openai google-auth requests",
}
"""What each snippet needs, by client; nothing for curl."""

_GOOGLE_TOKEN: Final = '''\
import google.auth
from google.auth.transport.requests import Request

credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])


def token() -> str:
    """An access token; they last an hour, so it is asked for at every request."""
    if not credentials.valid:
        credentials.refresh(Request())
    return str(credentials.token)
'''

_LOCAL_TOKEN: Final = '''\
def token() -> str:
    """The local cloud takes any."""
    return "local"
'''


def snippets(openai_base_url: str, *, local: bool = False) -> dict[str, str]:
    """A snippet for each client, by its name: one chat completion, printed.

    Args:
        openai_base_url: of the endpoint, with its own host where it is dedicated.
        local: whether it is on the local cloud, which needs no login.
    """
    return {name: write(openai_base_url, local) for name, write in _WRITERS.items()}


def _curl(base: str, local: bool) -> str:
    bearer = "local" if local else "$(gcloud auth print-access-token)"
    body = {
        "model": "",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": MAX_TOKENS,
        "stream": True,
    }
    return (
        f"curl -sSN {shlex.quote(base + '/chat/completions')} \\\n"
        f'  -H "Authorization: Bearer {bearer}" \\\n'
        f'  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(json.dumps(body))}\n"
    )


def _openai(base: str, local: bool) -> str:
    head = _with_token("from openai import OpenAI", local)
    return f"""{head}
client = OpenAI(base_url={_text(base)}, api_key=token)
stream = client.chat.completions.create(
    model="",
    messages=[{{"role": "user", "content": {_text(QUESTION)}}}],
    max_tokens={MAX_TOKENS},
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""


def _litellm(base: str, local: bool) -> str:
    head = _with_token("import litellm", local)
    return f"""{head}
# "openai/", not "vertex_ai/": that one builds a host of its own, which a dedicated endpoint does not answer.
stream = litellm.completion(
    model="openai/",
    api_base={_text(base)},
    api_key=token(),
    messages=[{{"role": "user", "content": {_text(QUESTION)}}}],
    max_tokens={MAX_TOKENS},
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""


def _langchain(base: str, local: bool) -> str:
    head = _with_token("from langchain_openai import ChatOpenAI", local)
    return f"""{head}
# extra_body: ChatOpenAI's own max_tokens is sent as max_completion_tokens, which vLLM refuses before 0.6.4.
model = ChatOpenAI(
    model="",
    base_url={_text(base)},
    api_key=token,
    extra_body={{"max_tokens": {MAX_TOKENS}}},
)
for chunk in model.stream({_text(QUESTION)}):
    print(chunk.content, end="", flush=True)
print()
"""


_WRITERS: Final[dict[str, Callable[[str, bool], str]]] = {
    "curl": _curl,
    "openai": _openai,
    "litellm": _litellm,
    "langchain": _langchain,
}

CLIENTS: Final = tuple(_WRITERS)
"""The clients that there is a snippet for."""


def _with_token(imports: str, local: bool) -> str:
    if local:
        return f"{imports}\n\n\n{_LOCAL_TOKEN}\n"
    plain, _, rest = _GOOGLE_TOKEN.partition("\n\n")
    named = sorted([*plain.splitlines(), imports], key=lambda line: (line.startswith("from "), line))
    return "\n".join(named) + "\n\n" + rest + "\n"


def _text(value: str) -> str:
    """A Python string literal."""
    return json.dumps(value, ensure_ascii=False)
