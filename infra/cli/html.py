"""What the HTML pages of the commands share: one file with its style in it, no script and nothing from the network.

Light and dark by the reader's setting. Texts are escaped by whoever puts them into a page; titles and heads here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

__all__ = ["document", "section", "table", "tiles", "verdict"]

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #f5f6f8; --card: #fff; --text: #1b1f26; --dim: #5d6673; --line: #dfe3e8;
  --on: #fff; --good: #1d7f4e; --doubt: #9a6200; --bad: #bf3030; }
@media (prefers-color-scheme: dark) { :root { --ground: #111418; --card: #1a1f25; --text: #e8ebef; --dim: #9aa5b3;
  --line: #2e353e; --on: #0c0f13; --good: #57cf93; --doubt: #efb450; --bad: #f5827d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .8rem; }
p { margin: .3rem 0; }
.dim, dt, th, figcaption, footer { color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: 1.1rem 1.2rem;
  margin-top: 1rem; }
.verdict { border-left: .4rem solid var(--tone); }
.verdict strong { color: var(--tone); font-size: 1.25rem; }
.good { --tone: var(--good); } .doubt { --tone: var(--doubt); } .bad { --tone: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin-top: 1rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { display: block; font-size: .82rem; color: var(--dim); }
code, pre { font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; margin: .5rem 0 0; }
ul { margin: .4rem 0 0; padding-left: 1.2rem; }
li { margin: .2rem 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .32rem 1rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; } th:last-child, td:last-child { padding-right: 0; }
th { font-weight: 500; font-size: .85rem; white-space: nowrap; }
.name { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.own td { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: .8rem; } section > details:first-child { margin-top: 0; } summary { cursor: pointer; }
footer { font-size: .82rem; margin-top: 1.2rem; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  section { padding: .9rem; } .tiles { grid-template-columns: 1fr 1fr; } .extra { display: none; }
  th, td { padding-right: .6rem; font-size: .9rem; } .loose { white-space: normal; } }
@media print { section, .tile { break-inside: avoid; } }
"""


def document(title: str, blocks: Sequence[str], *, footer: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: of the window, text.
        blocks: the page's parts in their order, HTML.
        footer: small print, HTML.
        style: CSS beside what all pages have.
    """
    body = "\n".join(blocks)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
<main>
{body}
<footer>{footer}</footer>
</main>
</body>
</html>
"""


def verdict(tone: str, answer: str, body: str) -> str:
    """The box that says how it stands; ``tone`` is good, doubt or bad, ``answer`` text, ``body`` HTML."""
    return f"<section class='verdict {tone}'><strong>{escape(answer)}</strong>{body}</section>"


def tiles(found: Iterable[tuple[str, str]]) -> str:
    """Figures in a row, each a value and what it is."""
    shown = (
        f"<div class='tile'><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in found
    )
    return f"<div class='tiles'>{''.join(shown)}</div>"


def section(title: str, body: str) -> str:
    """A card with a heading; ``title`` is text, ``body`` HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table(
    head: Sequence[str],
    rows: Iterable[str],
    *,
    numbers: Sequence[int],
    extra: Sequence[int] = (),
    style: str = "",
) -> str:
    """A table that scrolls where it is too wide; ``numbers`` are right-aligned columns, ``extra`` not for a phone."""
    cells = []
    for index, name in enumerate(head):
        kinds = [*(["number"] if index in numbers else []), *(["extra"] if index in extra else [])]
        cells.append(
            f"<th class='{' '.join(kinds)}'>{escape(name)}</th>" if kinds else f"<th>{escape(name)}</th>"
        )
    shown = f" class='{style}'" if style else ""
    return f"<div class='wide'><table{shown}><tr>{''.join(cells)}</tr>{''.join(rows)}</table></div>"
