"""One picture of a run: throughput and waiting times over the levels of load, as SVG. Needs no drawing library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from infra.bench.results import Level, Run, percentile

__all__ = ["plot"]

_WIDE, _HIGH, _LEFT, _TOP, _GAP = 300, 210, 62, 74, 84
_STYLE: Final = """
svg { background: #ffffff; font: 12px system-ui, sans-serif; }
text { fill: #24292f; } .dim { fill: #57606a; } .head { font-weight: 600; font-size: 13px; }
.grid { stroke: #d8dee4; } .a { stroke: #0969da; fill: #0969da; } .b { stroke: #bc4c00; fill: #bc4c00; }
.line.a, .line.b { fill: none; stroke-width: 2; } .before { stroke-dasharray: 4 4; opacity: .6; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #e6edf3; } .dim { fill: #9198a1; } .grid { stroke: #30363d; }
.a { stroke: #4493f8; fill: #4493f8; } .b { stroke: #f0883e; fill: #f0883e; } }
"""


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    style: str
    values: tuple[float | None, ...]
    before: bool = False


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    lines: tuple[_Line, ...]


def plot(run: Run, before: Run | None = None) -> str:
    """Draw a run, and an earlier one in dashes at the levels that both have.

    Values that are not known leave a gap. Every axis begins at 0.
    """
    levels = run.levels
    panels = (
        _Panel("Output tokens a second", _lines(levels, before, ((None, "a"),))),
        _Panel("Time to first token, ms", _lines(levels, before, (("ttft", "a"), ("ttft", "b")))),
        _Panel("Time per output token, ms", _lines(levels, before, (("tpot", "a"), ("tpot", "b")))),
    )
    axis = "requests a second" if levels and levels[0].kind == "rate" else "requests under way (concurrency)"
    width = len(panels) * (_WIDE + _GAP) + 20
    height = _TOP + _HIGH + 78
    drawn = "".join(
        _panel(panel, levels, axis, _LEFT + number * (_WIDE + _GAP)) for number, panel in enumerate(panels)
    )
    name = run.endpoint.rpartition("/")[2]
    title = f"Endpoint {name}{f', {run.hardware}' if run.hardware else ''}"
    what = f"{run.created}, {_asked(run)}"
    if run.local:
        what += "; local Google Cloud, no GPU"
    if before is not None:
        what += f"; dashed: {before.created}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img"><title>{escape(title)}</title><desc>{escape(_described(run))}</desc><style>{_STYLE}</style>'
        f"{_text(_LEFT, 22, title, 'head')}{_text(_LEFT, 40, what, 'dim')}{drawn}</svg>\n"
    )


def _lines(
    levels: Sequence[Level], before: Run | None, wanted: Iterable[tuple[str | None, str]]
) -> tuple[_Line, ...]:
    old = {} if before is None else {(level.kind, level.value): level for level in before.levels}
    lines = []
    for name, style in wanted:
        label = "" if name is None else "median" if style == "a" else "95th percentile"
        now = tuple(_value(level, name, style) for level in levels)
        lines.append(_Line(label, style, now))
        if old:
            matching = (old.get((level.kind, level.value)) for level in levels)
            was = tuple(None if level is None else _value(level, name, style) for level in matching)
            lines.append(_Line("", style, was, before=True))
    return tuple(lines)


def _value(level: Level, name: str | None, style: str) -> float | None:
    if name is None:
        return level.output_per_second
    seconds = percentile(getattr(level, name), 50 if style == "a" else 95)
    return None if seconds is None else 1000 * seconds


def _panel(panel: _Panel, levels: Sequence[Level], axis: str, left: float) -> str:
    known = [value for line in panel.lines for value in line.values if value is not None]
    step = _step(max(known, default=0.0))
    top = step * max(1, math.ceil(max(known, default=0.0) / step))
    bottom = _TOP + _HIGH

    def x(index: int) -> float:  # levels stand at equal distances: they mostly double
        return left + (_WIDE / 2 if len(levels) == 1 else index * _WIDE / (len(levels) - 1))

    def y(value: float) -> float:
        return bottom - value / top * _HIGH

    parts = [_text(left, _TOP - 14, panel.title, "head")]
    for tick in range(round(top / step) + 1):
        at = y(tick * step)
        parts.append(
            f'<line class="grid" x1="{left:.1f}" x2="{left + _WIDE:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(_text(left - 8, at + 4, f"{tick * step:,.6g}", "dim", "end"))
    for index, level in enumerate(levels):
        parts.append(_text(x(index), bottom + 18, f"{level.value:g}", "dim", "middle"))
    parts.append(_text(left + _WIDE / 2, bottom + 36, axis, "dim", "middle"))
    for line in panel.lines:
        points = [None if value is None else (x(i), y(value)) for i, value in enumerate(line.values)]
        for piece in _pieces(points):
            parts.append(_stroke(piece, line))
            if not line.before:
                parts += [_dot(point, line) for point in piece]
    labels = [line for line in panel.lines if line.label]
    for number, line in enumerate(labels):
        at = left + number * 90
        parts.append(
            f'<rect class="{line.style}" x="{at:.1f}" y="{bottom + 50}" width="14" height="3"/>'
            + _text(at + 20, bottom + 55, line.label, "dim")
        )
    if not known:
        parts.append(_text(left + _WIDE / 2, _TOP + _HIGH / 2, "not known", "dim", "middle"))
    return f"<g>{''.join(parts)}</g>"


def _pieces(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """The points between gaps."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return [piece for piece in pieces if piece]


def _stroke(points: Sequence[tuple[float, float]], line: _Line) -> str:
    style = f"line {line.style}{' before' if line.before else ''}"
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f'<polyline class="{style}" points="{path}"/>'


def _dot(point: tuple[float, float], line: _Line) -> str:
    return f'<circle class="{line.style}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3"/>'


def _step(most: float) -> float:
    """A round distance of grid lines, so that there are three to six of them."""
    if most <= 0:
        return 1.0
    raw = most / 4
    power = 10 ** math.floor(math.log10(raw))
    return float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9)))


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _asked(run: Run) -> str:
    asked = run.workload
    given = f"prompts of {asked.prompts}" if asked.prompts else f"{asked.input_tokens} tokens in"
    return f"{given}, {asked.output_tokens} out"


def _described(run: Run) -> str:
    """The figures in words, for those who do not see the picture."""
    said = []
    for level in run.levels:
        first, each = (percentile(values, 50) for values in (level.ttft, level.tpot))
        rate = level.output_per_second
        said.append(
            f"{level.kind} {level.value:g}: "
            + ", ".join(
                f"{name} {'not known' if value is None else format(value, '.1f')}"
                for name, value in (
                    ("output tokens a second", rate),
                    ("median milliseconds to the first token", None if first is None else 1000 * first),
                    ("median milliseconds per output token", None if each is None else 1000 * each),
                )
            )
        )
    return "; ".join(said)
