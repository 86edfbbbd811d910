"""The page of ``explain --html``: what `infra.cli.html` gives to all pages, and charts.

Charts are SVG that stretches, their texts are HTML beside them, so that they stay readable on a phone.
"""

from __future__ import annotations

from html import escape
from typing import Final

from infra.cli import facts, gpu_memory
from infra.cli.common import one_gpu
from infra.cli.facts import Explanation, Verdict
from infra.cli.gpu_memory import Bar
from infra.cli.html import document, section, table, tiles, verdict
from infra.fit import Fit
from infra.recipes import ServingPlan
from infra.recipes.costs import costs_of

__all__ = ["CHARTS", "html_page", "memory"]

_SHOWN_CHOICES: Final = 8
_INSIDE: Final = 0.14  # the least share of the bar that has room for its name
_CLASSES: Final = {
    Verdict.STARTS: "good",
    Verdict.MAY_NOT: "doubt",
    Verdict.FAILS: "bad",
    Verdict.UNKNOWN: "doubt",
}
_KINDS: Final = frozenset(
    {"weights", "activation", "non_torch", "graphs", gpu_memory.KV_CACHE, gpu_memory.REST}
)

CHARTS: Final = """
:root { --weights: #3565c4; --activation: #c9761a; --non_torch: #8152bd; --graphs: #c94a5e; --kv_cache: #25885a;
  --rest: #cfd5dd; --other: #21808f; }
@media (prefers-color-scheme: dark) { :root { --weights: #6f9ff5; --activation: #efaa55; --non_torch: #b793ea;
  --graphs: #f08596; --kv_cache: #52c78d; --rest: #3a424c; --other: #5cc0cf; } }
figure { margin: 0; }
svg { display: block; width: 100%; }
.weights { fill: var(--weights); background: var(--weights); }
.activation { fill: var(--activation); background: var(--activation); }
.non_torch { fill: var(--non_torch); background: var(--non_torch); }
.graphs { fill: var(--graphs); background: var(--graphs); }
.kv_cache { fill: var(--kv_cache); background: var(--kv_cache); }
.rest { fill: var(--rest); background: var(--rest); }
.other { fill: var(--other); background: var(--other); }
.chart { position: relative; margin: 1.7rem 0 1.9rem; }
.bar { height: 3.6rem; border-radius: .35rem; }
.bar rect, .small rect { stroke: var(--card); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.inside { position: absolute; top: 0; height: 3.6rem; display: flex; align-items: center; justify-content: center;
  text-align: center; color: var(--on); font-size: .85rem; line-height: 1.25; font-weight: 600; overflow: hidden;
  pointer-events: none; }
.on-rest { color: var(--text); }
.mark { position: absolute; top: -.45rem; height: 4.5rem; border-left: 2px solid var(--text); }
.mark span { position: absolute; white-space: nowrap; font-size: .82rem; }
.mark.above span { top: -1.25rem; } .mark.below span { top: 4.4rem; }
.mark.left span { right: 0; } .mark.right span { left: -2px; }
.small { height: .7rem; min-width: 6rem; border-radius: .2rem; margin-top: .45rem; }
.interval { height: 2.2rem; }
.interval .ground { fill: var(--rest); } .interval .range { fill: var(--kv_cache); opacity: .45; }
.interval .point { fill: var(--kv_cache); } .interval .need { fill: var(--text); }
.scale { display: flex; justify-content: space-between; font-size: .8rem; color: var(--dim); margin-top: .2rem; }
.key { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1.2rem; font-size: .85rem; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; flex: none; }
.swatch.range { background: var(--kv_cache); opacity: .45; } .swatch.need { background: var(--text); width: .2rem; }
.swatch.point { background: var(--kv_cache); width: .35rem; }
td .swatch { margin-right: .5rem; }
.over td { color: var(--bad); }
.terms td { font-size: .9rem; min-width: 7rem; }
"""


def html_page(explained: Explanation) -> str:
    """The whole page. Equal facts give an equal page: it holds no date and no path."""
    plan, fit = explained.plan, explained.fit
    blocks = [_head(explained), _verdict(explained), _tiles(explained)]
    if fit is not None:
        blocks += [memory(plan, fit), _cache(fit)]
    blocks += [_costs(plan), _choices(explained), _running(explained)]
    if fit is not None:
        blocks.append(_terms(fit))
    for title, texts in (("Warnings", facts.warnings(explained)), ("Notes", facts.notes(explained))):
        if texts:
            items = "".join(f"<li>{escape(text)}</li>" for text in texts)
            blocks.append(section(title, f"<ul>{items}</ul>"))
    return document(
        f"{plan.name}: {explained.verdict.value}",
        blocks,
        footer="GiB are 2^30 bytes on one GPU; intervals hold 90 % of start-ups.\n"
        "Made by <code>vertex-vllm explain</code>.",
        style=CHARTS,
    )


def _head(explained: Explanation) -> str:
    plan = explained.plan
    return f"<h1>{escape(plan.name)}</h1>\n<p class='dim'>{escape(facts.subject(plan))}</p>"


def _verdict(explained: Explanation) -> str:
    answer, reason = explained.verdict, facts.why(explained.fit)
    found = facts.changes(explained)
    lines = "".join(f"<li><code>{escape(change)}</code></li>" for change in found)
    either = "One of these would start:" if len(found) > 1 else "This would start:"
    remedy = f"<p>{either}</p><ul>{lines}</ul>" if found else ""
    name = answer.value[0].upper() + answer.value[1:]
    return verdict(_CLASSES[answer], name, f"<p>{escape(reason[0].upper() + reason[1:])}</p>{remedy}")


def _tiles(explained: Explanation) -> str:
    plan, fit, limits = explained.plan, explained.fit, explained.limits
    shown = []
    if fit is not None:
        shown += [
            (f"{fit.kv_tokens:,}", "tokens in the KV cache"),
            (f"{fit.max_concurrency:,.1f}", f"requests of {fit.max_model_len:,} tokens at once"),
        ]
    if limits is not None:
        shown += [
            (
                f"{limits.max_model_len:,}" if limits.max_model_len else "none",
                "largest max_model_len that starts",
            ),
            (
                f"{limits.max_num_seqs:,}" if limits.max_num_seqs else "none",
                "largest max_num_seqs that starts",
            ),
        ]
    shown.append((facts.usd(costs_of(plan).replica), "US dollars an hour a replica"))
    return tiles(shown)


def memory(plan: ServingPlan, fit: Fit) -> str:
    """The section with one GPU's memory as a bar and a table; needs :data:`CHARTS`."""
    bar = gpu_memory.bar_of(fit)
    described = ", ".join(f"{part.label} {part.gib:.2f} GiB" for part in bar.parts)
    chart = [_stacked(bar, "bar", f"{described}; of {bar.total:.2f} GiB")]
    at = 0.0
    for part in bar.parts:
        share = part.gib / bar.length
        if share >= _INSIDE:
            where = "inside on-rest" if part.key == gpu_memory.REST else "inside"
            chart.append(
                f"<span class='{where}' style='left:{at:.3%};width:{share:.3%}'>{part.label}<br>{part.gib:.2f}</span>"
            )
        at += share
    chart.append(_mark(bar.budget / bar.length, f"budget {bar.budget:.2f}", "above"))
    if bar.over > 0:
        chart.append(_mark(bar.total / bar.length, f"GPU ends at {bar.total:.2f}", "below"))
    rows = []
    for part in bar.parts:
        interval = gpu_memory.interval(part.low, part.high)
        where = "" if part.charged else " <small class='dim'>outside the budget</small>"
        rows.append(
            f"<tr><td><i class='swatch {_kind(part.key)}'></i>{escape(part.label)}{where}</td>"
            f"<td class='number'>{part.gib:.2f}</td><td class='number'>{part.share:.1%}</td>"
            f"<td class='number'>{interval}</td></tr>"
        )
    if bar.over > 0:
        rows.append(
            f"<tr class='over'><td>too much <small>beyond the GPU's memory</small></td>"
            f"<td class='number'>{bar.over:.2f}</td><td class='number'>{bar.over / bar.total:.1%}</td><td></td></tr>"
        )
    return section(
        gpu_memory.memory_title(plan, fit),
        f"<figure><div class='chart'>{''.join(chart)}</div>"
        f"<figcaption>The budget is gpu_memory_utilization of the GPU's memory. "
        f"Dominates: {escape(facts.dominates(fit))}.</figcaption></figure>"
        + table(("", "GiB", "share", "90 % interval"), rows, numbers=(1, 2, 3)),
    )


def _mark(at: float, name: str, place: str) -> str:
    """A line across the bar with its name, written towards the side that has more room."""
    side = "left" if at > 0.5 else "right"
    return f"<div class='mark {side} {place}' style='left:{at:.3%}'><span>{name}</span></div>"


def _stacked(bar: Bar, style: str, described: str) -> str:
    """One stacked bar; it stretches to the width that there is."""
    x, rects = 0.0, []
    for part in bar.parts:
        width = part.gib / bar.length * 1000
        title = f"<title>{escape(part.label)}: {part.gib:.2f} GiB</title>"
        rects.append(
            f"<rect class='{_kind(part.key)}' x='{x:.2f}' width='{width:.2f}' height='10'>{title}</rect>"
        )
        x += width
    return (
        f"<svg class='{style}' viewBox='0 0 1000 10' preserveAspectRatio='none' role='img'"
        f" aria-label='{escape(described)}'>{''.join(rects)}</svg>"
    )


def _cache(fit: Fit) -> str:
    low, point, high = (max(gib, 0.0) for gib in (fit.kv_low, fit.kv_cache, fit.kv_high))
    end = max(high, fit.kv_needed) * 1.08 or 1.0

    def rect(style: str, start: float, stop: float, y: int, height: int) -> str:
        width = max((stop - start) / end * 1000, 0.0)
        return f"<rect class='{style}' x='{start / end * 1000:.2f}' y='{y}' width='{width:.2f}' height='{height}'/>"

    thin = end * 0.004
    drawn = (
        rect("ground", 0, end, 9, 2)
        + rect("range", low, high, 4, 12)
        + rect("point", max(point - thin, 0), max(point - thin, 0) + 2 * thin, 2, 16)
        + rect("need", max(fit.kv_needed - thin / 2, 0), max(fit.kv_needed - thin / 2, 0) + thin, 0, 20)
    )
    between = gpu_memory.interval(low, high)
    keys = [("point", f"prediction {point:.2f} GiB")]
    if between:
        keys.append(("range", f"90 % interval {between} GiB"))
    keys.append(("need", f"one request of {fit.max_model_len:,} tokens needs {fit.kv_needed:.2f} GiB"))
    legend = "".join(f"<span class='key'><i class='swatch {key}'></i>{text}</span>" for key, text in keys)
    described = ", ".join(text for _, text in keys)
    rows = [
        f"<tr><td>{escape(name)}</td><td class='number'>{value}</td><td class='number'>{interval}</td></tr>"
        for name, value, interval in gpu_memory.cache_rows(fit)
    ]
    return section(
        "KV cache",
        f"<figure><svg class='interval' viewBox='0 0 1000 20' preserveAspectRatio='none' role='img'"
        f" aria-label='{escape(described)}'>{drawn}</svg>"
        f"<div class='scale'><span>0</span><span>{end:.2f} GiB a GPU</span></div>{legend}</figure>"
        + table(("", "prediction", "90 % interval"), rows, numbers=(1, 2)),
    )


def _costs(plan: ServingPlan) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td class='number'>{hour}</td><td class='number'>{month}</td></tr>"
        for name, hour, month in facts.cost_rows(plan)
    ]
    notes = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.cost_notes(plan)
    )
    prices = table(("", "an hour", "a month"), rows, numbers=(1, 2))
    return section(facts.cost_title(plan), f"{prices}<br><dl>{notes}</dl>")


def _choices(explained: Explanation) -> str:
    title = f"Cheapest hardware on which it starts, {explained.plan.region}"
    found = explained.choices
    if not found:
        return section(title, f"<p>{escape(facts.no_choice(explained))}</p>")
    rows = []
    for choice in found[:_SHOWN_CHOICES]:
        own = " class='own'" if facts.is_this(explained.plan, choice) else ""
        remark = facts.remark(explained.plan, choice)
        bar = gpu_memory.bar_of(choice.fit)
        described = ", ".join(f"{part.label} {part.gib:.2f} GiB" for part in bar.parts)
        rows.append(
            f"<tr{own}><td class='name'>{escape(choice.machine_type)}</td>"
            f"<td class='name loose'>{choice.accelerator_count} x {escape(one_gpu(choice.accelerator_type))}</td>"
            f"<td class='number'>{facts.usd(choice.usd_per_hour)}</td>"
            f"<td class='number'>{choice.fit.kv_tokens:,}</td>"
            f"<td class='number extra'>{choice.fit.max_concurrency:,.1f}</td>"
            f"<td class='extra'>{_stacked(bar, 'small', described)}</td><td class='extra name'>{remark}</td></tr>"
        )
    more = len(found) - _SHOWN_CHOICES
    rest = f"<p class='dim'>and {more} more kinds and numbers of GPUs</p>" if more > 0 else ""
    head = ("machine", "GPUs", "USD an hour", "KV tokens", "requests", "memory of one GPU", "")
    return section(title, table(head, rows, numbers=(2, 3, 4), extra=(4, 5, 6)) + rest)


def _running(explained: Explanation) -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.running(explained)
    )
    arguments = escape("\n".join(explained.plan.container.args))
    return section(
        "What will run",
        f"<dl>{items}</dl><details><summary>Arguments of the container</summary><pre>{arguments}</pre></details>",
    )


def _terms(fit: Fit) -> str:
    rows = []
    for term in fit.terms:
        numbers = "<br>".join(f"{escape(symbol)} = {escape(value)}" for symbol, value in term.numbers)
        rows.append(
            f"<tr><td><i class='swatch {_kind(term.name)}'></i>{escape(gpu_memory.label_of(term.name))}</td>"
            f"<td class='number'>{term.gib:.3f}</td><td><code>{escape(term.formula)}</code></td>"
            f"<td>{numbers}</td><td>{escape(term.source)}</td></tr>"
        )
    head = ("", "GiB", "formula", "numbers", "from")
    found = table(head, rows, numbers=(1,), style="terms")
    return f"<section><details><summary>Where the numbers come from</summary>{found}</details></section>"


def _kind(key: str) -> str:
    return key if key in _KINDS else "other"
