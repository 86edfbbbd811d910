"""Puts the stand-in where the engine looks for plugins."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from infra.local.gcp_plugin.plugin import NAME, VERSION

ROOT = Path(__file__).resolve().parents[3]
"""The project's root, which has to be on the plugin's import path."""


def install(pulumi_home: Path, python: Path | None = None) -> Path:
    """Install the stand-in as the gcp plugin of an engine's home; the executable.

    It writes what `pulumi plugin install resource gcp v10.2.0 -f FOLDER` would copy there, without starting
    an
    engine: a folder with one shell script that starts this module, with absolute paths, so that it works from
    every folder and without an activated virtual environment. Whatever was there is overwritten.

    Args:
        pulumi_home: The engine's PULUMI_HOME. Use one of the project's own, never the user's `~/.pulumi`:
            there the
            stand-in would serve every other project with the same version of pulumi-gcp too.
        python: The interpreter that has the project's requirements; by default the running one.
    """
    folder = pulumi_home / "plugins" / f"resource-{NAME}-v{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    executable = folder / f"pulumi-resource-{NAME}"
    write_executable(executable, python or Path(sys.executable))
    return executable


def write_executable(path: Path, python: Path, module: str = "infra.local.gcp_plugin") -> None:
    """Write the script that starts a plugin of this project.

    Args:
        path: The script; a file that is there is replaced in one step, since an engine may be starting it.
        python: The interpreter that has the project's requirements.
        module: The module to run.
    """
    script = (
        "#!/bin/sh\n"
        "# Written by infra.local.gcp_plugin.install.\n"
        # The engine starts a plugin in the project's folder, which the paths of assets are relative to: it stays there.
        # -P keeps that folder's own modules out.
        f'PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(str(python))} -P -m {module} "$@"\n'
    )
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(script)
    temporary.chmod(0o755)
    temporary.replace(path)
