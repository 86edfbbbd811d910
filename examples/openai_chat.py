"""Two turns by OpenAI's client, streamed.

BASE_URL=$(pulumi stack output openai_base_url) python examples/openai_chat.py
"""

from __future__ import annotations

from access import base_url, token
from openai import InternalServerError, OpenAI

MAX_TOKENS = 128


def main() -> None:
    # api_key is a function: it is asked for a token at every request, so a long run outlives the first one.
    client = OpenAI(base_url=base_url(), api_key=token)
    talk = [{"role": "system", "content": "Answer in one sentence."}]
    for question in ("What is a car?", "And what is a bus?"):
        print(f"> {question}")
        talk.append({"role": "user", "content": question})
        talk.append({"role": "assistant", "content": answer(client, talk)})


def answer(client: OpenAI, talk: list) -> str:
    """The next turn, printed while it comes."""
    text = ""
    try:
        stream = client.chat.completions.create(model="", messages=talk, max_tokens=MAX_TOKENS, stream=True)
        for chunk in stream:
            piece = chunk.choices[0].delta.content if chunk.choices else None
            text += piece or ""
            print(piece or "", end="", flush=True)
    except InternalServerError as error:
        if error.status_code == 503:
            # A shared endpoint gives up after 60 s, a dedicated one after its inferenceTimeout (at most an hour).
            raise SystemExit(f"{error}\nIf it took too long: fewer max_tokens than {MAX_TOKENS}.") from None
        raise
    print()
    return text


if __name__ == "__main__":
    main()
