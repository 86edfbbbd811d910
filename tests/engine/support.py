"""A stack of the real engine on a local cloud of its own: what the engine tests drive."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.local.cloud.testing import LocalCloud
from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import ROOT
from infra.local.stack import environment

Json = dict[str, Any]
#: Seconds that one run of the engine may take before the test fails; a run takes 3 to 15.
LIMIT = 240
DEFAULT_STACK_FILE = "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
#: What a program needs of the clone. Copied, so that a test may change stack files and two tests never share a folder.
_PROJECT = ("Pulumi.yaml", "Pulumi.local.yaml", "__main__.py", "components", "infra", "policies", "stacks")


@dataclass
class Run:
    """How one command of the engine ended."""

    status: int
    output: str

    def has(self, *texts: str) -> bool:
        """Whether every text is in the output."""
        return all(text in self.output for text in texts)


@dataclass
class EngineStack:
    """One stack in a copy of the project, with a backend, an engine home and a local cloud of its own.

    Attributes:
        folder: The copy; its stack files may be changed.
        cloud: The local cloud that the stack deploys to.
        name: Name of the stack; its configuration is that of Pulumi.local.yaml.
    """

    engine: Engine
    folder: Path
    home: Path
    cloud: LocalCloud
    name: str = "local"
    extra_environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backend = self.folder / ".state"
        self.backend.mkdir(exist_ok=True)
        self("stack", "select", "--create", self.name)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the engine, and of a shell that has read `.local/env`."""
        own = environment.variables(self.cloud.url, home=self.home, backend=self.backend)
        return environment.child_environment(self.engine, own) | self.extra_environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command of the engine in a process group of its own, to be interrupted or killed."""
        return subprocess.Popen(
            [str(self.engine.command), *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, ok: bool | None = True) -> Run:
        """Runs a command of the engine; `ok` is what is expected of it, None for either.

        Nothing that it started outlives it: a plugin that stays behind would keep the test from ending.
        """
        child = self.start(*arguments, "--non-interactive", "--color", "never")
        try:
            output, _ = child.communicate(timeout=LIMIT)
        finally:
            kill_group(child)
        if ok is not None:
            assert (child.returncode == 0) is ok, (
                f"pulumi {' '.join(arguments)}: {child.returncode}\n{output}"
            )
        return Run(child.returncode, output)

    def up(self, *options: str, ok: bool | None = True) -> Run:
        """Deploys, without asking and without a preview before."""
        return self("up", "--yes", "--skip-preview", *options, ok=ok)

    def preview(self, *options: str, ok: bool | None = True) -> Run:
        """Says what `up` would do; with `--diff` what changes."""
        return self("preview", *options, ok=ok)

    def refresh(self, *options: str, ok: bool | None = True) -> Run:
        """Reads back what exists."""
        return self("refresh", "--yes", "--skip-preview", *options, ok=ok)

    def destroy(self, *options: str, ok: bool | None = True) -> Run:
        """Destroys everything."""
        return self("destroy", "--yes", "--skip-preview", *options, ok=ok)

    def outputs(self) -> Json:
        """The stack's outputs."""
        outputs: Json = json.loads(self("stack", "output", "--json").output)
        return outputs

    def state(self) -> Json:
        """The deployment in the backend's file: `resources`, `pending_operations`, …"""
        path = self.backend / ".pulumi" / "stacks" / "vertex-vllm" / f"{self.name}.json"
        latest: Json = json.loads(path.read_text())["checkpoint"].get("latest") or {}
        return latest

    def resources(self, kind: str = "") -> list[Json]:
        """Resources in the state whose type has this text, e.g. `vertexserving:`."""
        return [each for each in self.state().get("resources") or [] if kind in each["type"]]

    def configure(self, **settings: Any) -> None:
        """Sets keys of the stack's own namespace (None takes one away), as text, in its configuration file."""
        self.configure_file({f"vertex-vllm:{key}": value for key, value in settings.items()})

    def configure_file(self, settings: Mapping[str, Any]) -> None:
        """Sets keys by their full name, e.g. `gcp:region`."""
        path = self.folder / f"Pulumi.{self.name}.yaml"
        document = yaml.safe_load(path.read_text())
        for key, value in settings.items():
            if value is None:
                document["config"].pop(key, None)
            else:
                document["config"][key] = value
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def write_stack_file(self, name: str, content: Mapping[str, Any] | str) -> str:
        """Writes `stacks/NAME.yaml` in the copy and makes it the one that is deployed; its path below the project."""
        path = self.folder / "stacks" / f"{name}.yaml"
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False)
        )
        self.configure(stackFile=f"stacks/{name}.yaml")
        return f"stacks/{name}.yaml"

    def change_stack_file(self, changes: Mapping[str, Any], source: str = DEFAULT_STACK_FILE) -> str:
        """Changes a shipped stack file of the copy; maps are merged, None takes a key away. Its path, which stays."""
        path = self.folder / source
        document = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(_merged(document, changes), sort_keys=False))
        return source


def copy_project(target: Path) -> Path:
    """Copies the program, its data and its policies; the environment is a link to the clone's."""
    target.mkdir(parents=True)
    for name in _PROJECT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("node_modules", ".local"))
        else:
            shutil.copy2(source, target / name)
    (target / ".venv").symlink_to(ROOT / ".venv")
    return target


def kill_group(child: subprocess.Popen[str]) -> None:
    """kill -9 of a process that `start` started and of everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(30)


def _merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    merged = dict(document)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged
