"""Which of a container's lines are shown."""

from __future__ import annotations

import pytest

from infra.provider.logs import _lines, excerpt, log_filter

USAGE = ["error usage: api_server.py [-h] [--host HOST]", *["error      [--port PORT] [--x {a,b}]"] * 120]
REFUSED = "error api_server.py: error: unrecognized arguments: --swap-spce=16"


def test_usage_becomes_one_line() -> None:
    assert excerpt([*USAGE, REFUSED]) == [USAGE[0], "... (120 more lines of usage)", REFUSED]


def test_usage_whose_first_line_is_too_old_becomes_one_line() -> None:
    assert excerpt([*USAGE[50:], REFUSED]) == ["... (71 more lines of usage)", REFUSED]


def test_usage_of_a_newer_version_becomes_one_line() -> None:
    front = "error (APIServer pid=1) "
    lines = [
        f"{front}usage: vllm serve [model_tag] [options]",
        f"{front}             [--port",
        f"{front}PORT]",
        REFUSED,
    ]
    assert excerpt(lines) == [lines[0], "... (1 more line of usage)", lines[2], REFUSED]


def test_a_traceback_is_no_usage() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in <module>',
        "    [-1]",
        "KeyError: 1",
    ]
    assert excerpt(lines) == lines


def test_what_decides_is_shown_however_much_follows() -> None:
    after = [f"INFO:     shutting down {number}" for number in range(30)]
    assert excerpt([*USAGE, REFUSED, *after]) == [REFUSED, "...", *after[-20:]]
    lines = ["one", "error ValueError: first", "error torch.OutOfMemoryError: CUDA out of memory.", *after]
    assert excerpt(lines, 3) == [lines[2], "...", *after[-3:]]
    assert excerpt(["error a.b.WeirdError: no", "two", *after], 3) == [
        "error a.b.WeirdError: no",
        "...",
        *after[-3:],
    ]


def test_the_last_lines_are_shown() -> None:
    lines = [str(number) for number in range(30)]
    assert excerpt(lines) == lines[-20:]
    assert excerpt([]) == []


def test_the_filter_begins_with_the_deployment() -> None:
    assert log_filter("5", "7", "2026-08-22T10:00:00Z").endswith(
        'AND labels.deployed_model_id="7" AND timestamp>="2026-08-22T10:00:00Z"'
    )
    assert "timestamp" not in log_filter("5", "7")


@pytest.mark.parametrize(
    ("severity", "line", "shown"),
    [
        ("ERROR", "INFO:     Started server process [1]", "INFO:     Started server process [1]"),
        ("INFO", "ERROR 11-26 21:19:38 engine.py] died", "ERROR 11-26 21:19:38 engine.py] died"),
        ("ERROR", "(EngineCore pid=132) ERROR 11-26 died", "(EngineCore pid=132) ERROR 11-26 died"),
        ("ERROR", "Loading: 50% Completed | 1/2", "Loading: 50% Completed | 1/2"),
        ("ERROR", "ValueError: no", "error ValueError: no"),
        ("WARNING", "deprecated", "warning deprecated"),
        ("", "plain", "plain"),
    ],
)
def test_a_line_has_the_level_that_it_says_of_itself(severity: str, line: str, shown: str) -> None:
    assert _lines({"severity": severity, "textPayload": line}) == [shown]
