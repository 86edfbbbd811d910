"""The Pulumi engine: the one on PATH where it is recent, else the official installer's, else built from Go modules."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.engine.environment import PYTHON
from infra.local.engine.golang import Go, find_go
from infra.local.engine.steps import (
    LOCAL,
    ROOT,
    Children,
    Problem,
    Progress,
    content_key,
    read_stamp,
    write_stamp,
)

#: The engine that is installed or built. Later ones start policy packs with a call that the language host below lacks.
VERSION = "3.220.0"
MODULES = Path(__file__).parent / "modules"
ENGINES = LOCAL / "engine"
STAMP = ENGINES / "engine.json"

_INSTALLER_HOST = "https://get.pulumi.com"
_PROBE_SECONDS = 4
_INSTALL_SECONDS = 180

_CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_SDK = "github.com/pulumi/pulumi/sdk/v3"
_LANGUAGE_HOST = f"{_SDK}/python/cmd/pulumi-language-python"
#: What the language host runs; they lie in the SDK's module, not in its Python package.
_HELPERS = (
    "python/cmd/pulumi-language-python-exec",
    "python/dist/pulumi-resource-pulumi-python",
    "python/dist/pulumi-analyzer-policy-python",
)


@dataclass(frozen=True)
class Engine:
    """An engine that is there: the folder of its commands, its version and how it came."""

    folder: Path
    version: str
    source: str

    @property
    def command(self) -> Path:
        """The `pulumi` command itself."""
        return self.folder / "pulumi"


def installed_engine() -> Engine | None:
    """The engine that an earlier run settled on, where it is still the right one (milliseconds)."""
    stamp = read_stamp(STAMP)
    if stamp.get("key") != _key() or not {"folder", "version", "source"} <= stamp.keys():
        return None
    wanted = os.environ.get("ENGINE")
    if wanted and wanted != stamp["source"]:
        return None
    # Ours is kept relative to the clone, which may be moved.
    engine = Engine(ROOT / stamp["folder"], stamp["version"], stamp["source"])
    return engine if engine.command.exists() else None


def make_engine(children: Children, progress: Progress, packages_ready: Callable[[], None]) -> Engine:
    """Finds, installs or builds the engine, whichever comes first.

    Args:
        children: Runs the commands.
        progress: Shows what happens.
        packages_ready: Returns when `.venv` is filled; the official installer is a function of Pulumi's package.

    Environment variable `ENGINE` (path, installer or modules) names the only way to try.

    Raises:
        Problem: No way led to an engine.
    """
    wanted = os.environ.get("ENGINE") or ""
    ways: dict[str, Callable[[], Engine | None]] = {
        "path": lambda: _from_path(children, progress),
        "installer": lambda: _from_installer(children, progress, packages_ready),
        "modules": lambda: _from_modules(children, progress),
    }
    if wanted and wanted not in ways:
        raise Problem(f"ENGINE={wanted}: there are these ways to an engine: {', '.join(ways)}")
    for name, way in ways.items():
        if wanted in ("", name) and (engine := way()):
            folder = engine.folder.relative_to(ROOT) if ROOT in engine.folder.parents else engine.folder
            write_stamp(STAMP, asdict(engine) | {"folder": str(folder), "key": _key()})
            progress.done("engine", f"Pulumi {engine.version}, {_ORIGIN[engine.source]}")
            return engine
    raise Problem(f"ENGINE={wanted} led to no engine. Details: {children.log}")


_ORIGIN = {
    "path": "found on PATH",
    "installer": "from the official installer",
    "modules": "built from Go modules",
}


def _key() -> str:
    files = sorted(MODULES.glob("*/go.*"))
    return content_key(VERSION, platform.machine(), *files)


def _from_path(children: Children, progress: Progress) -> Engine | None:
    found = shutil.which("pulumi")
    if not found:
        return None
    folder = Path(found).parent
    if ENGINES in folder.parents:  # ours, from a shell that has .local/env: judged by its stamp, not by PATH
        return None
    if not shutil.which("pulumi-language-python"):
        progress.done("engine", f"{found} has no Python language host beside it: not used")
        return None
    try:
        version = children.run([found, "version"], timeout=60).lstrip("v")
    except (OSError, subprocess.SubprocessError):
        return None
    if _numbers(version) < _numbers(VERSION):
        progress.done("engine", f"{found} is {version}, older than {VERSION}: not used")
        return None
    return Engine(folder, version, "path")


def _from_installer(
    children: Children, progress: Progress, packages_ready: Callable[[], None]
) -> Engine | None:
    progress.now("engine", "asking for the official installer")
    if not _answers(_INSTALLER_HOST):
        return None
    packages_ready()
    progress.now("engine", f"installing Pulumi {VERSION} with the official installer")
    folder = ENGINES / f"official-{VERSION}"
    install = (
        "import sys, semver; from pulumi.automation import PulumiCommand; "
        "PulumiCommand.install(root=sys.argv[1], version=semver.VersionInfo.parse(sys.argv[2]))"
    )
    fresh = ENGINES / f".official.{os.getpid()}"
    try:
        children.run([PYTHON, "-c", install, fresh, VERSION], timeout=_INSTALL_SECONDS)
    except subprocess.SubprocessError:
        shutil.rmtree(fresh, ignore_errors=True)
        return None
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return Engine(folder / "bin", VERSION, "installer")


def _from_modules(children: Children, progress: Progress) -> Engine:
    scratch = ENGINES / "scratch"
    go = find_go(_go_needed(), scratch, children, progress)
    folder = ENGINES / f"pulumi-{VERSION}-{_key()}"
    fresh = ENGINES / f".build.{os.getpid()}"
    for leftover in ENGINES.glob(".build.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    progress.now("engine", f"building Pulumi {VERSION} from Go modules (two to four minutes, once)")
    version = f"-s -w -X {_SDK}/go/common/version.Version=v{VERSION}"
    _build(go, "pulumi", version, fresh, _CLI, children)
    progress.now("engine", "building Pulumi's Python language host")
    _build(go, "language-python", "-s -w", fresh, _LANGUAGE_HOST, children)
    sdk = children.run([go.command, "list", "-m", "-f", "{{.Dir}}", _SDK], cwd=MODULES / "pulumi", env=go.env)
    for helper in _HELPERS:
        copy = Path(shutil.copy(Path(sdk) / helper, fresh))
        copy.chmod(copy.stat().st_mode | stat.S_IWUSR | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    built = children.run([fresh / "pulumi", "version"]).lstrip("v")
    if built != VERSION:
        raise Problem(
            f"The engine that was built says that it is {built}, not {VERSION}. Details: {children.log}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    return Engine(folder, VERSION, "modules")


def _build(go: Go, module: str, ldflags: str, folder: Path, package: str, children: Children) -> None:
    # The name of the command is the last part of the package's path, also where that is below a /v3.
    target = folder / package.rsplit("/", 1)[1]
    try:
        children.run(
            [go.command, "build", "-ldflags", ldflags, "-o", target, package],
            cwd=MODULES / module,
            env=go.env,
        )
    except subprocess.CalledProcessError as error:
        raise Problem(
            f"Pulumi {VERSION} could not be built from Go modules:\n{error.stderr}\n"
            f"Run make again (what was downloaded is kept), or install Pulumi {VERSION} or later.\n"
            f"Details: {children.log}"
        ) from error


def _go_needed() -> tuple[int, int, int]:
    """The `go` line of the engine's go.mod."""
    found = re.search(r"^go (\d+)\.(\d+)\.(\d+)$", (MODULES / "pulumi" / "go.mod").read_text(), re.M)
    if not found:
        raise Problem(f"{MODULES / 'pulumi' / 'go.mod'} has no line `go X.Y.Z`")
    return int(found[1]), int(found[2]), int(found[3])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])


def _answers(url: str) -> bool:
    """Whether a host answers within seconds; a resolver that hangs does not keep us longer than that."""
    answers: list[int] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_SECONDS):
                answers.append(200)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
        except OSError:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PROBE_SECONDS + 1)
    return bool(answers) and answers[0] not in (401, 403, 407, 502, 503)  # what a filtering proxy says
