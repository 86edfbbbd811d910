"""What the commands show."""

from __future__ import annotations

from infra.local.stack.report import printable


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    assert printable(" a\x1b[31mred\x07\r\n\u0000b\u200e ñ 漢 ") == "a·[31mred··\n·b· ñ 漢"
