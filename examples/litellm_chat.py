"""LiteLLM, as a client of an OpenAI-compatible server.

BASE_URL=$(pulumi stack output openai_base_url) python examples/litellm_chat.py
"""

from __future__ import annotations

import litellm
from access import base_url, token

QUESTION = [{"role": "user", "content": "What is a car?"}]


def main() -> None:
    # Not "vertex_ai/": that provider builds the region's host itself, which a dedicated endpoint does not answer.
    endpoint = {"model": "openai/", "api_base": base_url(), "max_tokens": 64}

    stream = litellm.completion(messages=QUESTION, api_key=token(), stream=True, **endpoint)
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()

    whole = litellm.completion(messages=QUESTION, api_key=token(), **endpoint)
    print(f"{whole.usage.completion_tokens} tokens: {whole.choices[0].message.content}")


if __name__ == "__main__":
    main()
