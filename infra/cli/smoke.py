"""``vertex-vllm smoke``: one prediction on each enabled route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli.common import Exit, print_json, table_console
from infra.cli.target import EndpointId, OutputsFile, Project, StackName, TargetRegion, give_up, target

if TYPE_CHECKING:
    from rich.text import Text

    from infra.client.smoke import Result

__all__ = ["row", "smoke"]

_STYLES: Final = {"PASS": "green", "FAIL": "bold red", "SKIP": "dim"}


def smoke(
    stack: StackName = None,
    outputs: OutputsFile = None,
    endpoint: EndpointId = None,
    project: Project = None,
    region: TargetRegion = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same results as JSON.")] = False,
) -> None:
    """Ask for one short prediction on each enabled route: predict, rawPredict, chat, chat streamed.

    Chat is skipped for a model without a chat template, streaming on a shared endpoint. `make up SMOKE=1` does the same
    after a deployment of the local stack.

    \b
    Examples:
      pulumi up --stack prod && vertex-vllm smoke --stack prod
      vertex-vllm smoke --endpoint 123 --project my-project --region us-central1 --json

    \b
    Exit status:
      0  every enabled route answered
      2  wrong usage, or there is no such endpoint
      8  a route did not answer, or Pulumi or Vertex AI cannot be asked
    """
    found = target(stack, outputs, endpoint, project, region, asked=True)
    from infra.client import ClientError
    from infra.client.smoke import FAIL
    from infra.client.smoke import smoke as results

    shown = table_console()
    seen: list[Result] = []
    try:
        for result in results(found, found.token()):
            seen.append(result)
            if not as_json:
                shown.print(row(result))
    except ClientError as error:
        give_up(error)
    if as_json:
        print_json({"endpoint": found.name, "routes": [result.as_dict() for result in seen]})
    if any(result.status == FAIL for result in seen):
        raise typer.Exit(Exit.NO_ANSWER)


def row(result: Result) -> Text:
    """A line for one route; what is wrong with it in full below."""
    from rich.text import Text

    from infra.client.logs import printable

    said = printable(result.said.strip())
    passed = result.status == "PASS"
    if passed:
        said = f"{result.seconds:5.2f} s  {' '.join(said.split())}"
    line = Text.assemble((result.status, _STYLES[result.status]), f"  {result.route:27}")
    # Of an answer the beginning is enough; of what is wrong every word is needed.
    line.no_wrap, line.overflow = passed, "ellipsis" if passed else "fold"
    first, *more = said.splitlines() or [""]
    return line.append("\n".join([first, *(f"      {each}" for each in more)]))
