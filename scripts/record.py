"""Makes the pictures of the README, docs/*.svg, from what the real commands print against the local Google Cloud.

    make up && .venv/bin/python scripts/record.py            # every picture
    make up && .venv/bin/python scripts/record.py status     # only some, by name

Each command runs in a terminal of its own (a pty) as in a shell that has read `.local/env`; what it prints, colours
included, is drawn by Rich. Nothing is edited. A command that fails, or that prints where this clone lies, makes no
picture.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
ENVIRONMENT: Final = ROOT / ".local" / "env"
_SECONDS: Final = 120.0
_FONTS: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Picture:
    """What is shown: lines of a shell, run one after the other.

    Attributes:
        name: The picture is ``docs/NAME.svg``.
        title: In the window's bar.
        lines: Each is shown behind a ``$`` and then run.
        width: Columns of the terminal.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    width: int = 110


PICTURES: Final = (
    Picture(
        "explain", "will it fit?", ("./vertex-vllm explain stacks/meta-llama-3.1-8b-instruct.l4x1.yaml",)
    ),
    Picture(
        "serve",
        "what runs, what it said, what it answers",
        (
            "./vertex-vllm status --stack local",
            './vertex-vllm logs --stack local --text "GPU blocks" 2> /dev/null',
            'echo "What is Pulumi?" | ./vertex-vllm chat --stack local',
        ),
    ),
    Picture(
        "diagnose",
        "why did it fail? The guide's fourth failure, by its published line",
        (
            "./vertex-vllm diagnose stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
            " --log tests/diagnose/cases/kv-of-the-guide.log",
        ),
        width=116,
    ),
)


class Failed(Exception):
    """A command that cannot be shown; the text says why."""


def capture(line: str, width: int, *, environment: Path | None = None) -> str:
    """What a line of a shell prints to a terminal, with its escape sequences.

    Args:
        line: The line.
        width: Columns of the terminal.
        environment: A file that the shell reads first.

    Raises:
        Failed: It ended with another status than 0, or did not end in time.
    """
    script = f". {shlex.quote(str(environment))} && {line}" if environment else line
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in _DECIDING}
    process = subprocess.Popen(
        ["/bin/sh", "-c", script],
        cwd=ROOT,
        env={**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        printed = _read(ours, time.monotonic() + _SECONDS)
        status = process.wait(timeout=_SECONDS)
    except (TimeoutError, subprocess.TimeoutExpired):
        raise Failed(f"{line}\n  did not end within {_SECONDS:.0f} s") from None
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()
    if status != 0:
        raise Failed(f"{line}\n  ended with {status}:\n{printed}")
    return printed


#: Variables that would change what a command prints to a terminal.
_DECIDING: Final = frozenset(
    {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
)


def _read(terminal: int, ends: float) -> str:
    """Everything until the other side is closed.

    Raises:
        TimeoutError: It is not, in time.
    """
    printed = bytearray()
    while True:
        left = ends - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            raise TimeoutError
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says EIO where others say nothing more
            piece = b""
        if not piece:
            return printed.decode("utf-8", errors="replace").replace("\r\n", "\n")
        printed += piece


def draw(shown: Sequence[tuple[str, str]], *, title: str, width: int) -> str:
    """The picture of lines and of what they printed, as SVG that loads nothing from anywhere.

    Args:
        shown: Each line with what it printed.
        title: In the window's bar.
        width: Columns of the terminal.
    """
    console = Console(
        record=True, width=width, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    for number, (line, printed) in enumerate(shown):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "bold green"), (line, "bold")))
        console.print(Text.from_ansi(printed.rstrip("\n")))
    svg = console.export_svg(title=title)
    # Rich's template loads a font from a server; a README must not.
    own = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return own.replace("font-family: Fira Code, monospace", f"font-family: {_FONTS}")


def record(picture: Picture) -> Path:
    """Run the lines of a picture and write it.

    Raises:
        Failed: A command failed, or printed where this clone lies.
    """
    shown = [(line, capture(line, picture.width, environment=ENVIRONMENT)) for line in picture.lines]
    for line, printed in shown:
        for place in (str(ROOT), str(Path.home())):
            if place in printed:
                raise Failed(f"{line}\n  prints {place}, which is nobody else's:\n{printed}")
    path = DOCS / f"{picture.name}.svg"
    path.write_text(draw(shown, title=picture.title, width=picture.width), encoding="utf-8")
    return path


def main(names: Sequence[str]) -> int:
    """Make the pictures of these names, or all; 0 when every one was made."""
    known = {picture.name: picture for picture in PICTURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"There is no picture {', '.join(unknown)}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    if not ENVIRONMENT.is_file():
        print("The local stack does not run; make up starts it.", file=sys.stderr)
        return 1
    failed = False
    for name in names or known:
        try:
            print(record(known[name]).relative_to(ROOT))
        except Failed as why:
            print(why, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
