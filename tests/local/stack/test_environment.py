from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.local.engine.pulumi import Engine
from infra.local.stack import environment

URL = "http://127.0.0.1:40000"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "it's an engine", "3.220.0", "modules")


@pytest.fixture
def shell_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `.local/env` goes: a folder whose name has a space, a quote and a dollar."""
    path = tmp_path / "a clone's $HOME" / ".local" / "env"
    monkeypatch.setattr(environment, "SHELL_FILE", path)
    monkeypatch.setattr(environment, "VENV", path.parent / "venv")
    return path


def sourced(
    shell_file: Path, *names: str, times: int = 1, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Values of variables in a shell that has read the file from another folder."""
    script = '. "$FILE"; ' * times + "".join(f'printf "%s\\0" "${{{name}-(unset)}}"; ' for name in names)
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        env={"FILE": str(shell_file), "PATH": "/usr/bin:/bin"} | dict(given or {}),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(names, done.stdout.split("\0"), strict=False))


def test_a_shell_reads_what_our_own_processes_get(engine: Engine, shell_file: Path) -> None:
    own = environment.variables(URL, home=shell_file.parent / "home", inherited={})
    environment.write_shell_file(engine, own)
    assert sourced(shell_file, *own) == own
    assert own["LOCAL_CLOUD_URL"] == URL
    assert own["GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT"] == f"{URL}/v1beta1/"


def test_the_packages_python_comes_first_then_the_engine_once(engine: Engine, shell_file: Path) -> None:
    environment.write_shell_file(engine, environment.variables(URL, inherited={}))
    path = sourced(shell_file, "PATH", times=2)["PATH"].split(":")
    assert path == [str(shell_file.parent / "venv" / "bin"), str(engine.folder), "/usr/bin", "/bin"]


def test_what_leads_elsewhere_is_taken_away(engine: Engine, shell_file: Path) -> None:
    environment.write_shell_file(engine, environment.variables(URL, inherited={}))
    given = {"PULUMI_STACK": "prod", "GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}
    found = sourced(shell_file, *given, given=given)
    assert set(found.values()) == {"(unset)"}


def test_the_stack_file_of_an_earlier_run_is_forgotten(engine: Engine, shell_file: Path) -> None:
    name = environment.STACK_FILE_VARIABLE
    chosen = environment.variables(URL, stack_file="stacks/a b.yaml", inherited={})
    environment.write_shell_file(engine, chosen)
    assert sourced(shell_file, name) == {name: "stacks/a b.yaml"}
    environment.write_shell_file(engine, environment.variables(URL, inherited={}))
    assert sourced(shell_file, name, given={name: "stacks/old.yaml"}) == {name: "(unset)"}


def test_only_the_owner_reads_the_file(engine: Engine, shell_file: Path) -> None:
    environment.write_shell_file(engine, environment.variables(URL, inherited={}))
    assert shell_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("inherited", "exempt"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "corp.example"}, "127.0.0.1,localhost,corp.example"),
        ({"no_proxy": "127.0.0.1,localhost,corp.example"}, "127.0.0.1,localhost,corp.example"),
    ],
)
def test_loopback_never_goes_through_a_proxy(inherited: dict[str, str], exempt: str) -> None:
    own = environment.variables(URL, inherited=inherited)
    assert own["NO_PROXY"] == own["no_proxy"] == exempt


def test_our_processes_get_the_users_environment_less_what_leads_elsewhere(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "pul-x")
    monkeypatch.setenv(environment.STACK_FILE_VARIABLE, "stacks/old.yaml")
    env = environment.child_environment(engine, environment.variables(URL))
    assert env["LANG"] == "C"
    assert "PULUMI_ACCESS_TOKEN" not in env
    assert environment.STACK_FILE_VARIABLE not in env
    assert env["PATH"].split(":")[:2] == environment.search_path(engine)
