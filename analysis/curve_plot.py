"""The picture of several curves: metrics by the step, a panel for each, in it a line for each row of the table.

Drawn on matplotlib's Figure and Agg canvas: pyplot would keep every figure and ask for a display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweeper.metrics import all_metrics

WIDE = 100.0  # largest to smallest value, from which on the axis is logarithmic
DENSE = 50  # points, from which on they are not marked
Line = Sequence[tuple[int, float, float | None]]  # step, mean, deviation over the replicates


def draw(panels: Mapping[str, Sequence[tuple[str, Line]]], path: Path, *, title: str) -> None:
    """As PNG; of each metric the lines with their labels. Raises OSError."""
    figure = Figure(figsize=(7.2, 1.2 + 3 * len(panels)), layout="constrained")
    stacked = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (metric, lines) in zip(stacked, panels.items(), strict=True):
        _draw_panel(axes, metric, lines)
    stacked[0].set_title(title, fontsize=10, loc="left", wrap=True)
    stacked[-1].set_xlabel("step")
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=130)


def _draw_panel(axes: Axes, metric: str, lines: Sequence[tuple[str, Line]]) -> None:
    for label, line in lines:
        _draw_line(axes, label, line)
    means = [mean for _, line in lines for _, mean, _ in line if math.isfinite(mean)]
    if means and min(means) > 0 and max(means) / min(means) >= WIDE:
        axes.set_yscale("log")
    axes.set_ylabel(f"{metric} ({all_metrics()[metric].unit})")
    axes.legend(frameon=False, fontsize=8)
    axes.set_axisbelow(True)
    axes.grid(color="#e5e7eb", linewidth=0.8)


def _draw_line(axes: Axes, label: str, line: Line) -> None:
    steps, means = [step for step, _, _ in line], [mean for _, mean, _ in line]
    size = 3 if len(line) < DENSE else 0
    (drawn,) = axes.plot(steps, means, linewidth=1.4, marker="o", markersize=size, label=label)
    band = [(step, mean - spread, mean + spread) for step, mean, spread in line if spread is not None]
    if band:
        across, low, high = zip(*band, strict=True)
        axes.fill_between(across, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)
