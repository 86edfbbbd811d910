"""The picture: well-formed, its points where the figures are, gaps where there are none."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from infra.bench.plot import _step, plot
from infra.bench.results import Run

from .conftest import level_of, run_of

SVG = "{http://www.w3.org/2000/svg}"


def drawn(run: Run, before: Run | None = None) -> list[Any]:
    """The three panels."""
    return ElementTree.fromstring(plot(run, before)).findall(f"{SVG}g")


def dots(panel: Any, style: str) -> list[tuple[float, float]]:
    found = panel.findall(f"{SVG}circle[@class='{style}']")
    return [(float(each.get("cx")), float(each.get("cy"))) for each in found]


def scale(panel: Any) -> tuple[float, float]:
    """Where the axis has 0, and how much a unit is, by its lowest and highest label."""
    lines = [float(each.get("y1")) for each in panel.findall(f"{SVG}line")]
    labels = [each.text for each in panel.findall(f"{SVG}text") if each.get("text-anchor") == "end"]
    assert labels[0] == "0"
    return lines[0], (lines[0] - lines[-1]) / float(labels[-1].replace(",", ""))


def test_points_are_where_the_figures_are() -> None:
    levels = [level_of(1, output_tokens=500), level_of(4), level_of(16, output_tokens=2000)]
    throughput, ttft, tpot = drawn(run_of(*levels))
    for panel, style, wanted in (
        (throughput, "a", [50, 100, 200]),
        (ttft, "a", [550] * 3),
        (ttft, "b", [955] * 3),
        (tpot, "a", [20] * 3),
    ):
        zero, unit = scale(panel)
        points = dots(panel, style)
        assert [(zero - y) / unit for _, y in points] == pytest.approx(wanted, rel=0.01)
        assert [x for x, _ in points] == sorted({x for x, _ in points})


def test_what_is_not_known_is_a_gap() -> None:
    levels = [level_of(1), level_of(2), level_of(4, output_tokens=None), level_of(8)]
    throughput, *_ = drawn(run_of(*levels))
    assert len(dots(throughput, "a")) == 3
    assert [len(each.get("points").split()) for each in throughput.findall(f"{SVG}polyline")] == [2, 1]
    nothing, *_ = drawn(run_of(level_of(output_tokens=None)))
    assert "not known" in [each.text for each in nothing.findall(f"{SVG}text")]


def test_an_earlier_run_is_dashed_where_both_have_a_level() -> None:
    throughput, *_ = drawn(run_of(level_of(1), level_of(4)), run_of(level_of(4), level_of(99)))
    now, before = throughput.findall(f"{SVG}polyline")
    assert "before" in before.get("class")
    assert len(now.get("points").split()) == 2
    assert before.get("points") == now.get("points").split()[1]


def test_names_are_text() -> None:
    text = plot(run_of(endpoint="a/<script>", hardware="x & y"))
    root = ElementTree.fromstring(text)
    assert (root.findtext(f"{SVG}title") or "") == "Endpoint <script>, x & y"
    assert "output tokens a second 100.0" in (root.findtext(f"{SVG}desc") or "")


@pytest.mark.parametrize("most", [0.003, 0.9, 1, 7, 10, 99, 1234, 1e6])
def test_grid_lines_are_few_and_round(most: float) -> None:
    step = _step(most)
    assert 2 <= most / step <= 4.01
    assert float(f"{step:e}".partition("e")[0]) in (1, 2, 2.5, 5)
