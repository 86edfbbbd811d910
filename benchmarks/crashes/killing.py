"""kill -9 of a run of the engine: all of it, or one process alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

#: What a plugin's command line has.
_MARKS = {"provider": "infra.provider", "gcp": "infra.local.gcp_plugin"}
#: Seconds that plugins get to notice that their engine is gone.
_ORPHANS_END = 4.0


class Running:
    """A run of the engine that can be killed.

    Its plugins are in process groups of their own, so that a kill of the engine's group would leave them alive.
    """

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str], log: Path) -> None:
        with log.open("wb") as out:
            self._child = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._log = log
        self._process = psutil.Process(self._child.pid)
        self._others: list[psutil.Process] = []

    @property
    def ended(self) -> bool:
        """Whether the engine is over."""
        return self._child.poll() is not None

    @property
    def output(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def kill(self, kind: str) -> bool:
        """Kills; whether there was anything of that kind."""
        if self.ended:
            return False
        self._others = self._descendants()
        if kind == "machine":
            self._kill_all()
            return True
        if kind == "engine":
            os.kill(self._child.pid, signal.SIGKILL)
            return True
        struck = [each for each in self._others if _is(each, _MARKS[kind])]
        for each in struck:
            with contextlib.suppress(psutil.Error):
                each.kill()
        return bool(struck)

    def wait(self, limit: float) -> int:
        """Waits until the engine is over; answers its status."""
        return self._child.wait(limit)

    def clean(self) -> list[str]:
        """Ends what is left of it; answers which processes were still there after their engine's end."""
        with contextlib.suppress(psutil.Error):
            self._others = [*self._others, *self._descendants()]
        if not self.ended:
            self._kill_all()
            self._child.wait(30)
        deadline = time.monotonic() + _ORPHANS_END
        while (left := [each for each in self._others if _lives(each)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        names = []
        for each in left:
            with contextlib.suppress(psutil.Error):
                names.append(Path(each.cmdline()[0]).name)
                each.kill()
        return names

    def _descendants(self) -> list[psutil.Process]:
        try:
            return self._process.children(recursive=True)
        except psutil.Error:
            return []

    def _kill_all(self) -> None:
        """Stops every process first: nothing of it sees another one die, as when a machine is lost."""
        stopped: dict[int, psutil.Process] = {}
        while new := [each for each in [self._process, *self._descendants()] if each.pid not in stopped]:
            for each in new:
                stopped[each.pid] = each
                with contextlib.suppress(psutil.Error):
                    each.suspend()
        for each in stopped.values():
            with contextlib.suppress(psutil.Error):
                each.kill()
        self._child.wait(30)


def _is(process: psutil.Process, mark: str) -> bool:
    try:
        return mark in process.cmdline()
    except psutil.Error:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
