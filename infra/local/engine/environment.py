"""The virtual environment `.venv`: made once, filled from requirements.txt, rebuilt where an interrupt broke it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

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

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "vertex-vllm.json"
#: There while packages are being written: an installer that was killed leaves half a package that looks whole.
INCOMPLETE = VENV / ".incomplete"
#: The installer. Eight times as fast as pip here, and the resolver of `make lock`.
UV_PACKAGE = "uv==0.13.9"
#: Pulumi's policy package and Google's clients have no version of protobuf in common on Python 3.14.
NEWEST_PYTHON = (3, 13)

REQUIREMENTS = ROOT / "requirements.txt"
DEV_REQUIREMENTS = ROOT / "requirements-dev.txt"


def is_ready(dev: bool) -> bool:
    """Whether `.venv` holds just what the requirement files name now (milliseconds)."""
    stamp = read_stamp(STAMP)
    return (
        not INCOMPLETE.exists()
        and stamp.get("root") == str(ROOT)
        and stamp.get("requirements") == content_key(REQUIREMENTS)
        and (not dev or stamp.get("dev") == content_key(DEV_REQUIREMENTS))
        and PYTHON.exists()
    )


def make_ready(dev: bool, children: Children, progress: Progress) -> None:
    """Installs the pinned packages into the `.venv` of `make_venv`; with `dev` those of the tests, too.

    Raises:
        Problem: A package cannot be had.
    """
    stamp = read_stamp(STAMP)
    dev = dev or "dev" in stamp  # what was there stays, in the versions of today
    files = [REQUIREMENTS, DEV_REQUIREMENTS] if dev else [REQUIREMENTS]
    count = sum(1 for file in files for line in file.read_text().splitlines() if "==" in line)
    progress.now("packages", f"installing {count} pinned packages into .venv")
    INCOMPLETE.touch()
    _install([part for file in files for part in ("-r", str(file))], children)
    keys = {"root": str(ROOT), "requirements": content_key(REQUIREMENTS)}
    write_stamp(STAMP, keys | ({"dev": content_key(DEV_REQUIREMENTS)} if dev else {}))
    INCOMPLETE.unlink()
    progress.done("packages", f"{count} pinned packages in .venv")


def make_venv(children: Children, progress: Progress) -> None:
    """Makes an environment that has uv, or at least pip; an existing one that works is kept.

    One that an interrupt left half-filled, that was moved here from elsewhere, or whose Python is gone or of another
    version than this project supports, is made again.

    Raises:
        Problem: Python cannot make environments.
    """
    if VENV.exists():
        reason = _why_rebuild(children)
        if not reason and (_has("uv") or _has("pip")):
            return
        progress.done("packages", f"making .venv again: {reason or 'it has no installer'}")
        _remove(VENV)
    progress.now("packages", "making .venv")
    VENV.mkdir()
    INCOMPLETE.touch()  # until make_ready has filled it
    if sys.version_info[:2] > NEWEST_PYTHON:
        _make_venv_of_older_python(children, progress)
        return
    command = [sys.executable, "-m", "venv", str(VENV)]
    try:
        children.run(command)
    except subprocess.CalledProcessError as error:
        _remove(VENV)
        uv = shutil.which("uv")
        if not uv:
            raise Problem(_no_venv(error)) from error
        children.run([uv, "venv", "--quiet", "--seed", "--allow-existing", "--python", sys.executable, VENV])
    # pip is enough to go on with: uv has no wheel for some machines
    with contextlib.suppress(subprocess.CalledProcessError):
        _pip(["install", UV_PACKAGE], children)


def install_into_folder(package: str, folder: Path, children: Children) -> None:
    """Installs one package, without what it depends on, into a folder of its own; whole or not at all."""
    fresh = folder.with_name(f".{folder.name}.new")
    _remove(fresh)
    _install(["--no-deps", "--target", str(fresh), package], children, timeout=600)
    _remove(folder)
    fresh.rename(folder)


def _install(arguments: list[str], children: Children, timeout: float | None = None) -> None:
    if _has("uv"):
        try:
            uv = str(VENV / "bin" / "uv")
            command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *arguments]
            children.run(command, env=_uv_environment(children), timeout=timeout)
            return
        except subprocess.CalledProcessError as error:
            if not _has("pip"):
                raise Problem(
                    f"The packages cannot be installed:\n{error.stderr}\nDetails: {children.log}"
                ) from error
    # uv does not read pip's configuration files: a machine whose index is named there installs with pip
    try:
        _pip(["install", *arguments], children, timeout)
    except subprocess.CalledProcessError as error:
        raise Problem(
            f"The packages cannot be installed:\n{error.stderr}\nDetails: {children.log}"
        ) from error


def _pip(arguments: list[str], children: Children, timeout: float | None = None) -> None:
    command, *rest = arguments
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    children.run([PYTHON, "-m", "pip", command, *quiet, *rest], timeout=timeout)


def _uv_environment(children: Children) -> dict[str, str]:
    """The environment for uv, with the index that pip has been told to use."""
    env = dict(os.environ)
    env.setdefault("UV_PYTHON_DOWNLOADS", "never")
    if certificates := env.get("PIP_CERT"):
        env.setdefault("SSL_CERT_FILE", certificates)
    if _has("pip") and "UV_DEFAULT_INDEX" not in env and "UV_INDEX_URL" not in env:
        for setting, variable in (("index-url", "UV_DEFAULT_INDEX"), ("extra-index-url", "UV_INDEX")):
            with contextlib.suppress(subprocess.CalledProcessError):
                if value := children.run([PYTHON, "-m", "pip", "config", "get", f"global.{setting}"]):
                    env[variable] = value
    return env


def _why_rebuild(children: Children) -> str:
    if INCOMPLETE.exists():
        return "its last installation was interrupted"
    if read_stamp(STAMP).get("root", str(ROOT)) != str(ROOT):
        return "it was made in another folder"
    try:
        said = children.run([PYTHON, "-c", "import sys; print(*sys.version_info[:2])"])
        version = tuple(int(part) for part in said.split())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return "its Python does not run"
    if not (3, 11) <= version <= NEWEST_PYTHON:
        return f"its Python is {'.'.join(map(str, version))}, the packages need 3.11 to 3.13"
    return ""


def _make_venv_of_older_python(children: Children, progress: Progress) -> None:
    """Lets uv fetch Python 3.13, because the Python that runs this is newer than the packages support."""
    tools = LOCAL / "uv"
    try:
        if not (uv := shutil.which("uv")):
            _remove(tools)
            children.run([sys.executable, "-m", "venv", tools])
            children.run([tools / "bin" / "python", "-m", "pip", "install", "--quiet", UV_PACKAGE])
            uv = str(tools / "bin" / "uv")
        progress.now("packages", "fetching Python 3.13")
        command = [uv, "venv", "--quiet", "--seed", "--allow-existing", "--python", ">=3.11,<3.14", str(VENV)]
        children.run(command, timeout=300)
        _pip(["install", UV_PACKAGE], children)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        _remove(VENV)
        here = ".".join(map(str, sys.version_info[:2]))
        raise Problem(
            f"This Python is {here}; the pinned packages need 3.11, 3.12 or 3.13 (Pulumi's policy package and Google's "
            "clients have no version of protobuf in common on later ones), and none could be fetched.\n"
            "Install one of them and run make again, or name it: make PYTHON=/path/to/python3.13"
        ) from error
    finally:
        _remove(tools)


def _no_venv(error: subprocess.CalledProcessError) -> str:
    version = ".".join(map(str, sys.version_info[:2]))
    if "ensurepip" in f"{error.stdout!r}{error.stderr}":
        return (
            f"{sys.executable} cannot make virtual environments: its ensurepip module is missing.\n"
            f"On Debian and Ubuntu it is a package of its own: apt-get install python3-venv (or python{version}-venv). "
            "Then run make again."
        )
    return f"{sys.executable} -m venv .venv failed:\n{error.stderr}"


def _has(tool: str) -> bool:
    return (VENV / "bin" / tool).exists()


def _remove(folder: Path) -> None:
    """Removes a folder, first out of the way: an interrupt leaves nothing half-removed under its name."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        gone = folder.with_name(f".{folder.name.lstrip('.')}.old-{os.getpid()}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
