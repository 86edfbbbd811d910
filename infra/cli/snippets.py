"""``vertex-vllm snippets``: ready lines for the clients that people use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from infra.cli.common import print_json
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, target

__all__ = ["snippets"]


class Client(StrEnum):
    """The clients that there is a snippet for; a test holds them to `infra.client.snippets.CLIENTS`."""

    CURL = "curl"
    OPENAI = "openai"
    LITELLM = "litellm"
    LANGCHAIN = "langchain"


def snippets(
    client: Annotated[
        Client | None, typer.Argument(help="Only this one, as a file that runs; all of them otherwise.")
    ] = None,
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    as_json: Annotated[bool, typer.Option("--json", help="The snippets by client, as JSON.")] = False,
) -> None:
    """Print ready lines for curl, openai, LiteLLM and LangChain, with the right address for this endpoint.

    A dedicated endpoint answers on its own host only, a shared one on its region's; clients guess the wrong one.
    The stack output `snippets` has the same texts.

    \b
    Examples:
      vertex-vllm snippets --stack dev
      vertex-vllm snippets curl --stack local | sh
      vertex-vllm snippets langchain --endpoint 123 --project my-project --region us-central1 > chat.py

    \b
    Exit status:
      0  printed
      2  wrong usage, or there is no such endpoint
      8  Pulumi or Vertex AI cannot be asked
    """
    found = target(stack, outputs, endpoint, project, region)
    from infra.client.snippets import INSTALL
    from infra.client.snippets import snippets as written

    texts = written(found.openai_base_url, local=found.local)
    if client is not None:
        texts = {client.value: texts[client.value]}
    if as_json:
        print_json(texts)
    elif client is not None:
        typer.echo(texts[client.value], nl=False)
    else:
        typer.echo("\n".join(_titled(name, INSTALL[name], text) for name, text in texts.items()), nl=False)


def _titled(name: str, install: str, text: str) -> str:
    needs = f"  ({install})" if install else ""
    return f"# --- {name}{needs}\n{text}"
