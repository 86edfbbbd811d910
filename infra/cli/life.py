"""``vertex-vllm stop`` and ``start``: a stack without its deployment, and with it again, through its own state."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from infra.cli.common import Exit, console, fail, print_json
from infra.cli.completion import stack_names

if TYPE_CHECKING:
    from infra.client.pulumi import Pulumi

__all__ = ["start", "stop"]

KEY: Final = "vertex-vllm:stopped"
_DEPLOYMENT: Final = "vertexserving:index:Deployment"

_Stack = Annotated[
    str, typer.Option("--stack", metavar="STACK", help="The stack.", autocompletion=stack_names)
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Json = Annotated[
    bool, typer.Option("--json", help="What is there then, as JSON; the engine writes to standard error.")
]


def stop(stack: _Stack, yes: _Yes = False, as_json: _Json = False) -> None:
    """Undeploy the model of a stack; endpoint, DNS name, model, bucket and grants stay.

    Sets vertex-vllm:stopped in Pulumi.STACK.yaml, shows the preview, and runs pulumi up. A preview then says that
    nothing changes. No GPU is billed while a stack is stopped; the bucket's storage is.

    \b
    Examples:
      vertex-vllm stop --stack dev
      vertex-vllm stop --stack dev --yes --json

    \b
    Exit status:
      0  it is stopped, or you said no
      2  wrong usage, or there is no such stack
      4  the preview or the run failed; run it again
      8  there is no pulumi, or it does not answer
    """
    _turn(stack, stopped=True, yes=yes, as_json=as_json)


def start(stack: _Stack, yes: _Yes = False, as_json: _Json = False) -> None:
    """Deploy the model of a stopped stack again, behind the same endpoint.

    Takes vertex-vllm:stopped out of Pulumi.STACK.yaml, shows the preview with its checks (the quota may be in use by
    now), and runs pulumi up. A deployment takes ten to sixty minutes.

    \b
    Examples:
      vertex-vllm start --stack dev
      vertex-vllm start --stack dev --yes && vertex-vllm smoke --stack dev

    \b
    Exit status:
      0  it is deployed, or you said no
      2  wrong usage, or there is no such stack
      4  the preview or the run failed; run it again
      8  there is no pulumi, or it does not answer
    """
    _turn(stack, stopped=False, yes=yes, as_json=as_json)


def _turn(stack: str, *, stopped: bool, yes: bool, as_json: bool) -> None:
    from infra.cli.target import give_up
    from infra.client import ClientError
    from infra.client.pulumi import Pulumi

    if not yes and not sys.stdin.isatty():
        fail("There is nobody to ask: --yes goes on without a question.")
    pulumi = Pulumi(stack)
    try:
        resources = (pulumi.ask_json("stack", "export").get("deployment") or {}).get("resources") or []
        if all(each["type"].startswith("pulumi:") for each in resources):
            fail(f"Nothing of the stack {stack} is deployed. pulumi up --stack {stack} deploys it.")
        with _set(pulumi, stopped=stopped) as restore:
            if not yes and not _wanted(pulumi, as_json=as_json, stopped=stopped, resources=resources):
                restore()
                typer.echo("Nothing is changed.", err=True)
                return
        # From here on the setting stays: a run that ends half-way is finished by the same command.
        options = ("--yes",) if yes else ("--yes", "--skip-preview")
        if pulumi.run("up", "--suppress-permalink=true", *options, to_stderr=as_json):
            _failed(pulumi, stopped=stopped, resources=resources)
        outputs = pulumi.ask_json("stack", "output", "--json")
    except ClientError as error:
        give_up(error)
    _show(stack, outputs, as_json=as_json)


@contextmanager
def _set(pulumi: Pulumi, *, stopped: bool) -> Iterator[Any]:
    """The setting as it is to be; as it was before, where what follows raises or calls what is yielded."""
    found = pulumi.ask_json("config", "--json").get(KEY) or {}
    before = found.get("value") == "true"

    def put(value: bool) -> None:
        # Without a key there is one way less in which two environments differ.
        words = ("set", KEY, "true") if value else ("rm", KEY)
        pulumi.ask("config", *words)

    # A terminal that is closed at the question must not leave a setting with which the next pulumi up undeploys.
    hung_up = signal.getsignal(signal.SIGHUP)
    if hung_up is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, _end)
    try:
        if before != stopped:
            put(stopped)
        yield lambda: put(before) if before != stopped else None
    except BaseException:
        if before != stopped:
            put(before)
        raise
    finally:
        signal.signal(signal.SIGHUP, hung_up)


def _end(*_: object) -> NoReturn:
    raise typer.Exit(Exit.TERMINATED)


def _wanted(pulumi: Pulumi, *, as_json: bool, stopped: bool, resources: list[Mapping[str, Any]]) -> bool:
    """Show the preview, and ask."""
    if pulumi.run("preview", "--suppress-permalink=true", to_stderr=as_json):
        _failed(pulumi, stopped=stopped, resources=resources)
    question = "Undeploy the model?" if stopped else "Deploy the model?"
    try:
        return typer.confirm(f"{question} (the changes are above)", err=True)
    except typer.Abort:
        raise typer.Exit(Exit.INTERRUPTED) from None


def _failed(pulumi: Pulumi, *, stopped: bool, resources: list[Mapping[str, Any]]) -> NoReturn:
    """Say how to go on after a run that failed; of a stop also how to do without the program."""
    word = "stop" if stopped else "start"
    text = f"pulumi did not finish; the reason is above. vertex-vllm {word} --stack {pulumi.stack} goes on from there."
    urns = [each["urn"] for each in resources if each["type"] == _DEPLOYMENT]
    if stopped and urns:
        text += (
            "\nIf the settings or the stack file are refused, the deployment goes without them:\n  pulumi destroy "
            f"--stack {pulumi.stack} {' '.join(f'--target {urn!r}' for urn in urns)}"
        )
    typer.echo(text, err=True)
    raise typer.Exit(Exit.PREVIEW_FAILED)


def _show(stack: str, outputs: Mapping[str, Any], *, as_json: bool) -> None:
    """What is there now, and what it costs."""
    stopped = outputs.get("stopped") is True
    kept = ("endpoint", "dedicated_endpoint_dns", "model", "bucket")
    if as_json:
        print_json(
            {
                "stack": stack,
                "stopped": stopped,
                "deployed_model_id": outputs.get("deployed_model_id") or None,
                **{name: outputs.get(name) for name in kept},
                "hourly_cost_usd": outputs.get("hourly_cost_usd"),
            }
        )
        return
    out = console()
    cost = outputs.get("hourly_cost_usd")
    if stopped:
        out.print(f"\n[bold]{stack} is stopped.[/] No GPU is billed; the bucket's storage is. What stays:")
    else:
        known = f"{cost:.2f} USD an hour at most" if isinstance(cost, int | float) else "price unknown"
        out.print(f"\n[bold]{stack} is deployed[/] ({known}), behind the same address:", soft_wrap=True)
    for name in kept:
        if outputs.get(name):
            out.print(f"  {name:22}  {outputs[name]}", soft_wrap=True)
    if stopped:
        out.print(f"vertex-vllm start --stack {stack} deploys it again.")
