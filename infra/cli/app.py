"""The commands of ``vertex-vllm``. A command is a plain function in a module of its own; it gets its name here."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from typing import Annotated, Final

import typer

from infra.cli import (
    adopt,
    bench,
    chat,
    diagnose,
    explain,
    fit,
    life,
    logs,
    models_add,
    models_list,
    predict,
    preflight,
    recover,
    report,
    smoke,
    snippets,
    status,
    sweep,
)
from infra.cli.completion import ROOT

__all__ = ["app"]

_BEFORE: Final = "Before there is a deployment"
_AFTER: Final = "After pulumi up"


def _flowing(text: str | None) -> str:
    """A docstring as help: Typer keeps the line ends of a paragraph, and breaks its lines once more."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(each if each.startswith("\b") else each.replace("\n", " ") for each in paragraphs)


app = typer.Typer(
    name="vertex-vllm",
    help=_flowing(
        """Large language models with vLLM on Vertex AI.

        \b
        Examples:
          vertex-vllm explain stacks/meta-llama-3.1-8b-instruct.l4x1.yaml
          vertex-vllm chat --stack local "What is Pulumi?"
          vertex-vllm status --stack dev --watch

        Each command shows its examples and its exit status with --help; docs/command-line.md tells the rest.
        """
    ),
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a token
)


def _command(to: typer.Typer, name: str, function: Callable[..., None], panel: str | None = None) -> None:
    to.command(name, help=_flowing(function.__doc__), rich_help_panel=panel)(function)


_command(app, "explain", explain.explain, _BEFORE)
_command(app, "fit", fit.fit, _BEFORE)
_command(app, "preflight", preflight.preflight, _BEFORE)
_command(app, "report", report.report, _BEFORE)
_command(app, "adopt", adopt.adopt, _BEFORE)
_command(app, "chat", chat.chat, _AFTER)
_command(app, "predict", predict.predict, _AFTER)
_command(app, "snippets", snippets.snippets, _AFTER)
_command(app, "smoke", smoke.smoke, _AFTER)
_command(app, "status", status.status, _AFTER)
_command(app, "logs", logs.logs, _AFTER)
_command(app, "diagnose", diagnose.diagnose, _AFTER)
_command(app, "bench", bench.bench, _AFTER)
_command(app, "stop", life.stop, _AFTER)
_command(app, "start", life.start, _AFTER)
_command(app, "recover", recover.recover, _AFTER)
_command(app, "sweep", sweep.sweep, _AFTER)

models = typer.Typer()
app.add_typer(models, name="models", rich_help_panel=_BEFORE)
models.callback(invoke_without_command=True, help=_flowing(models_list.models_callback.__doc__))(
    models_list.models_callback
)
_command(models, "list", models_list.list_models)
_command(models, "show", models_list.show)
_command(models, "add", models_add.add)


def _version(wanted: bool) -> None:
    if wanted:
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        typer.echo(f"vertex-vllm {settings['project']['version']}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="The version, and nothing else.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Large language models with vLLM on Vertex AI."""
