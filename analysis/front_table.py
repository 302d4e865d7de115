"""A Pareto front laid out: every complete point with its objectives, marked where nothing beats it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis import notes
from analysis.columns import heading, written
from analysis.front import Front
from analysis.layout import NOTHING, Layout
from analysis.load import Run
from analysis.render import axes_of, examples, hyperparameters
from analysis.rows import GROUP_SIZE, TRAIN_SECONDS, Row
from sweeper.metrics import MAXIMIZE, all_metrics, direction

MARK = "*"
HEADINGS = ("Front", "Model", "Method", "Examples (epochs)")
NUM_LEFT = 3  # of them are words, the rest numbers


def laid_out(title: str, front: Front, shown: Sequence[str], runs: Sequence[Run]) -> Layout:
    """`shown`: metrics to read beside the objectives. `runs`: all of the sweep, for warnings and notes."""
    beside = [name for name in shown if name not in front.objectives and any(row.values(name) for row in front.points)]
    axes = axes_of(front.points)
    tuned = any(row.chosen for row in front.points)
    headings = [*HEADINGS, *axes, *(f"{heading(name)} {_arrow(name)}" for name in front.objectives),
                *map(heading, beside), *(["Hyperparameters"] if tuned else [])]  # fmt: skip
    rows, records = [], []
    warnings = notes.warnings(runs)
    for row, is_on in zip(front.points, front.on_front, strict=True):
        numbers = [written(row, name) for name in (*front.objectives, *beside)]
        further = [row.further_axes.get(axis, NOTHING) for axis in axes]
        words = [MARK if is_on else "", row.model, row.method, examples(row), *further]
        rows.append([*words, *numbers, *([hyperparameters(row)] if tuned else [])])
        records.append({"front": is_on, **_record(row, (*front.objectives, *beside)), "warning": "; ".join(warnings)})
    facts = {"data": notes.data_of(runs), "objectives": [_described(name) for name in front.objectives]}
    return Layout(
        f"{title}, Pareto front", headings, rows, NUM_LEFT, warnings, _notes(front, beside, runs), facts, records
    )


def left_out(front: Front) -> str:
    """`left out: 3 points pruned, 1 point not complete`, or nothing."""
    counts = ", ".join(f"{count} point{'s' * (count > 1)} {why}" for why, count in front.left_out.items())
    return f"left out: {counts}" if counts else ""


def _arrow(name: str) -> str:
    return "↑" if direction(name) == MAXIMIZE else "↓"


def _described(name: str) -> dict[str, str]:
    metric = all_metrics()[name]
    return {"name": name, "direction": metric.direction, "unit": metric.unit}


def _record(row: Row, names: Sequence[str]) -> dict[str, Any]:
    values = {key: value for name in names
              for key, value in ((name, row.mean(name)), (f"{name}_std", row.deviation(name)))}  # fmt: skip
    return {
        "model": row.model, "method": row.method, "train_size": row.train_size, **row.further_axes, **values,
        "n": len(row.runs), "hyperparameters": row.chosen, "run_ids": [run.run_id for run in row.runs],
        "shared_with": row.shared_with,
    }  # fmt: skip


def _notes(front: Front, beside: Sequence[str], runs: Sequence[Run]) -> list[str]:
    lines = notes.data_lines(runs)
    several = any(row.expected > 1 for row in front.points)
    means = " Means over seeds, ± their standard deviation" if several else ""
    if several and front.criterion.objective_std:
        means += f", {front.criterion.objective_std:g} of which count against each mean"
    other = "no other point of its cell" if front.per_cell else "no other point"
    lines.append(
        f"Front ({MARK}): {other} is as good in every objective and better in one.{means}{'.' if means else ''}"
    )
    reading = f"; {', '.join(beside)} chose nothing" if beside else ""
    lines.append(f"The numbers that put a point on the front flatter it{reading}.")
    size = max((run.metrics.get(GROUP_SIZE, 1) for row in front.points for run in row.runs), default=1)
    if TRAIN_SECONDS in front.objectives and size > 1:
        lines.append(f"{TRAIN_SECONDS} is the wall clock of a run's whole group, here of up to {size:.0f} runs.")
    if any(run.confirms is not None for run in runs):
        lines.append("Runs on fresh seeds are not among these.")
    why, names = left_out(front), (*front.objectives, *beside)
    return [*lines, *([f"{why[0].upper()}{why[1:]}."] if why else []), *notes.shared(front.points, names)]
