"""``vertex-vllm models add``: writes the card of a model from its Hugging Face repository or from files."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["add"]


def add(model_id: Annotated[str, typer.Argument(metavar="ID", help="Hugging Face id, org/name.")]) -> None:
    """Add a model to the catalogue."""
    raise typer.Exit(2)
