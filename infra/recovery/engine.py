"""The Pulumi command of one stack, as far as a recovery needs it. Nothing here reads or writes a state by itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class EngineFailed(Exception):
    """Pulumi did not do what it was asked; `str(e)` has the command and its own words."""


@dataclass(frozen=True)
class StackEngine:
    """Pulumi, for one stack.

    Attributes:
        command: The `pulumi` command.
        stack: The stack's name, as `--stack` takes it.
        root: Folder of `Pulumi.yaml`.
        env: The whole environment of its runs.
    """

    command: str
    stack: str
    root: Path
    env: Mapping[str, str]

    @property
    def short_name(self) -> str:
        """The stack's name without organisation and project."""
        return self.stack.rpartition("/")[2]

    def backend(self) -> str:
        """Address of where the state lies, e.g. `file:///home/me/state`, `gs://bucket`, `https://app.pulumi.com/me`.

        Empty for a service of your own whose console Pulumi does not know (PULUMI_CONSOLE_DOMAIN names it).
        """
        return str(json.loads(self._run("whoami", "--json", "--verbose")).get("url", ""))

    def updating(self) -> bool:
        """Whether Pulumi Cloud says that an update is in progress; other backends never say so."""
        for each in json.loads(self._run("stack", "ls", "--json")):
            if each.get("name", "").rpartition("/")[2] == self.short_name:
                return bool(each.get("updateInProgress"))
        return False

    def export(self) -> Json:
        """The state, as `pulumi stack export` writes it: secrets stay encrypted."""
        document: Json = json.loads(self._on_stack("stack", "export"))
        return document

    def write(self, document: Json) -> None:
        """Replaces the state by this one; Pulumi refuses one that does not hold together, and keeps what it has."""
        self._on_stack("stack", "import", stdin=json.dumps(document))

    def cancel(self) -> None:
        """Takes away the stack's lock, whoever holds it."""
        self._on_stack("cancel", "--yes")

    def read_back(self, urns: Iterable[str]) -> None:
        """Lets the providers read these resources, and the state take what they say."""
        targets = [f"--target={urn}" for urn in urns]
        self._on_stack("refresh", "--yes", "--skip-preview", "--suppress-outputs", *targets)

    def _on_stack(self, *arguments: str, stdin: str | None = None) -> str:
        return self._run(*arguments, "--stack", self.stack, stdin=stdin)

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        try:
            done = subprocess.run(
                [self.command, *arguments, "--non-interactive", "--color", "never"],
                cwd=self.root,
                env=dict(self.env),
                input=stdin or "",
                capture_output=True,
                text=True,
            )
        except OSError as error:
            raise EngineFailed(f"pulumi cannot be run: {error}") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip())[-3000:]
            shown = [each for each in arguments if not each.startswith("--target=")]
            raise EngineFailed(f"pulumi {' '.join(shown)} failed:\n{said}")
        return done.stdout
