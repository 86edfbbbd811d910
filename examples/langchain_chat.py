"""LangChain: a chain, a batch and a stream.

BASE_URL=$(pulumi stack output openai_base_url) python examples/langchain_chat.py
"""

from __future__ import annotations

from access import base_url, token
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI


def main() -> None:
    model = ChatOpenAI(
        model="",
        base_url=base_url(),
        api_key=token,  # a function: asked at every request
        # Its own max_tokens is sent as max_completion_tokens, which vLLM refuses before 0.6.4.
        extra_body={"max_tokens": 64},
    )
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer in one sentence."), ("user", "What is {thing}?")]
    )
    chain = prompt | model | StrOutputParser()

    print(chain.invoke({"thing": "a car"}))
    for answer in chain.batch([{"thing": "a bus"}, {"thing": "a train"}], config={"max_concurrency": 2}):
        print(answer)
    for piece in chain.stream({"thing": "a ship"}):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
