"""The pictures of the README: what a command prints to a terminal, drawn, and nothing loaded from anywhere."""

from __future__ import annotations

import html
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

from infra.cli.app import app
from scripts import record

ROOT = Path(__file__).resolve().parents[2]
PYTHON = shlex.quote(sys.executable)


def words(svg: str) -> str:
    """The text of a picture, its lines one after the other."""
    return html.unescape(re.sub(r"<[^>]+>", " ", svg.partition("<g class=")[2]))


def test_a_command_runs_in_a_terminal_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "7")
    program = "import os,sys; print(sys.stdout.isatty(), os.get_terminal_size().columns, os.environ.get('NO_COLOR'))"
    assert record.capture(f'{PYTHON} -c "{program}"', 91) == "True 91 None\n"


def test_a_command_reads_the_environment_first(tmp_path: Path) -> None:
    settings = tmp_path / "with space"
    settings.write_text("export WHERE=here\n")
    assert record.capture('echo "$WHERE"', 80, environment=settings) == "here\n"


def test_a_command_that_fails_makes_no_picture() -> None:
    with pytest.raises(record.Failed, match=r"ended with 3:\nno"):
        record.capture("echo no >&2; exit 3", 80)


def test_one_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_SECONDS", 0.2)
    with pytest.raises(record.Failed, match="did not end within 0 s"):
        record.capture("sleep 5", 80)


def test_drawn_with_its_colours_and_nothing_from_a_server() -> None:
    svg = record.draw(
        [("./it --now", "\x1b[1;31mno\x1b[0m <plain> & 漢\n"), ("next", "")], title="a title", width=40
    )
    assert "$ ./it --now" in re.sub(r"\s+", " ", words(svg))
    assert "<plain>" in re.sub(r"\s+", " ", words(svg))
    assert "a&#160;title" in svg
    assert re.search(r"fill: #[0-9a-f]{6};font-weight: bold", svg)
    assert re.findall(r"https?://[^\s\"<]+", svg) == [
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    ]
    assert "@font-face" not in svg


def test_what_says_where_this_clone_lies_makes_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "env"
    settings.write_text("")
    monkeypatch.setattr(record, "ENVIRONMENT", settings)
    monkeypatch.setattr(record, "DOCS", tmp_path)
    with pytest.raises(record.Failed, match="which is nobody else's"):
        record.record(record.Picture("x", "x", ("pwd",)))
    assert record.record(record.Picture("y", "y", ("echo fine",))) == tmp_path / "y.svg"
    assert "fine" in (tmp_path / "y.svg").read_text()


def test_unknown_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert record.main(["nix"]) == 2
    assert "There is no picture nix; there are explain, " in capsys.readouterr().err


@pytest.mark.parametrize("picture", record.PICTURES, ids=lambda each: each.name)
def test_every_picture_is_in_docs_and_shows_commands_that_exist(picture: record.Picture) -> None:
    svg = (ROOT / "docs" / f"{picture.name}.svg").read_text(encoding="utf-8")
    commands = getattr(typer.main.get_command(app), "commands", {})
    for line in picture.lines:
        assert line in re.sub(r"\s+", " ", words(svg)), line
        assert re.findall(r"\./vertex-vllm ([\w-]+)", line)[-1] in commands
    assert str(ROOT) not in svg
