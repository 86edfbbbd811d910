from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.engine import golang, pulumi
from infra.local.engine.pulumi import MODULES, VERSION, Engine, installed_engine, make_engine
from infra.local.engine.steps import Children, Problem, Progress, write_stamp


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone without an engine, on a machine with nothing on PATH and no network."""
    folder = tmp_path / ".local" / "engine"
    monkeypatch.setattr(pulumi, "ROOT", tmp_path)
    monkeypatch.setattr(pulumi, "ENGINES", folder)
    monkeypatch.setattr(pulumi, "STAMP", folder / "engine.json")
    monkeypatch.setattr(pulumi, "_answers", lambda url: False)
    monkeypatch.setattr(golang, "LOCAL", tmp_path / ".local")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin:/usr/bin")
    monkeypatch.delenv("ENGINE", raising=False)
    return folder


@pytest.fixture
def children(tmp_path: Path) -> Children:
    return Children(tmp_path / "setup.log")


def command(folder: Path, name: str, says: str) -> Path:
    """A command that only says something."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def make(children: Children) -> Engine:
    return make_engine(children, Progress(), lambda: None)


def test_a_recent_engine_on_path_is_used_and_remembered(
    engines: Path, tmp_path: Path, children: Children
) -> None:
    command(tmp_path / "path", "pulumi", "v3.251.0")
    command(tmp_path / "path", "pulumi-language-python", "")
    assert installed_engine() is None
    assert make(children) == Engine(tmp_path / "path", "3.251.0", "path")
    assert installed_engine() == Engine(tmp_path / "path", "3.251.0", "path")


@pytest.mark.parametrize(("version", "host"), [("v3.219.9", True), ("v3.251.0", False), ("nonsense", True)])
def test_an_engine_on_path_that_cannot_do_it_is_left(
    engines: Path,
    tmp_path: Path,
    children: Children,
    version: str,
    host: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command(tmp_path / "path", "pulumi", version)
    if host:
        command(tmp_path / "path", "pulumi-language-python", "")
    monkeypatch.setenv("ENGINE", "path")
    with pytest.raises(Problem, match="led to no engine"):
        make(children)


def test_our_own_engine_on_path_counts_by_its_stamp_only(engines: Path, children: Children) -> None:
    folder = engines / "pulumi-3.220.0-x"
    command(folder, "pulumi", "v3.251.0")
    command(folder, "pulumi-language-python", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:/bin:/usr/bin")
        patch.setenv("ENGINE", "path")
        with pytest.raises(Problem):
            make(children)


def test_an_engine_that_is_gone_or_of_other_pins_is_not_there(engines: Path, tmp_path: Path) -> None:
    pulumi_command = command(engines / "one", "pulumi", "")
    stamp = {"folder": ".local/engine/one", "version": VERSION, "source": "modules", "key": pulumi._key()}
    write_stamp(pulumi.STAMP, stamp)
    assert installed_engine() == Engine(engines / "one", VERSION, "modules")
    write_stamp(pulumi.STAMP, stamp | {"key": "older"})
    assert installed_engine() is None
    write_stamp(pulumi.STAMP, stamp)
    pulumi_command.unlink()
    assert installed_engine() is None


def test_an_unknown_way_lists_the_ways(
    engines: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE", "magic")
    with pytest.raises(Problem, match="path, installer, modules"):
        make(children)


def test_without_any_way_the_message_says_what_to_install(
    engines: Path, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path / "path", "go", "go version go1.21.3 linux/amd64")  # too old for the go.mod

    def refused(*_: object) -> None:
        raise Problem("no matching distribution")

    monkeypatch.setattr(golang, "install_into_folder", refused)
    with pytest.raises(Problem) as problem:
        make(children)
    assert "Install Pulumi" in str(problem.value)
    assert "Go 1.24.7 or later" in str(problem.value)
    assert not list(engines.glob(".build*"))


def test_the_pins_of_the_modules_agree_with_the_version() -> None:
    go_mod = (MODULES / "pulumi" / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{VERSION} " in go_mod
    assert f"github.com/pulumi/pulumi/sdk/v3 v{VERSION} " in go_mod
    assert "replace github.com/atotto/clipboard => github.com/tgummerer/clipboard" in go_mod
    for module in ("pulumi", "language-python"):
        assert (MODULES / module / "go.sum").stat().st_size > 10_000


@pytest.fixture
def host() -> Iterator[http.server.HTTPServer]:
    """A server that answers HEAD with the status that `status` names."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_HEAD(self) -> None:
            self.send_response(type(self).status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "answers"), [(200, True), (404, True), (403, False), (407, False)])
def test_a_host_that_a_proxy_refuses_does_not_answer(
    host: http.server.HTTPServer, status: int, answers: bool
) -> None:
    host.RequestHandlerClass.status = status  # type: ignore[attr-defined]
    assert pulumi._answers(f"http://127.0.0.1:{host.server_port}") is answers


def test_a_host_that_is_not_there_does_not_answer(host: http.server.HTTPServer) -> None:
    port = host.server_port
    host.server_close()
    assert pulumi._answers(f"http://127.0.0.1:{port}") is False
