"""The plot of predicted against measured cache, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.accuracy import measures
from benchmarks.accuracy.report import CROSS, OURS, Results
from benchmarks.accuracy.rows import ERAS

_COLOURS: Final = dict(zip(ERAS, ("#7b3294", "#0571b0", "#1b9e77", "#d95f02", "#999999"), strict=True))
# A cache of less than 0.1 GiB and one of less than nothing stand on the edge: the axes are logarithmic.
_LEAST: Final = 0.1


def draw(results: Results, path: Path) -> None:
    """Write the plot: left predicted against measured (cross-validated), right how often each method errs by less.

    The file is the same for the same numbers: no date, no random ids, text as text.
    """
    with matplotlib.rc_context({"svg.hashsalt": "fit", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(13, 5), layout="constrained")
        left, right = figure.subplots(1, 2)
        _scatter(left, results)
        _shares(right, results)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _scatter(axes: Axes, results: Results) -> None:
    groups = measures.grouped(measures.kv_rows(results.table.rows), lambda row: row.era)
    for era in ERAS:
        points = [
            (_shown(row.kv), _shown(said.kv), _shown(said.kv_low, said.kv), _shown(said.kv_high, said.kv))
            for row in groups.get(era, ())
            if (said := results.crossed.get(row.id)) is not None and said.kv is not None
        ]
        if not points:
            continue
        x, y, low, high = zip(*points, strict=True)
        below = [max(at - end, 0) for at, end in zip(y, low, strict=True)]
        above = [max(end - at, 0) for at, end in zip(y, high, strict=True)]
        named = f"vLLM {era}" if era != "unknown" else "version not named"
        axes.errorbar(
            x, y, [below, above], fmt="o", markersize=3, linewidth=0.7, color=_COLOURS[era], label=named
        )
    ends = (_LEAST, 150)
    axes.plot(ends, ends, color="black", linewidth=0.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("measured KV cache, GiB a GPU")
    axes.set_ylabel("predicted, with its 90 % interval")
    axes.set_title("cross-validated by model family")
    axes.legend(fontsize=8, frameon=False)


def _shown(value: float | None, otherwise: float | None = None) -> float:
    """The value as it stands on a logarithmic axis; ``otherwise`` where there is none."""
    return max(value if value is not None else otherwise or 0, _LEAST)


def _shares(axes: Axes, results: Results) -> None:
    rows = measures.kv_rows(results.table.rows)
    for name, said in results.methods.items():
        errors = sorted(max(abs(error), 0.001) for _, error in measures.kv_pairs(rows, said))
        if not errors:
            continue
        shares = [100 * (place + 1) / len(errors) for place in range(len(errors))]
        width = 2.2 if name in (OURS, CROSS) else 1.0
        axes.step(errors, shares, where="post", label=f"{name} ({len(errors)} rows)", linewidth=width)
    axes.set_xscale("log")
    axes.set_xlim(0.001, 30)
    axes.set_ylim(0, 100)
    axes.set_xlabel("absolute error, GiB a GPU")
    axes.set_ylabel("rows with at most this error, %")
    axes.set_title("every method on the rows it answers")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
