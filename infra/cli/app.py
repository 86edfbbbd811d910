"""The commands of ``vertex-vllm``. A command is a plain function in a module of its own; it gets its name here."""

from __future__ import annotations

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

__all__ = ["app"]

app = typer.Typer(
    name="vertex-vllm",
    help="Large language models with vLLM on Vertex AI.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a token
)

app.command("adopt")(adopt.adopt)
app.command("explain")(explain.explain)
app.command("chat")(chat.chat)
app.command("fit")(fit.fit)
app.command("preflight")(preflight.preflight)
app.command("report")(report.report)
app.command("recover")(recover.recover)
app.command("bench")(bench.bench)
app.command("predict")(predict.predict)
app.command("smoke")(smoke.smoke)
app.command("snippets")(snippets.snippets)
app.command("diagnose")(diagnose.diagnose)
app.command("logs")(logs.logs)
app.command("status")(status.status)
app.command("sweep")(sweep.sweep)
app.command("stop")(life.stop)
app.command("start")(life.start)

models = typer.Typer()
app.add_typer(models, name="models")
models.callback(invoke_without_command=True)(models_list.models_callback)
models.command("list")(models_list.list_models)
models.command("show")(models_list.show)
models.command("add")(models_add.add)


@app.callback()
def main() -> None:
    """Large language models with vLLM on Vertex AI."""
