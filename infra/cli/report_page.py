"""The page of ``report --format html``: what `infra.cli.html` gives to all pages, and the report's sections."""

from __future__ import annotations

from html import escape
from typing import Final

from infra.cli.html import document, section, table, tiles, verdict
from infra.cli.page import CHARTS, memory
from infra.preflight.finding import Status
from infra.recipes import ServingPlan
from infra.recipes.costs import monthly
from infra.report.content import Report, Verdict
from infra.report.sections import CHANGES, Block, Items, Lines, Section, Table, Text, sections, summary

__all__ = ["report_page"]

_TONES: Final = {Verdict.READY: "good", Verdict.LOOK: "doubt", Verdict.NOT_READY: "bad"}
_STYLE: Final = """
.verdict li { white-space: pre-line; }
.diff .gone { color: var(--bad); } .diff .new { color: var(--good); }
td { overflow-wrap: anywhere; min-width: 7rem; } td.name { overflow-wrap: normal; min-width: 0; }
section > p + .wide, .wide + p, pre + p { margin-top: .9rem; }
"""


def report_page(report: Report, plan: ServingPlan | None = None) -> str:
    """The whole page. Equal reports give an equal page.

    Args:
        report: what it says.
        plan: the stack file's plan, for the chart of a GPU's memory.
    """
    blocks = [
        f"<h1>{escape(report.subject)}</h1>\n<p class='dim'>What a <code>pulumi up</code> would do.</p>",
        _verdict(report),
        tiles(_figures(report)),
        _summary(report),
    ]
    for each in sections(report):
        blocks.append(_section(each))
        if each.title == "Memory of one GPU" and plan is not None and plan.fit is not None:
            blocks[-1] = memory(plan, plan.fit)
    return document(
        f"{report.subject}: {report.title}",
        blocks,
        footer="Prices are US dollars before tax and discounts.\nMade by <code>vertex-vllm report</code>.",
        style=CHARTS + _STYLE,
    )


def _verdict(report: Report) -> str:
    items = "".join(
        f"<li><b>{escape(reason.failure.value)}</b>: {escape(reason.text)}</li>" for reason in report.reasons
    )
    title = report.title[0].upper() + report.title[1:]
    return verdict(_TONES[report.verdict], title, f"<ul>{items}</ul>" if items else "")


def _figures(report: Report) -> list[tuple[str, str]]:
    most, idle = report.cost.at_most, report.cost.idle
    figures = [
        (_month(most.delta, "+"), "USD a month more or less, at most"),
        (_month(most.after), "USD a month then, at most"),
    ]
    if idle != most:
        figures.append((_month(idle.after), "USD a month then, when idle"))
    if report.policies_asked and report.preview.policies is not None:
        figures.append((str(len(report.preview.policies.violations)), "policy violations"))
    if report.findings is not None:
        failed, skipped = len(report.of(Status.FAIL)), len(report.of(Status.SKIP))
        label = f"preflight checks failed, {skipped} skipped" if skipped else "preflight checks failed"
        figures.append((f"{failed} of {len(report.findings) - skipped}", label))
    return figures


def _month(usd_per_hour: float | None, sign: str = "") -> str:
    month = monthly(usd_per_hour)
    if month is None:
        return "unknown"
    return "0" if abs(month) < 0.005 else f"{month:{sign},.2f}"


def _summary(report: Report) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in summary(report))
    return section("In short", f"<dl>{items}</dl>")


def _section(found: Section) -> str:
    body = "".join(_block(block) for block in found.blocks)
    if not found.minor:
        return section(found.title, body)
    return f"<section><details><summary>{escape(found.title)}</summary>{body}</details></section>"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Items):
        return f"<ul>{''.join(f'<li>{_lines(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Lines):
        if block.language != "diff":
            return f"<pre>{escape(chr(10).join(block.lines))}</pre>"
        kinds = {"-": "gone", "+": "new"}
        lines = (f"<span class='{kinds.get(line[:1], 'same')}'>{escape(line)}</span>" for line in block.lines)
        return f"<pre class='diff'>{chr(10).join(lines)}</pre>"
    return _table(block)


def _table(found: Table) -> str:
    rows = []
    for row in found.rows:
        cells = []
        for place, cell in enumerate(row):
            kind = " class='number'" if place in found.numbers else " class='name'" if place == 0 else ""
            shown = f"<code>{escape(cell)}</code>" if place in found.code and cell else _lines(cell)
            cells.append(f"<td{kind}>{shown}</td>")
        own = " class='own'" if row[-1] == CHANGES else ""
        rows.append(f"<tr{own}>{''.join(cells)}</tr>")
    return table(found.head, rows, numbers=tuple(found.numbers))


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.splitlines())
