"""The commands of ``vertex-vllm``. A command is a plain function in a module of its own; it gets its name here."""

from __future__ import annotations

import typer

from infra.cli import models_add

__all__ = ["app"]

app = typer.Typer(
    name="vertex-vllm",
    help="Large language models with vLLM on Vertex AI.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a token
)

models = typer.Typer(help="The catalogue of models.", no_args_is_help=True)
app.add_typer(models, name="models")
models.command("add")(models_add.add)


@app.callback()
def main() -> None:
    """Large language models with vLLM on Vertex AI."""
