"""The page of ``explain`` in a terminal: blocks for Rich, made from the facts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infra.cli import facts, gpu_memory
from infra.cli.common import one_gpu
from infra.cli.facts import Explanation, Verdict
from infra.cli.gpu_memory import REST, Bar, Part
from infra.fit import Fit, Term
from infra.recipes import ServingPlan

__all__ = ["bar_line", "cells", "fit_page", "page", "show", "show_fit"]

COLORS: Final = {
    "weights": "color(33)",
    "activation": "color(214)",
    "non_torch": "color(135)",
    "graphs": "color(203)",
    gpu_memory.KV_CACHE: "color(35)",
    REST: "bright_black",
}
_OTHER_COLOR: Final = "color(37)"
# One letter a part: what tells them apart where there is no colour.
LETTERS: Final = {
    "weights": "W",
    "activation": "A",
    "non_torch": "N",
    "graphs": "G",
    gpu_memory.KV_CACHE: "K",
    REST: ".",
}
_VERDICT_STYLES: Final = {
    Verdict.STARTS: "bold green",
    Verdict.MAY_NOT: "bold yellow",
    Verdict.FAILS: "bold red",
    Verdict.UNKNOWN: "bold yellow",
}
_SHOWN_CHOICES: Final = 6


def show(out: Console, explained: Explanation) -> None:
    """Print the page."""
    colored = out.color_system is not None and not out.no_color and out.encoding.lower().startswith("utf")
    for block in page(explained, width=out.width, colored=colored):
        out.print(block)


def page(explained: Explanation, *, width: int, colored: bool) -> Iterator[RenderableType]:
    """The page's blocks.

    Args:
        explained: what to show.
        width: columns.
        colored: whether parts of the bar are told apart by colour; else by letter.
    """
    plan, fit = explained.plan, explained.fit
    yield _verdict(explained)
    yield _heading("What will run")
    yield _grid(facts.running(explained))
    if fit is not None:
        bar = gpu_memory.bar_of(fit)
        yield _heading(gpu_memory.memory_title(plan, fit))
        yield _indented(bar_line(bar, width - 4, colored=colored))
        yield _indented(_marks(bar, width - 4))
        yield _indented(_legend(bar, colored=colored))
        yield _grid((("dominates", facts.dominates(fit)),))
        yield _heading("KV cache")
        yield _indented(_cache(fit))
    if explained.limits is not None:
        yield _heading("Largest values that start, all else unchanged")
        yield _grid(facts.largest(explained))
    yield _heading(facts.cost_title(plan))
    yield _indented(_costs(plan))
    yield _grid(facts.cost_notes(plan))
    yield _heading(f"Cheapest hardware on which it starts, {plan.region}")
    for block in _choices(explained):
        yield _indented(block)
    for title, texts in (("Warnings", facts.warnings(explained)), ("Notes", facts.notes(explained))):
        if texts:
            yield _heading(title)
            yield _list(texts)


def cells(gib: Sequence[float], width: int) -> list[int]:
    """Share ``width`` cells out in proportion, exactly; what is not nothing gets one while there are enough."""
    total, some = sum(gib), [index for index, part in enumerate(gib) if part > 0]
    if len(some) > width:
        largest = set(sorted(some, key=lambda index: -gib[index])[:width])
        return [1 if index in largest else 0 for index in range(len(gib))]
    found, exact = [0] * len(gib), [0.0] * len(gib)
    for index in some:
        exact[index] = gib[index] / total * width
        found[index] = max(int(exact[index]), 1)
    while some and (missing := width - sum(found)) != 0:
        step = 1 if missing > 0 else -1
        open_to = [index for index in some if step > 0 or found[index] > 1]
        found[max(open_to, key=lambda index: step * (exact[index] - found[index]))] += step
    return found


def bar_line(bar: Bar, width: int, *, colored: bool) -> Text:
    """The stacked bar: blocks in colour, or one letter a part."""
    line = Text()
    for part, count in zip(bar.parts, cells([part.gib for part in bar.parts], width), strict=True):
        if colored:
            line.append(("░" if part.key == REST else "█") * count, style=_color(part))
        else:
            line.append(_letter(part) * count)
    return line


def _marks(bar: Bar, width: int) -> Text:
    """Under the bar, the end of the budget and, where the parts do not fit, of the GPU: a line each."""
    marks = [(bar.budget, f"budget {bar.budget:.2f} GiB")]
    if bar.over > 0:
        marks.append((bar.total, f"GPU ends at {bar.total:.2f} GiB"))
    lines = []
    for gib, name in marks:
        column = max(min(round(gib / bar.length * width), width) - 1, 0)
        room = column >= len(name) + 1
        lines.append(f"{name} ^".rjust(column + 1) if room else f"{' ' * column}^ {name}")
    return Text("\n".join(lines), "bright_black")


def _legend(bar: Bar, *, colored: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column("", width=1)
    table.add_column("")
    for name in ("GiB", "share", "90 % interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for part in bar.parts:
        outside = "" if part.charged else "outside the budget"
        interval = gpu_memory.interval(part.low, part.high)
        sign = Text("■", _color(part)) if colored else Text(_letter(part))
        row = (part.label, f"{part.gib:.2f}", f"{part.share:.1%}", interval)
        table.add_row(sign, *row, Text(outside, "bright_black"))
    if bar.over > 0:
        row = ("too much", f"{bar.over:.2f}", f"{bar.over / bar.total:.1%}", "")
        table.add_row("!", *row, Text("beyond the GPU's memory", "bright_black"), style="red")
    return table


def _cache(fit: Fit) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for name in ("", "prediction", "90 % interval"):
        table.add_column(name, justify="right" if name else "left")
    for name, point, interval in gpu_memory.cache_rows(fit):
        table.add_row(name, point, interval)
    return table


def _costs(plan: ServingPlan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for name in ("", "an hour", "a month"):
        table.add_column(name, justify="right" if name else "left")
    for row in facts.cost_rows(plan):
        table.add_row(*row)
    return table


def _choices(explained: Explanation) -> Iterator[RenderableType]:
    found = explained.choices
    if not found:
        yield Text(facts.no_choice(explained))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for name in ("machine", "GPUs"):
        table.add_column(name, no_wrap=True)
    for name in ("USD an hour", "KV tokens", "requests"):
        table.add_column(name, justify="right")
    table.add_column("")
    for choice in found[:_SHOWN_CHOICES]:
        table.add_row(
            choice.machine_type,
            f"{choice.accelerator_count} x {one_gpu(choice.accelerator_type)}",
            facts.usd(choice.usd_per_hour),
            f"{choice.fit.kv_tokens:,}",
            f"{choice.fit.max_concurrency:,.1f}",
            Text(facts.remark(explained.plan, choice), "bold"),
        )
    yield table
    if (more := len(found) - _SHOWN_CHOICES) > 0:
        yield Text(f"and {more} more: --json", "bright_black")


def _verdict(explained: Explanation) -> Group:
    plan, verdict = explained.plan, explained.verdict
    title = Text.assemble((plan.name, "bold"), "\n", (facts.subject(plan), "bright_black"))
    answer = Text.assemble((verdict.value.upper(), _VERDICT_STYLES[verdict]), ": ", facts.why(explained.fit))
    lines: list[RenderableType] = [title, Text(), answer]
    if found := facts.changes(explained):
        either = "one of these would start:" if len(found) > 1 else "this would start:"
        lines += [Text(either), *(Text(f"  {change}") for change in found)]
    return Group(*lines)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", "bold cyan")


def _indented(block: RenderableType) -> Padding:
    return Padding(block, (0, 2), expand=False)


def _grid(rows: Sequence[tuple[str, str]]) -> Padding:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True, min_width=13)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, escape(value))
    return _indented(table)


def _list(texts: Sequence[str]) -> Padding:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for text in texts:
        table.add_row("-", escape(text))
    return _indented(table)


def _color(part: Part) -> str:
    return COLORS.get(part.key, _OTHER_COLOR)


def _letter(part: Part) -> str:
    return LETTERS.get(part.key, part.label[0].upper())


def show_fit(out: Console, plan: ServingPlan, *, terms: bool) -> None:
    """Print a plan's prediction: the verdict and the numbers; with ``terms`` also what each is made of."""
    verdict = facts.verdict_of(plan.fit)
    out.print(Text.assemble((verdict.value.upper(), _VERDICT_STYLES[verdict]), ": ", facts.why(plan.fit)))
    if plan.fit is None:
        return
    for block in fit_page(plan, plan.fit, terms=terms):
        out.print(block)


def fit_page(plan: ServingPlan, fit: Fit, *, terms: bool) -> Iterator[RenderableType]:
    """The blocks below the verdict of one prediction."""
    runner = f", model runner {fit.runner}" if fit.runner != fit.engine else ""
    yield Text(f"{facts.subject(plan)}, vLLM {fit.version}, engine {fit.engine}{runner}", "bright_black")
    yield _heading("Memory of one GPU, GiB")
    yield _indented(_sum(fit))
    if terms:
        for term in fit.terms:
            yield _heading(gpu_memory.label_of(term.name) + ("" if term.charged else " (outside the budget)"))
            yield _grid(
                (
                    ("GiB", f"{term.gib:.3f}{_between(term)}"),
                    ("formula", term.formula),
                    *((f"  {symbol}", value) for symbol, value in term.numbers),
                    ("from", term.source),
                )
            )
    yield _heading("KV cache")
    yield _indented(_cache(fit))
    if terms:
        yield _grid(gpu_memory.cache_layout(plan, fit))
    yield _grid((("estimated_max_len", f"{fit.estimated_max_len:,}, at the prediction itself"),))
    if fit.notes:
        yield _heading("Notes")
        yield _list(fit.notes)


def _between(term: Term) -> str:
    found = gpu_memory.interval(term.low, term.high, 3)
    return f", 90 % interval {found}" if found else ""


def _sum(fit: Fit) -> Table:
    """From the GPU's memory to what is left for the KV cache, line by line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for name, justify in (("", "left"), ("GiB", "right"), ("90 % interval", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    share = f"{fit.budget / fit.total:.2%} of it"
    table.add_row("memory of the GPU", f"{fit.total:.3f}", "", "as torch reports it")
    table.add_row("budget", f"{fit.budget:.3f}", "", share, end_section=True)
    for term in fit.terms:
        if term.charged:
            interval = gpu_memory.interval(term.low, term.high, 3)
            table.add_row(f"- {gpu_memory.label_of(term.name)}", f"{term.gib:.3f}", interval, "")
    cache, low, high = gpu_memory.first_stage(fit)
    table.add_row("= KV cache", f"{cache:.3f}", gpu_memory.interval(low, high, 3), style="bold")
    if fit.kv_first_stage != fit.kv_cache:
        least = gpu_memory.interval(fit.kv_low, fit.kv_high, 3)
        table.add_row(
            "KV cache", f"{fit.kv_cache:.3f}", least, "of the pipeline stage that has least, which counts"
        )
    for term in fit.terms:
        if not term.charged:
            interval = gpu_memory.interval(term.low, term.high, 3)
            table.add_row(gpu_memory.label_of(term.name), f"{term.gib:.3f}", interval, "outside the budget")
    return table
