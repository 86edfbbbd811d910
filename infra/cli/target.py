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
        help="What `pulumi stack output --json` wrote; `-` is stdin.",
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
    *,
    unfinished: bool = False,
    asked: bool = False,
) -> Endpoint:
    """The endpoint of these options, or the end of the program with what is wrong with them.

    Args:
        stack: As the option.
        outputs: As the option.
        endpoint: As the option.
        project: As the option.
        region: As the option.
        unfinished: A stack that cannot tell its outputs (its first deployment failed or goes on, or there is no pulumi)
            is looked up by its settings.
        asked: The model is to answer, so a stack that is stopped will not do.

    Raises:
        typer.Exit: BAD_INPUT where there is none such, NO_ANSWER where it cannot be looked up, or is stopped.
    """
    from infra.client import BadTarget, ClientError, NoAnswer, find

    if endpoint is None and (project or region):
        given = "--project" if project else "--region"
        give_up(BadTarget(f"{given} is for --endpoint ID; a stack and its outputs have their own."))
    try:
        known = find(stack=stack, outputs=outputs, endpoint=endpoint, project=project, region=region)
        if asked and known.stopped:
            raise NoAnswer(known.stopped)
        return known
    except ClientError as error:
        alone = outputs is None and endpoint is None
        found = _by_settings(stack) if unfinished and stack and alone else None
        if found is None:
            give_up(error)
        why = str(error).partition("\n")[0]
        typer.echo(f"{why}\nBy its settings the endpoint is {found.name}.", err=True)
        return found


def _by_settings(stack: str) -> Endpoint | None:
    """The endpoint that a stack's settings choose; None where there is none, or they cannot be read."""
    from infra.cli.chosen import by_settings
    from infra.client import ClientError, find
    from infra.client.endpoint import ROOT
    from infra.recipes import StackError

    try:
        chosen = by_settings(stack, ROOT)
        return find(endpoint=chosen.endpoint, environ=chosen.environ)
    except (StackError, ClientError):
        return None


def give_up(error: ClientError) -> NoReturn:
    """Print what is wrong on stderr and exit: NO_ANSWER where a service or the credentials did not work."""
    from infra.client import NoAnswer

    if not isinstance(error, NoAnswer):
        fail(error)
    typer.echo(str(error), err=True)
    raise typer.Exit(Exit.NO_ANSWER)
