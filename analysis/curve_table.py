"""Curves laid out: where each begins and ends, or all their steps with several metrics side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import notes
from analysis.columns import heading, one
from analysis.layout import NOTHING, Layout
from analysis.render import axes_of, examples, hyperparameters
from analysis.rows import Row
from analysis.selection import Results
from sweeper.metrics import MINIMIZE, NEITHER, all_metrics

HEADINGS = ("Model", "Method", "Examples (epochs)")
NUM_LEFT = 2  # of them are words, the rest numbers


@dataclass(frozen=True)
class Dot:
    step: int
    mean: float  # over the replicates
    deviation: float | None  # of several


@dataclass
class Curve:
    """One metric of one row of the table."""

    row: Row
    dots: list[Dot]  # by step, where every replicate has a value


def laid_out(results: Results, curves: Sequence[Curve], metric: str) -> Layout:
    """One line for each row of the table."""
    axes = axes_of([curve.row for curve in curves])
    tuned = any(curve.row.chosen for curve in curves)
    unit = " %" if all_metrics()[metric].unit == "share" else ""
    best = [f"Best{unit}"] if all_metrics()[metric].direction != NEITHER else []
    headings = [*HEADINGS, *axes, "Points", "Last step", f"First{unit}", *best, f"Last{unit}",
                *(["Best hyperparameters"] if tuned else [])]  # fmt: skip
    rows, records = [], []
    for curve in curves:
        chosen = [hyperparameters(curve.row)] if tuned else []
        rows.append([*_words(curve.row, axes), *_numbers(curve, metric), *chosen])
        points = [[dot.step, dot.mean, dot.deviation] for dot in curve.dots]
        records.append({**_record(curve.row), "points": points})
    facts = {"data": notes.data_of(results.runs), "metric": metric}
    title = f"{results.title}, {metric}"
    return Layout(
        title, headings, rows, NUM_LEFT, notes.warnings(results.runs), _notes(results, curves), facts, records
    )


def by_step(results: Results, curves: Mapping[str, Sequence[Curve]]) -> Layout:
    """A line for each step of each row of the table, a column for each metric.

    `curves`: of each metric, one for each row. A row without a step has one line, which says why.
    """
    metrics, of_rows = list(curves), list(zip(*curves.values(), strict=True))
    axes = axes_of([lines[0].row for lines in of_rows])
    rows, records = [], []
    for lines in of_rows:
        row, dots = lines[0].row, {(dot.step, line): dot for line, curve in enumerate(lines) for dot in curve.dots}
        for step in sorted({step for step, _ in dots}):
            found = {metric: dots.get((step, line)) for line, metric in enumerate(metrics)}
            means = [one(metric, dot.mean) if dot else NOTHING for metric, dot in found.items()]
            rows.append([*_words(row, axes), f"{step:,}", *means])
            records.append({**_record(row), "step": step, **_values(found)})
        if not dots:
            rows.append([*_words(row, axes), row.problem or NOTHING, *[NOTHING] * len(metrics)])
            records.append({**_record(row), "step": None, **_values(dict.fromkeys(metrics))})
    below = _notes(results, [curve for lines in of_rows for curve in lines])
    facts = {"data": notes.data_of(results.runs), "metrics": metrics}
    headings, title = [*HEADINGS, *axes, "Step", *map(heading, metrics)], f"{results.title}, {', '.join(metrics)}"
    return Layout(title, headings, rows, NUM_LEFT, notes.warnings(results.runs), below, facts, records)


def _words(row: Row, axes: Sequence[str]) -> list[str]:
    return [row.model, row.method, examples(row), *(row.further_axes.get(axis, NOTHING) for axis in axes)]


def _numbers(curve: Curve, metric: str) -> list[str]:
    means = [dot.mean for dot in curve.dots]
    way = all_metrics()[metric].direction
    if not means:
        return [curve.row.problem or "0", *[NOTHING] * (3 if way == NEITHER else 4)]
    finite = [mean for mean in means if math.isfinite(mean)] or means
    best = [] if way == NEITHER else [min(finite) if way == MINIMIZE else max(finite)]
    values = [one(metric, value) for value in (means[0], *best, means[-1])]
    return [str(len(means)), f"{curve.dots[-1].step:,}", *values]


def _record(row: Row) -> dict[str, Any]:
    return {
        "model": row.model, "method": row.method, "train_size": row.train_size, **row.further_axes,
        "n": len(row.runs), "problem": row.problem, "hyperparameters": row.chosen,
        "run_ids": [run.run_id for run in row.runs],
    }  # fmt: skip


def _values(dots: Mapping[str, Dot | None]) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for metric, dot in dots.items():
        values |= {metric: dot.mean if dot else None, f"{metric}_std": dot.deviation if dot else None}
    return values


def _notes(results: Results, curves: Sequence[Curve]) -> list[str]:
    several = any(len(curve.row.runs) > 1 for curve in curves)
    means = ["Means over seeds, at the steps that all of them have."] if several else []
    return [*notes.data_lines(results.runs), *means]
