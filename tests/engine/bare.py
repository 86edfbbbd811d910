"""Stacks of throw-away programs, for tests of a plugin rather than of the project's program."""

from __future__ import annotations

import textwrap
from pathlib import Path

import yaml

from infra.local.cloud.testing import PROJECT, REGION, LocalCloud
from infra.local.engine.environment import PYTHON
from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import ROOT
from infra.local.gcp_plugin.install import write_executable
from tests.engine.support import EngineStack

PROBE = "pulumi-resource-probe"


def bare_stack(
    folder: Path,
    engine: Engine,
    home: Path,
    cloud: LocalCloud,
    program: str,
    probe_folder: Path | None = None,
) -> EngineStack:
    """A stack of a program that the test wrote.

    Args:
        folder: Where the program goes; it must not exist.
        engine: The engine.
        home: The engine's home, with the stand-in gcp plugin in it.
        cloud: Where the stand-in creates things.
        program: The Python program.
        probe_folder: The cloud of the probe provider (tests/plugin/resources.py); None leaves that provider
        out.
    """
    folder.mkdir()
    project: dict[str, object] = {"name": "vertex-vllm", "runtime": "python"}
    if probe_folder:
        probe_folder.mkdir()
        plugin = folder / "probe plugin"
        plugin.mkdir()
        write_executable(plugin / PROBE, PYTHON, "tests.plugin.resources")
        project["plugins"] = {"providers": [{"name": "probe", "path": plugin.name}]}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    settings = {"gcp:project": PROJECT, "gcp:region": REGION}
    (folder / "Pulumi.local.yaml").write_text(yaml.safe_dump({"config": settings}))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    extra = {"PROBE_FOLDER": str(probe_folder)} if probe_folder else {}
    stack = EngineStack(engine, folder, home, cloud, extra_environment=extra)
    write_program(stack, program)
    return stack


def write_program(stack: EngineStack, program: str) -> None:
    """Replace the stack's program."""
    (stack.folder / "__main__.py").write_text(textwrap.dedent(program))
