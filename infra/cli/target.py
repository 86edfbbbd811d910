"""The options with which every command is told which endpoint it is for, and how that one is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from infra.cli.common import Exit, fail
from infra.cli.completion import stack_names

if TYPE_CHECKING:
    from infra.client import ClientError, Endpoint

__all__ = ["EndpointId", "OutputsFile", "Project", "StackName", "TargetRegion", "give_up", "target"]

_PANEL = "Which endpoint"

StackName = Annotated[
    str | None,
    typer.Option(
        "--stack",
        metavar="STACK",
        help="The stack whose endpoint it is; pulumi is asked for its outputs.",
        autocompletion=stack_names,
        rich_help_panel=_PANEL,
    ),
]
OutputsFile = Annotated[
    str | None,
    typer.Option(
        "--outputs",
        metavar="FILE",
        help="What `pulumi stack output --json` wrote.",
        rich_help_panel=_PANEL,
    ),
]
EndpointId = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="ID",
        help="Id, display name or projects/P/locations/R/endpoints/ID; no stack is needed.",
        rich_help_panel=_PANEL,
    ),
]
Project = Annotated[
    str | None,
    typer.Option(
        metavar="PROJECT", help="Project of --endpoint; else GOOGLE_CLOUD_PROJECT.", rich_help_panel=_PANEL
    ),
]
TargetRegion = Annotated[
    str | None,
    typer.Option(metavar="REGION", help="Region of --endpoint; else GOOGLE_REGION.", rich_help_panel=_PANEL),
]


def target(
    stack: str | None,
    outputs: str | None,
    endpoint: str | None,
    project: str | None = None,
    region: str | None = None,
) -> Endpoint:
    """The endpoint of these options, or the end of the program with what is wrong with them.

    Raises:
        typer.Exit: BAD_INPUT where there is none such, NO_ANSWER where it cannot be looked up.
    """
    from infra.client import ClientError, find

    try:
        return find(stack=stack, outputs=outputs, endpoint=endpoint, project=project, region=region)
    except ClientError as error:
        give_up(error)


def give_up(error: ClientError) -> NoReturn:
    """Print what is wrong on stderr and exit: NO_ANSWER where a service or the credentials did not work."""
    from infra.client import NoAnswer

    if not isinstance(error, NoAnswer):
        fail(error)
    typer.echo(str(error), err=True)
    raise typer.Exit(Exit.NO_ANSWER)
