from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from infra.local.engine.steps import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose path has a space, with the script and a set-up that only says which Python runs it."""
    clone = tmp_path / "a clone"
    (clone / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", clone / "scripts")
    return clone


def fake_python(folder: Path, name: str, fits: bool, complete: bool = True) -> None:
    """A Python that answers the script's two questions; run on the set-up it says its name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(
        "#!/bin/sh\n"
        f'case "$2" in *ensurepip*) exit {0 if fits and complete else 1} ;; *print*) echo " (python3 is 3.9)" ;;\n'
        f'  *version_info*) exit {0 if fits else 1} ;; infra.local.engine) echo "{name} $3" ;; esac\n'
    )
    (folder / name).chmod(0o755)


def run(clone: Path, path: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    tools = path / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("sh", "dirname", "cat"):
        if not (tools / tool).exists():
            (tools / tool).symlink_to(shutil.which(tool) or "")
    return subprocess.run(
        ["/bin/sh", str(clone / "scripts" / "setup.sh"), *arguments],
        env={"PATH": f"{path}:{tools}"} | env,
        capture_output=True,
        text=True,
    )


def test_the_newest_python_that_fits_is_taken(clone: Path, tmp_path: Path) -> None:
    path = tmp_path / "path"
    fake_python(path, "python3", fits=False)
    fake_python(path, "python3.11", fits=True)
    fake_python(path, "python3.13", fits=True, complete=False)
    assert run(clone, path, "--dev").stdout == "python3.11 --dev\n"


def test_one_that_cannot_make_environments_is_the_last_resort(clone: Path, tmp_path: Path) -> None:
    fake_python(tmp_path / "path", "python3", fits=True, complete=False)
    assert run(clone, tmp_path / "path").stdout == "python3 \n"


def test_a_named_python_is_taken(clone: Path, tmp_path: Path) -> None:
    fake_python(tmp_path / "path", "python3.12", fits=True)
    fake_python(tmp_path / "path", "mine", fits=True)
    assert run(clone, tmp_path / "path", PYTHON="mine").stdout == "mine \n"


def test_an_old_python_alone_is_an_instruction(clone: Path, tmp_path: Path) -> None:
    fake_python(tmp_path / "path", "python3", fits=False)
    done = run(clone, tmp_path / "path")
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed; there is none on PATH (python3 is 3.9)." in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr


def test_a_named_python_that_is_not_there_is_named(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "path").mkdir()
    done = run(clone, tmp_path / "path", PYTHON="/no/such/python")
    assert done.returncode == 1
    assert "PYTHON=/no/such/python: there is no such command." in done.stderr
