"""The engine's runs on the local stack: live on the terminal, healed first where an earlier run was killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from infra.client.errors import NoAnswer
from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import ROOT, Problem
from infra.local.stack.environment import STACK
from infra.recovery import EngineFailed, InUse, StackEngine, locks, recover, repair, strays, sweep

if TYPE_CHECKING:
    from infra.recovery.cloud import Google

PROJECT = "vertex-vllm"
TOLD_EVERY = 10.0  # seconds


class Interrupted(Exception):
    """The user stopped a run of the engine, which has saved what exists."""


@dataclass(frozen=True)
class Stack:
    """The local stack of this clone, seen through the engine's command line.

    Attributes:
        engine: Whose `pulumi` runs.
        env: The whole environment of its runs.
        backend: Folder of its state.
        say: Told what happens, a line at a time.
    """

    engine: Engine
    env: Mapping[str, str]
    backend: Path
    say: Callable[[str], None]

    def select(self) -> None:
        """Makes the stack where it is new, and the one that `pulumi` works on by default."""
        self.backend.mkdir(parents=True, exist_ok=True)
        for side_file in self.backend.rglob("*.attrs"):  # of a run without our environment; see there why not
            side_file.unlink(missing_ok=True)
        self._quiet("stack", "select", "--create", STACK)

    def recover(self, config: Mapping[str, str], cloud: Callable[[], Google]) -> None:
        """Waits for another run on the stack; makes the stack whole after one that was killed.

        Args:
            config: The stack's configuration by full key.
            cloud: Makes the client of the local cloud.

        Raises:
            Problem: The other run is on another machine, which cannot be watched from here, or something failed.
        """
        self._wait_for_others()
        end_orphans(self.engine.folder)
        state = self._checkpoint()
        if not (self._locks() or repair.pending(state) or repair.unread(state)):
            # Without a question to the engine, which takes 0.3 s.
            sweep(cloud(), config, PROJECT, STACK, strays.known_ids(state), self.say, lambda _: True)
            return
        self.say("an earlier run was killed; what it made is brought into the state (vertex-vllm recover)")
        try:
            recover(
                StackEngine(str(self.engine.command), STACK, ROOT, self.env),
                project=PROJECT,
                config=config,
                cloud=cloud,
                backups=self.backend.parent / "recover",
                say=self.say,
                may=lambda _: False,
                may_delete=lambda _: True,
            )
        except (InUse, EngineFailed, NoAnswer) as error:
            raise Problem(str(error)) from None

    def _locks(self) -> list[locks.Lock]:
        return locks.in_folder(self.backend, PROJECT, STACK)

    def _wait_for_others(self) -> None:
        """Returns when no run of this machine is alive: each has given back its lock, or its process is gone."""
        begun = time.monotonic()
        told = -TOLD_EVERY
        while alive := [lock for lock in self._locks() if lock.alive]:
            if time.monotonic() - begun >= told + TOLD_EVERY:
                told = time.monotonic() - begun
                pid = alive[0].pid
                self.say(f"another pulumi (process {pid}) works on this stack; waiting for it ({told:.0f} s)")
            time.sleep(0.2)

    def resources(self) -> list[dict[str, Any]]:
        """What the state holds, less the stack itself and its providers; empty where there is no state."""
        found = self._checkpoint().get("resources") or []
        return [
            each
            for each in found
            if each["type"] != "pulumi:pulumi:Stack" and not each["type"].startswith("pulumi:providers:")
        ]

    def pending(self) -> list[dict[str, Any]]:
        """Operations that were under way when a run was killed."""
        return self._checkpoint().get("pending_operations") or []

    def up(self, *, refresh: bool) -> dict[str, int]:
        """Deploys; shows it live. Answers how many resources were created, updated, …, `same`.

        Raises:
            Problem: It failed; the engine has said why.
            Interrupted: The user stopped it.
        """
        options = ["--yes", "--skip-preview", "--suppress-outputs", "--policy-pack", "policies"]
        self._live("up", *options, *(["--refresh"] if refresh else []))
        history = json.loads(self._quiet("stack", "history", "--json", "--page-size", "1", "--stack", STACK))
        changes: dict[str, int] = history[0].get("resourceChanges", {}) if history else {}
        return changes

    def destroy(self) -> None:
        """Destroys everything in the stack; shows it live.

        Raises:
            Problem: It failed; the engine has said why.
            Interrupted: The user stopped it.
        """
        self._live("destroy", "--yes", "--skip-preview", "--suppress-outputs")

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs; secrets stay masked."""
        outputs: dict[str, Any] = json.loads(self._quiet("stack", "output", "--json", "--stack", STACK))
        return outputs

    def _checkpoint(self) -> dict[str, Any]:
        # The file that `pulumi stack export` prints, which takes 0.4 s to say the same.
        path = self.backend / ".pulumi" / "stacks" / PROJECT / f"{STACK}.json"
        latest: dict[str, Any] = _read_json(path).get("checkpoint", {}).get("latest") or {}
        return latest

    def _quiet(self, *arguments: str) -> str:
        command = [str(self.engine.command), *arguments, "--non-interactive"]
        done = subprocess.run(
            command, cwd=ROOT, env=dict(self.env), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise Problem(f"pulumi {' '.join(arguments)} failed:\n{done.stderr.strip()}")
        return done.stdout

    def _live(self, verb: str, *options: str) -> None:
        command = [str(self.engine.command), verb, "--stack", STACK, "--suppress-permalink=true", *options]
        children: list[subprocess.Popen[bytes]] = []
        with _interrupts_left_to(children) as interrupted:
            children.append(subprocess.Popen(command, cwd=ROOT, env=dict(self.env), stdin=subprocess.DEVNULL))
            if interrupted:  # while it was being started
                children[0].send_signal(signal.SIGINT)
            status = children[0].wait()
        if status and interrupted:
            raise Interrupted
        if status:
            target = {"destroy": "down"}.get(verb, verb)
            raise Problem(
                f"pulumi {verb} did not finish; the reason is above.\n"
                f"What exists is saved: make {target} goes on from there."
            )


@contextlib.contextmanager
def _interrupts_left_to(children: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """While the engine runs, Ctrl-C is its affair: it stops in order and saves what exists.

    Yields the signals that came.
    """
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        # Ctrl-C reaches the engine itself, which is in the terminal's group, too.
        for child in children if number == signal.SIGTERM else []:
            child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_orphans(folder: Path) -> None:
    """Ends what a killed engine has left running: its language host and its policy pack watch for no parent.

    Args:
        folder: The engine's; only what was started from it, or for it in this clone, and has lost its parent, is ended.
    """
    ours = (f"{folder}{os.sep}pulumi-", f"{ROOT}{os.sep}policies{os.sep}")
    for process in psutil.process_iter(["ppid", "cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if process.info["ppid"] == 1 and any(mark in command for mark in ours):
            with contextlib.suppress(psutil.Error):
                process.terminate()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
