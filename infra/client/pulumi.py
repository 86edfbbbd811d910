"""The `pulumi` command, for what only it knows: outputs, states, settings, and runs of a stack."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.client.errors import BadTarget, NoAnswer

__all__ = ["ROOT", "Pulumi"]

ROOT: Final = Path(__file__).resolve().parents[2]

_ANSWER_S: Final = 60.0
_LOCAL: Final = "local"


@dataclass(frozen=True)
class Pulumi:
    """The command, with the environment of one stack.

    For the stack ``local`` of `make up` it is that stack's own engine and state, unless this shell has a backend set.

    Attributes:
        stack: Name of the stack; None for what concerns all of them.
        root: Folder of `Pulumi.yaml`.
        environ: Environment variables; its PATH has the command.
    """

    stack: str | None = None
    root: Path = ROOT
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def command(self, *words: str) -> list[str]:
        """The words of a process that runs it.

        Raises:
            NoAnswer: There is no ``pulumi``.
        """
        settings = self.root / ".local" / "env"
        if self.stack == _LOCAL and settings.is_file() and not self.environ.get("PULUMI_BACKEND_URL"):
            script = f'. {shlex.quote(str(settings))} && exec pulumi "$@"'
            return ["/bin/sh", "-c", script, "pulumi", *words]
        found = shutil.which("pulumi", path=self.environ.get("PATH"))
        if found is None:
            raise NoAnswer("There is no pulumi on PATH.")
        return [found, *words]

    def ask(self, *words: str, seconds: float = _ANSWER_S) -> str:
        """What it writes to standard output, without any question to the user.

        Raises:
            BadTarget: There is no such stack.
            NoAnswer: There is no ``pulumi``, or it cannot answer.
        """
        asked = (*words, "--non-interactive", *(("--stack", self.stack) if self.stack else ()))
        said = shlex.join(["pulumi", *asked])
        try:
            done = subprocess.run(
                self.command(*asked),
                cwd=self.root,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"pulumi did not answer within {seconds:.0f} s: {said}") from None
        except OSError as error:
            raise NoAnswer(f"pulumi cannot be run: {error}") from None
        if done.returncode == 0:
            return done.stdout
        why = " ".join(done.stderr.split())[:400] or f"status {done.returncode}"
        if "no stack named" in why:
            local = "; make up makes it" if self.stack == _LOCAL else ""
            raise BadTarget(
                f"There is no stack {self.stack}{local} ({why}). pulumi stack ls shows the stacks."
            )
        login = "\n  pulumi login says where the stacks are kept." if "PULUMI_ACCESS_TOKEN" in why else ""
        raise NoAnswer(f"{said} failed: {why}{login}")

    def ask_json(self, *words: str) -> Any:
        """The JSON that it writes.

        Raises:
            BadTarget, NoAnswer: As :meth:`ask`.
        """
        text = self.ask(*words)
        try:
            return json.loads(text)
        except ValueError:
            raise NoAnswer(f"{shlex.join(['pulumi', *words])} writes no JSON.") from None

    def run(self, *words: str, to_stderr: bool = False) -> int:
        """A run of the engine on this terminal; its exit status. Ctrl-C is the engine's affair: it saves what exists.

        Raises:
            NoAnswer: There is no ``pulumi``.
        """
        command = self.command(*words, *(("--stack", self.stack) if self.stack else ()))
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            child = subprocess.Popen(
                command,
                cwd=self.root,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=2 if to_stderr else None,
                preexec_fn=_heeds_interrupts,
            )
            return child.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def _heeds_interrupts() -> None:
    """A child would inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
