"""The environment of the local stack: for our own child processes, and as the shell file `.local/env`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from infra.local.cloud.cli import environment as cloud_environment
from infra.local.engine.environment import VENV
from infra.local.engine.pulumi import Engine
from infra.local.engine.steps import LOCAL, write_atomically

PULUMI_HOME = LOCAL / "pulumi-home"
BACKEND = LOCAL / "state"
SHELL_FILE = LOCAL / "env"
STACK = "local"
#: Opens nothing but the made-up token in Pulumi.local.yaml.
PASSPHRASE = "local"
STACK_FILE_VARIABLE = "VERTEX_VLLM_STACK_FILE"

#: What would send the engine, its plugins or a client elsewhere than to the local stack.
_FOREIGN = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
    "PULUMI_ACCESS_TOKEN",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
    "PULUMI_PYTHON_CMD",
    "PULUMI_STACK",
)


def variables(
    url: str,
    *,
    stack_file: str | None = None,
    home: Path = PULUMI_HOME,
    backend: Path = BACKEND,
    inherited: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Every variable of the local stack but PATH.

    Args:
        url: Address of the local cloud.
        stack_file: The stack file that replaces the one of Pulumi.local.yaml, relative to the root.
        home: The engine's plugins and workspaces.
        backend: Folder of Pulumi's state.
        inherited: Where the user's own `NO_PROXY` is read.
    """
    loopback = "127.0.0.1,localhost"
    proxied = inherited.get("NO_PROXY") or inherited.get("no_proxy") or ""
    exempt = proxied if proxied.startswith(loopback) else f"{loopback},{proxied}".rstrip(",")
    return (
        {
            "PULUMI_HOME": str(home),
            # Without the side file of attributes beside each file: it is not written in one step, and a kill -9 that
            # leaves it empty makes the whole state unreadable ("failed to load checkpoint: EOF").
            "PULUMI_BACKEND_URL": f"file://{backend}?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # The stand-in gcp plugin is installed already; a download would be the real one, or would hang.
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "NO_PROXY": exempt,
            "no_proxy": exempt,
        }
        | cloud_environment(url)
        | ({STACK_FILE_VARIABLE: stack_file} if stack_file else {})
    )


def search_path(engine: Engine) -> list[str]:
    """What comes first on PATH: the packages' Python, which the engine's language host runs, then the engine."""
    return [str(VENV / "bin"), str(engine.folder)]


def child_environment(engine: Engine, own: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a child process: the user's, less what leads elsewhere, and ours."""
    kept = {key: value for key, value in os.environ.items() if key not in (*_FOREIGN, STACK_FILE_VARIABLE)}
    path = os.pathsep.join([*search_path(engine), kept.get("PATH", os.defpath)])
    return kept | dict(own) | {"PATH": path}


def write_shell_file(engine: Engine, own: Mapping[str, str]) -> None:
    """Writes `.local/env`; every path in it is absolute, so that it can be read from any folder."""
    lines = [
        "# The local stack, for a shell: . .local/env && pulumi preview",
        "# Written by make up and make env; sh, bash and zsh read it.",
    ]
    for folder in reversed(search_path(engine)):
        quoted = shlex.quote(folder)
        lines.append(f'case ":$PATH:" in *:{quoted}:*) ;; *) PATH={quoted}:"$PATH" ;; esac')
    lines.append("export PATH")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in own.items()]
    unset = [*_FOREIGN, *([] if STACK_FILE_VARIABLE in own else [STACK_FILE_VARIABLE])]
    lines.append(f"unset {' '.join(unset)}")
    write_atomically(SHELL_FILE, "\n".join(lines) + "\n", mode=0o600)
