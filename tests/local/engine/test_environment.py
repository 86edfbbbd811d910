from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from infra.local.engine import environment
from infra.local.engine.steps import Children, Problem, Progress


class Recorded(Children):
    """Commands are noted; `python -m venv` makes what the real one would, the others do nothing."""

    def __init__(self, log: Path, fails: str = "") -> None:
        super().__init__(log)
        self.commands: list[str] = []
        self.fails = fails

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path = Path("/"),
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        words = [str(word) for word in command]
        self.commands.append(" ".join(words))
        if self.fails and self.fails in self.commands[-1]:
            raise subprocess.CalledProcessError(1, words, "", f"{self.fails} is not available")
        if "venv" in words:
            bin_folder = environment.VENV / "bin"
            bin_folder.mkdir(exist_ok=True)
            (bin_folder / "python").symlink_to(sys.executable)
            (bin_folder / "pip").touch()
        if words[-1] == environment.UV_PACKAGE:
            (environment.VENV / "bin" / "uv").touch()
        if "print(*sys.version_info[:2])" in self.commands[-1]:
            return "3 12"
        return ""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty clone with two requirement files, whose .venv the module makes."""
    (tmp_path / "requirements.txt").write_text("a==1\nb==2\n")
    (tmp_path / "requirements-dev.txt").write_text("c==3\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(environment, "STAMP", tmp_path / ".venv" / "vertex-vllm.json")
    monkeypatch.setattr(environment, "INCOMPLETE", tmp_path / ".venv" / ".incomplete")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(environment, "DEV_REQUIREMENTS", tmp_path / "requirements-dev.txt")
    return tmp_path


def set_up(clone: Path, dev: bool = False, fails: str = "") -> list[str]:
    """One run of the set-up; the commands that it ran."""
    children = Recorded(clone / "setup.log", fails)
    if not environment.is_ready(dev):
        environment.make_venv(children, Progress())
        environment.make_ready(dev, children, Progress())
    return children.commands


def test_a_second_run_does_nothing(clone: Path) -> None:
    commands = set_up(clone)
    assert any("-m venv" in command for command in commands)
    assert any("uv pip install" in command and "requirements.txt" in command for command in commands)
    assert set_up(clone) == []


def test_a_changed_pin_installs_again_without_a_new_environment(clone: Path) -> None:
    set_up(clone)
    (clone / "requirements.txt").write_text("a==1\nb==3\n")
    commands = set_up(clone)
    assert any("uv pip install" in command for command in commands)
    assert not any("-m venv" in command for command in commands)


def test_the_tests_packages_are_kept_up_to_date_once_they_are_there(clone: Path) -> None:
    set_up(clone, dev=True)
    (clone / "requirements.txt").write_text("a==1\nb==3\n")
    assert any("requirements-dev.txt" in command for command in set_up(clone))
    assert environment.is_ready(dev=True)


def test_an_interrupted_installation_is_made_again_from_nothing(clone: Path) -> None:
    with pytest.raises(Problem):
        set_up(clone, fails=" -r ")
    assert environment.INCOMPLETE.exists()
    assert not environment.is_ready(dev=False)
    assert any("-m venv" in command for command in set_up(clone))
    assert environment.is_ready(dev=False)


def test_an_environment_of_another_folder_is_made_again(clone: Path) -> None:
    set_up(clone)
    stamp = environment.STAMP.read_text()
    environment.STAMP.write_text(stamp.replace(str(clone), "/elsewhere"))
    assert any("-m venv" in command for command in set_up(clone))


def test_pip_installs_where_uv_cannot(clone: Path) -> None:
    commands = set_up(clone, fails="uv pip install")
    assert any("-m pip install" in command and "requirements.txt" in command for command in commands)
    assert environment.is_ready(dev=False)


def test_a_python_without_ensurepip_names_the_package(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone))
    monkeypatch.setattr(Recorded, "run", _without_ensurepip)
    with pytest.raises(Problem, match="apt-get install python3-venv"):
        set_up(clone)
    assert not environment.VENV.exists()


def _without_ensurepip(self: Recorded, command: Sequence[str | Path], **_: object) -> str:
    said = "The virtual environment was not created successfully because ensurepip is not available."
    raise subprocess.CalledProcessError(1, [str(word) for word in command], said, "")


def test_a_user_made_environment_is_used_as_it_is(clone: Path) -> None:
    bin_folder = clone / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(sys.executable)
    (bin_folder / "pip").touch()
    (bin_folder / "mine").touch()
    set_up(clone)
    assert (bin_folder / "mine").exists()
    assert environment.is_ready(dev=False)
