from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.engine.steps import Problem
from infra.local.stack import server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clone of its own, whose usual port is taken by nobody in particular; its server ends with the test."""
    folder = tmp_path / "a clone" / ".local" / "cloud"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        usual = probe.getsockname()[1]
    monkeypatch.setattr(server, "STATE", folder)
    monkeypatch.setattr(server, "LOG", folder / "server.log")
    monkeypatch.setattr(server, "PORT", folder / "port")
    monkeypatch.setattr(server, "USUAL_PORT", usual)
    yield folder
    server.stop()


def test_one_server_serves_until_it_is_stopped(state: Path, said: list[str]) -> None:
    assert server.find() is None
    first = server.ensure("simulated", said.append)
    assert first.url == f"http://127.0.0.1:{server.USUAL_PORT}"
    assert server.ensure("simulated", said.append) == first == server.find()
    assert server.stop() is True
    assert server.find() is None
    assert server.stop() is False
    assert said == []


def test_the_port_stays_over_restarts(state: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = server.ensure("simulated", said.append)
    server.stop()
    monkeypatch.setattr(server, "USUAL_PORT", 1)
    assert server.ensure("simulated", said.append).url == first.url


def test_a_port_that_another_clone_has_is_left_to_it(state: Path, said: list[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.USUAL_PORT))
        other.listen()
        found = server.ensure("simulated", said.append)
    assert not found.url.endswith(f":{server.USUAL_PORT}")
    assert found.state() is not None


def test_another_container_starts_the_server_again(state: Path, said: list[str]) -> None:
    first = server.ensure("simulated", said.append)
    second = server.ensure("http://127.0.0.1:9", said.append)
    assert (second.container, second.url) == ("http://127.0.0.1:9", first.url)
    assert second.pid != first.pid
    assert said == [
        "the local cloud starts again: its containers were simulated, now http://127.0.0.1:9",
    ]


def test_a_server_that_cannot_start_shows_its_log(
    state: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SERVE", (*server._SERVE, "--no-such-option"))
    with pytest.raises(Problem, match="no-such-option"):
        server.ensure("simulated", said.append)
