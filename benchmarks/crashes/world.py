"""A copy of the project, a local cloud and the real engine; a deployed stack is kept and brought back in a second."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from infra.local.cloud.core import CloudConfig
from infra.local.cloud.testing import LocalCloud, cloud_in_thread
from infra.local.engine.environment import PYTHON
from infra.local.engine.pulumi import Engine
from infra.local.gcp_plugin.install import install
from infra.recovery import Recovered, StackEngine, locks, recover
from infra.recovery.cloud import Google
from tests.engine.support import DEFAULT_STACK_FILE, EngineStack, copy_project

#: Length of one of the seven stages of a deployment, in seconds; after a kill what is in flight takes its time.
FAST, SLOW = 0.05, 0.7
PROJECT = "vertex-vllm"
_CHANGES: dict[str, dict[str, Any]] = {
    "change": {"vllm": {"max_model_len": 2048}},
    "scale": {"replicas": {"min_replica_count": 2, "max_replica_count": 2}},
}


class Site:
    """One stack on one cloud, for one case."""

    def __init__(self, stack: EngineStack, cloud: LocalCloud, folder: Path) -> None:
        self.stack, self.cloud, self.folder = stack, cloud, folder

    @property
    def log(self) -> Path:
        """Where a killed run writes."""
        return self.folder / "run.log"

    def locked(self) -> bool:
        """Whether the engine would refuse to run."""
        return bool(locks.in_folder(self.stack.backend, PROJECT, self.stack.name))

    def recover(self, said: list[str]) -> Recovered:
        """What `vertex-vllm recover` does."""
        env = self.stack.env
        return recover(
            StackEngine(str(self.stack.engine.command), self.stack.name, self.stack.folder, env),
            project=PROJECT,
            config=self._config(),
            cloud=lambda: Google(self._config(), env),
            backups=self.folder / "backups",
            say=said.append,
            may=lambda _: False,
            may_delete=lambda _: True,
        )

    def _config(self) -> dict[str, str]:
        document = yaml.safe_load((self.stack.folder / f"Pulumi.{self.stack.name}.yaml").read_text())
        return {key: value for key, value in document["config"].items() if isinstance(value, str)}


class World:
    """Makes sites; everything lies in one folder, which `close` removes."""

    def __init__(self, engine: Engine) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._engine = engine
        self._home = self._folder / "home"
        install(self._home, PYTHON)
        self._project = copy_project(self._folder / "project")
        self._stack_file = (self._project / DEFAULT_STACK_FILE).read_text()
        self._deployed = self._folder / "deployed"
        with self.site("up") as site:
            site.stack.configure(preflight="off", telemetry="true")
        self._number = 0

    def close(self) -> None:
        """Removes all of it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare(self) -> None:
        """Deploys the stack once and keeps state and cloud."""
        if self._deployed.exists():
            return
        folder = self._folder / "cloud-first"
        with self._cloud(folder) as cloud:
            shutil.rmtree(self._project / ".state", ignore_errors=True)
            EngineStack(self._engine, self._project, self._home, cloud).up()
        part = self._deployed.with_suffix(".part")
        shutil.copytree(folder, part / "cloud")
        shutil.copytree(self._project / ".state", part / "state")
        part.rename(self._deployed)

    @contextlib.contextmanager
    def site(self, phase: str) -> Iterator[Site]:
        """A site on which the command of a phase can run: empty for `up`, else with the stack deployed."""
        with tempfile.TemporaryDirectory(prefix="case-", dir=self._folder) as name:
            folder = Path(name)
            state = self._project / ".state"
            shutil.rmtree(state, ignore_errors=True)
            (self._project / DEFAULT_STACK_FILE).write_text(self._stack_file)
            if phase != "up":
                self.prepare()
                shutil.rmtree(state, ignore_errors=True)
                shutil.copytree(self._deployed / "state", state)
                shutil.copytree(self._deployed / "cloud", folder / "cloud")
            with self._cloud(folder / "cloud") as cloud:
                stack = EngineStack(self._engine, self._project, self._home, cloud)
                if phase in _CHANGES:
                    stack.change_stack_file(_CHANGES[phase])
                yield Site(stack, cloud, folder)

    @contextlib.contextmanager
    def _cloud(self, folder: Path) -> Iterator[LocalCloud]:
        with cloud_in_thread(CloudConfig(folder, mode="timed", stage_seconds=FAST)) as cloud:
            cloud.admin.timing(mode="timed", stageSeconds=FAST)
            yield cloud
