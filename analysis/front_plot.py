"""The picture of a Pareto front: every point by the first two objectives.

Drawn on matplotlib's Figure and Agg canvas: pyplot would keep every figure and ask for a display.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.front import Front
from analysis.rows import Row
from sweeper.metrics import MINIMIZE, direction

BLUE, GREY = "#2563a8", "#9ca3af"
WIDE = 100.0  # largest to smallest value of an axis, from which on it is logarithmic


def draw(front: Front, path: Path, *, title: str) -> None:
    """As PNG; the second objective lies across, the first upwards. Raises OSError."""
    up, across = front.objectives[:2]
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    beaten, best = (_points(front, across, up, on_front=on_front) for on_front in (False, True))
    if beaten:
        axes.scatter(*_columns(beaten), color=GREY, s=28, label="beaten")
    is_line = len(front.objectives) == 2
    if is_line:
        steps = "steps-post" if direction(across) == MINIMIZE else "steps-pre"  # what is reached, nothing between
        for points in front.fronts():
            line = sorted(_places(points, across, up))
            axes.plot(*_columns(line), color=BLUE, linewidth=1.2, alpha=0.5, drawstyle=steps)
    label = "front of each cell" if front.per_cell else "front"
    label += "" if is_line else f", of all {len(front.objectives)} objectives"
    axes.scatter(*_columns(best), color=BLUE, s=40, zorder=3, label=label)
    axes.set_xlabel(_label(across))
    axes.set_ylabel(_label(up))
    _scale(axes, *_columns(beaten + best))
    axes.set_title(title, fontsize=10, loc="left", wrap=True)
    axes.legend(frameon=False)
    axes.set_axisbelow(True)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=130)


def _points(front: Front, across: str, up: str, *, on_front: bool) -> list[tuple[float, float]]:
    rows = [row for row, is_on in zip(front.points, front.on_front, strict=True) if is_on is on_front]
    return _places(rows, across, up)


def _places(rows: Sequence[Row], across: str, up: str) -> list[tuple[float, float]]:
    return [(row.mean(across) or 0.0, row.mean(up) or 0.0) for row in rows]  # none is missing: they are complete


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label(name: str) -> str:
    return f"{name} ({direction(name)})"


def _scale(axes: Axes, across: Sequence[float], up: Sequence[float]) -> None:
    if min(across) > 0 and max(across) / min(across) >= WIDE:
        axes.set_xscale("log")
    if min(up) > 0 and max(up) / min(up) >= WIDE:
        axes.set_yscale("log")
