"""The report as GitHub's Markdown, for a comment on a pull request.

Owns that nothing a user wrote is taken for Markdown or HTML, mentions anybody, refers to an issue or makes a link, and
that the text stays below what GitHub takes: what is too long is cut, with a line that says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from infra.report.content import Report, Verdict
from infra.report.sections import Block, Items, Lines, Section, Table, Text, sections, summary

__all__ = ["LIMIT", "marker", "render"]

LIMIT: Final = 65_536
"""Characters that GitHub takes in a comment."""

_ROOM: Final = 65_000  # counted in bytes, of which a character has one or more
_LONGEST: Final = 1_500  # characters of one text
_REASONS: Final = 12
_ICONS: Final = {Verdict.READY: "✅", Verdict.LOOK: "⚠️", Verdict.NOT_READY: "❌"}

# Whatever could begin or end something; an underscore within a word does neither.
_MARKS: Final = re.compile(r"[&<>\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
# A word that GitHub would turn into a mention, a reference, a link, an emoji or a formula; in <code> it does not.
_ACTIVE: Final = re.compile(r"@|#\d|\bGH-\d|://|\bwww\.|:[\w+-]+:|\$|\b[0-9a-f]{40}\b", re.IGNORECASE)
_BLOCK_START: Final = re.compile(r"(?:[-+=#]|\d+[.)])")


def render(report: Report) -> str:
    """The whole comment; never longer than :data:`LIMIT`."""
    head = _head(report)
    foot = "\n<sub>Written by <code>vertex-vllm report</code>.</sub>\n"
    parts, room = [head], _ROOM - _size(head) - _size(foot)
    found = sections(report)
    for place, section in enumerate(found):
        # Each of those that follow keeps room to say that it is cut.
        kept = 300 * (len(found) - place - 1)
        part = _section(section, room - kept)
        parts.append(part)
        room -= _size(part)
    return "".join(parts) + foot


def marker(report: Report) -> str:
    """The hidden first line, by which a workflow finds its comment again."""
    return f"<!-- vertex-vllm report {re.sub(r'[^A-Za-z0-9_./-]', '-', report.subject)} -->"


def _head(report: Report) -> str:
    lines = [
        marker(report),
        f"### {_ICONS[report.verdict]} {_code(report.subject)}: {_escaped(report.title)}",
        "",
    ]
    for reason in report.reasons[:_REASONS]:
        lines.append(f"- **{_escaped(reason.failure.value)}**: {_text(_cut(reason.text, 900))}")
    if len(report.reasons) > _REASONS:
        lines.append(f"- _and {len(report.reasons) - _REASONS} more_")
    if report.reasons:
        lines.append("")
    lines += ["| | |", "|:--|:--|"]
    lines += [f"| **{_escaped(name)}** | {_text(_cut(text, 900))} |" for name, text in summary(report)]
    return "\n".join(lines) + "\n"


def _section(section: Section, room: int) -> str:
    """A folded section of at most so many bytes."""
    start = f"\n<details{' open' if section.open else ''}><summary>{_escaped(section.title)}</summary>\n"
    end = "\n</details>\n"
    notice = (
        "\n_Cut here: a comment has only so much room. `vertex-vllm report --format html` shows all of it._\n"
    )
    left = room - _size(start) - _size(end) - _size(notice)
    parts = [start]
    for block in section.blocks:
        text, whole = _block(block, left)
        parts.append(text)
        left -= _size(text)
        if not whole:
            parts.append(notice)
            break
    return "".join(parts) + end


def _block(block: Block, room: int) -> tuple[str, bool]:
    """A block, and whether all of it had room."""
    if isinstance(block, Text):
        return _fill("\n", [_start(_text(_cut(block.text))) + "\n"], "", room)
    if isinstance(block, Items):
        return _fill("\n", [f"- {_start(_text(_cut(item)))}\n" for item in block.items], "", room)
    if isinstance(block, Lines):
        lines = [_cut(line.replace("\n", " ")) for line in block.lines]
        longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
        fence = "`" * max(3, longest + 1)
        return _fill(f"\n{fence}{block.language}\n", [f"{line}\n" for line in lines], f"{fence}\n", room)
    return _table(block, room)


def _table(table: Table, room: int) -> tuple[str, bool]:
    rule = "|".join("--:" if place in table.numbers else ":--" for place in range(len(table.head)))
    head = f"\n| {' | '.join(_escaped(name) for name in table.head)} |\n|{rule}|\n"
    rows = []
    for row in table.rows:
        shown: list[Callable[[str], str]] = [
            _code if place in table.code else _text for place in range(len(row))
        ]
        cells = (show(_cut(cell)) if cell else "" for show, cell in zip(shown, row, strict=True))
        rows.append(f"| {' | '.join(cells)} |\n")
    return _fill(head, rows, "", room)


def _fill(head: str, parts: Sequence[str], foot: str, room: int) -> tuple[str, bool]:
    """As many parts as have room between head and foot; without room for any, nothing."""
    left = room - _size(head) - _size(foot)
    kept: list[str] = []
    for part in parts:
        left -= _size(part)
        if left < 0:
            break
        kept.append(part)
    whole = len(kept) == len(parts)
    return (head + "".join(kept) + foot if kept else "", whole)


def _text(text: str) -> str:
    """A sentence in which nothing means anything to GitHub; lines become line breaks."""
    lines = (line.strip() for line in text.strip().splitlines())
    return "<br>".join(" ".join(_word(word) for word in line.split(" ")) for line in lines if line)


def _word(word: str) -> str:
    if not _ACTIVE.search(word):
        return _escaped(word)
    # The comma after an address is the sentence's.
    bare = word.rstrip(",;")
    return _code(bare) + _escaped(word[len(bare) :])


def _code(text: str) -> str:
    """Text in a code span: GitHub looks for neither Markdown nor mentions in it."""
    return f"<code>{_escaped(' '.join(text.split()))}</code>"


def _escaped(text: str) -> str:
    return _MARKS.sub(lambda mark: f"&#{ord(mark[0])};", text)


def _start(text: str) -> str:
    """A text at the start of a line, where it could begin a list or a heading."""
    match = _BLOCK_START.match(text)
    if match is None:
        return text
    at = match.end() - 1
    return f"{text[:at]}&#{ord(text[at])};{text[at + 1 :]}"


def _cut(text: str, longest: int = _LONGEST) -> str:
    if len(text) <= longest:
        return text
    return f"{text[: longest * 2 // 3]} … ({len(text):,} characters) … {text[-longest // 4 :]}"


def _size(text: str) -> int:
    return len(text.encode())
