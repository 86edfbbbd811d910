"""``vertex-vllm explain FILE``: what will run, whether it fits into a GPU's memory, and what would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.common import Region, StackConfig, console, fail, print_json

__all__ = ["explain"]


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The stack file, such as stacks/NAME.yaml.")],
    region: Region = None,
    stack_config: StackConfig = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained page with the chart.")
    ] = None,
) -> None:
    """Say what a stack file will run, what it takes of a GPU's memory, and the cheapest hardware that fits.

    \b
    Examples:
      vertex-vllm explain stacks/meta-llama-3.1-8b-instruct.l4x1.yaml
      vertex-vllm explain stacks/my.yaml --region europe-west4
      vertex-vllm explain stacks/my.yaml --html memory.html
      vertex-vllm explain stacks/my.yaml --json | jq .verdict

    \b
    Exit status:
      0  it starts, or it may not, which the text says
      1  it does not start
      2  wrong usage, or a bad stack file
      3  no verdict: the image's vLLM version or the GPU's memory is not known
    """
    from infra.cli import facts, facts_json
    from infra.cli.stack import planned

    if html is not None and html.exists() and file.exists() and html.samefile(file):
        fail(f"--html {html}: is the stack file itself.\n    fix: name another file, such as memory.html")
    plan, refusal = planned(file, region=region, stack_config=stack_config)
    explained = facts.explanation(plan, refusal, folder=file.parent)
    if html is not None:
        from infra.cli.page import html_page

        try:
            html.write_text(html_page(explained), encoding="utf-8")
        except OSError as error:
            fail(f"{html}: cannot be written: {error.strerror or error}.")
        typer.echo(f"written: {html}", err=True)
    if as_json:
        print_json(facts_json.facts(explained))
    elif html is None:
        from infra.cli.terminal import show

        show(console(), explained)
    raise typer.Exit(facts.exit_status(explained.verdict))
