"""What the commands of the local stack show at the end."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from infra.local.stack.environment import SHELL_FILE
from infra.local.stack.question import Answer

out = Console(highlight=False, soft_wrap=True)

#: APIs stay enabled after a destroy on purpose, and cost nothing.
_FREE = frozenset({"enabled services"})


def say(text: str) -> None:
    """One line about what happens now."""
    out.print(f"[dim]{escape(text)}[/]")


def billable(state: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """What exists in the local cloud, less what costs nothing and is there to stay."""
    return {kind: items for kind, items in state.items() if items and kind not in _FREE}


def inventory(state: Mapping[str, list[Any]]) -> None:
    """Everything that exists in the local cloud, by kind."""
    for kind, items in state.items():
        out.print(f"  {kind}: {len(items)}")
        for item in items:
            out.print(f"    {escape(str(item))}")


def printable(text: str) -> str:
    """A model's text for a terminal: random weights (`CONTAINER=vllm`) write control characters, too."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{MIDDLE DOT}" for char in text.strip())


def after_up(answer: Answer, outputs: Mapping[str, Any], changes: Mapping[str, int], seconds: float) -> None:
    """The answer of the model, where it is served, and what to type next."""
    out.print()
    if set(changes) <= {"same"}:
        out.print(
            f"[green]Nothing changes:[/] all {changes.get('same', 0)} resources are as they should be.\n"
        )
    out.print(f"[bold]question[/]  {escape(answer.asked)}  [dim]({escape(answer.route)})[/]")
    out.print(f"[bold]answer[/]    {escape(printable(answer.text))}\n")
    shown = {
        "endpoint": outputs["endpoint"],
        "base_url": outputs["openai_base_url"],
        "dedicated DNS": outputs.get("dedicated_endpoint_dns"),
        "curl": outputs["curl"],
    }
    for name, value in shown.items():
        if value:
            out.print(f"[bold]{name:13}[/] {escape(str(value))}")
    out.print(f"\nDone in {seconds:.0f} s. What to type next:")
    rows = {
        f". {shell_path(SHELL_FILE)} && pulumi preview": "every pulumi command by hand, on this stack",
        "make up STACK_FILE=stacks/llama-3.2-1b-instruct.l4x1.yaml": "another model in its place",
        "make status": "what exists in the local cloud",
        "make down": "destroys all of it",
    }
    width = max(map(len, rows))
    for command, meaning in rows.items():
        out.print(f"  {escape(command):{width}}  [dim]# {meaning}[/]")


def after_down(state: Mapping[str, list[Any]]) -> None:
    """What is left in the local cloud; that it is empty where nothing is."""
    out.print()
    left = billable(state)
    counted = ", ".join(f"{len(items)} {kind}" for kind, items in state.items() if kind not in _FREE)
    if not left:
        out.print(f"[green]The local cloud is empty:[/] {counted}.")
    else:
        out.print(
            "[yellow]Left in the local cloud[/] (.venv/bin/python -m infra.local.cloud reset forgets all of it):"
        )
        inventory(left)
    for kind in _FREE:
        if state.get(kind):
            out.print(f"[dim]{len(state[kind])} {kind} stay as they are: a destroy never disables an API.[/]")


def shell_path(path: Path) -> str:
    """A path as it is typed in the folder where make ran."""
    return shlex.quote(os.path.relpath(path))
