"""What the commands share: options, exit status, consoles. Light, so that ``--help`` starts at once."""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TextIO

import typer
from rich.console import Console

__all__ = [
    "BAD_INPUT",
    "DOES_NOT_FIT",
    "NO_VERDICT",
    "Exit",
    "Region",
    "StackConfig",
    "as_utf8",
    "console",
    "fail",
    "given_text",
    "one_gpu",
    "piped_text",
    "print_json",
    "table_console",
]


class Exit(IntEnum):
    """Exit status of every command, one meaning a number; docs/exit-codes.md is the table for users."""

    FINE = 0
    DOES_NOT_FIT = 1
    BAD_INPUT = 2
    NO_VERDICT = 3
    PREVIEW_FAILED = 4
    PREFLIGHT_FAILED = 5
    POLICY_VIOLATED = 6
    OVER_BUDGET = 7
    NO_ANSWER = 8
    IN_USE = 9
    LEFT_OVER = 10
    CRASHED = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


DOES_NOT_FIT: Final = Exit.DOES_NOT_FIT
BAD_INPUT: Final = Exit.BAD_INPUT
NO_VERDICT: Final = Exit.NO_VERDICT

_WIDEST: Final = 120
_PIPE: Final = 240  # a line a row, for grep and awk

Region = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        help="Region, for prices and for which hardware there is; us-central1 unless --stack-config names one.",
    ),
]
StackConfig = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings of an environment, such as Pulumi.dev.yaml: its gcp:region."),
]


def fail(error: object) -> NoReturn:
    """Print what is wrong on stderr and exit with :data:`BAD_INPUT`."""
    typer.echo(str(error), err=True)
    raise typer.Exit(BAD_INPUT)


def as_utf8(text: str) -> str:
    """A text that the shell or the terminal gave. In a locale without UTF-8 Python has its bytes, not its characters.

    Raises:
        UnicodeError: It is no UTF-8, so that it cannot be sent.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(text).decode("utf-8")
    return text


def given_text(text: str, what: str) -> str:
    """As :func:`as_utf8`; what is none ends the program with :data:`BAD_INPUT`."""
    try:
        return as_utf8(text)
    except UnicodeError:
        fail(f"{what} is not UTF-8 text.")


def piped_text(what: str) -> str:
    """Everything on stdin; what is not UTF-8 ends the program with :data:`BAD_INPUT`."""
    try:
        return as_utf8(sys.stdin.read())
    except UnicodeError:
        fail(f"{what} is not UTF-8 text.")


def console(file: TextIO | None = None) -> Console:
    """A console for a page: as wide as the terminal up to 120 columns, no colour in a pipe or under NO_COLOR."""
    made = Console(file=_lenient(file), highlight=False)
    if made.width > _WIDEST:
        made.width = _WIDEST
    return made


def table_console(file: TextIO | None = None) -> Console:
    """A console for a table: as wide as the terminal; in a pipe wide enough that no row is wrapped."""
    made = Console(file=_lenient(file), highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = _PIPE
    return made


def print_json(value: Any) -> None:
    """Write JSON to stdout, and nothing else.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has not.
    """
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def one_gpu(accelerator_type: str) -> str:
    """Vertex AI's name of a GPU as people say it: ``NVIDIA_TESLA_A100`` is an A100."""
    short = accelerator_type.removeprefix("NVIDIA_").removeprefix("TESLA_")
    return short.replace("_", " ")


def _lenient(file: TextIO | None) -> TextIO:
    """The stream, set so that a character which its encoding has not becomes a question mark, not an error."""
    stream = file or sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return stream
