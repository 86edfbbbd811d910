"""A tool that the model calls, by OpenAI's client; the stack file needs `vllm: {tool_calling: true}`.

BASE_URL=$(pulumi stack output openai_base_url) python examples/openai_tools.py
"""

from __future__ import annotations

import json

from access import base_url, token
from openai import BadRequestError, OpenAI

MAX_TOKENS = 128
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def get_weather(city: str) -> str:
    """What your program knows and the model does not."""
    return f"{city}: 4 degrees, rain"


def main() -> None:
    client = OpenAI(base_url=base_url(), api_key=token)
    talk = [{"role": "user", "content": "Use get_weather to say what the weather is in Oslo."}]
    while True:
        try:
            answer = client.chat.completions.create(
                model="", messages=talk, tools=[TOOL], max_tokens=MAX_TOKENS
            )
        except BadRequestError as error:
            if "enable-auto-tool-choice" in str(error):
                raise SystemExit(f"{error}\nIn the stack file, below vllm: add tool_calling: true") from None
            raise
        said = answer.choices[0].message
        if not said.tool_calls:
            print(said.content)
            return
        talk.append(said.model_dump(include={"role", "content", "tool_calls"}))
        for call in said.tool_calls:
            print(f"> {call.function.name}({call.function.arguments})")
            result = get_weather(**json.loads(call.function.arguments))
            # The id says which call this is the result of; its form is the parser's.
            talk.append({"role": "tool", "tool_call_id": call.id, "content": result})


if __name__ == "__main__":
    main()
