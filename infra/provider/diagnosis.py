"""Why a container failed, and the change to the stack file: what `vertex-vllm diagnose` says, without being asked.

The command runs as a process of its own: it reads the stack's settings, for which it loads the Pulumi SDK, and a
provider's process must not (docs/adr/0001).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from infra.diagnose import recognise
from infra.plugin import Context

_ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE_S: Final = 60.0
_SHOWN: Final = 160  # characters; the whole line stands among the container's last


def explained(ctx: Context, lines: Sequence[str], answer: str) -> str:
    """Cause, advice, the line that shows it and the change to the stack file; empty if no known failure is there.

    Args:
        ctx: Of the call; its stack's settings name the stack file.
        lines: The container's log, without tokens.
        answer: The error of the operation, as Google words it.
    """
    found = recognise([*lines, answer])
    if not found:
        return ""
    first = found[0]
    text = [first.sentence]
    if first.evidence.line <= len(lines):  # Google's answer stands above
        text.append(f"Shown by: {_short(first.evidence.text)}")
    said = _command(ctx.stack, [*lines, answer]) if ctx.stack else None
    ask = f"./vertex-vllm diagnose --stack {ctx.stack}"
    if said is None:
        if ctx.stack:
            text.append(f"{ask} looks for a change of the stack file that mends it.")
        return "\n  ".join(text)
    text += _compared(said)
    change = said.get("change")
    if change and not change["refused"]:
        text.append(f"The change to the stack file, which {ask} --apply makes ({change['why']}):")
        text += [f"  {line}" for line in change["diff"].splitlines()]
    return "\n  ".join(text)


def _short(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _compared(said: Mapping[str, Any]) -> list[str]:
    """The parts of a GPU's memory of which the log has a figure, beside the prediction."""
    rows = [
        f"{row['name'].replace('_', ' ')} {_figure(row['predicted'], row)}, {_figure(row['log'], row)}"
        for row in said.get("memory") or ()
        if row["log"] is not None
    ]
    return [f"Predicted, then in the log: {'; '.join(rows)}"] if rows else []


def _figure(value: float, row: Mapping[str, Any]) -> str:
    return f"{value:,.0f}" if row["unit"] == "tokens" else f"{value:.2f} {row['unit']}"


def _command(stack: str, lines: Sequence[str]) -> Mapping[str, Any] | None:
    """The command's answer; None where it cannot be had, as for a stack whose settings are not in this folder."""
    command = [sys.executable, "-P", "-m", "infra.cli", "diagnose", "--stack", stack, "--log", "-", "--json"]
    try:
        done = subprocess.run(
            command,
            input="\n".join(lines),
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE_S,
        )
        said = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return said if isinstance(said, dict) else None
