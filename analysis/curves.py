"""`python -m analysis.curves task=sst2 metric=train/loss --plot curves.png`: one line for each row of the table.

task=<name>              the experiment; may be left out where there is only one
sweep=latest             latest | all | <sweep id>
metric=train/loss        any that is logged on the way: train/..., eval/..., fit/...
output_dir=mlruns        where the results lie
tracking_uri=<uri>       MLflow's, where they lie elsewhere
--format text            text | markdown | csv | latex | json (csv and json have every point)
--plot curves.png        a picture of them
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import arguments, layout, notes, selection
from analysis.columns import one
from analysis.layout import FORMATS, NOTHING, Layout
from analysis.load import BadArgument, NothingToShow, Store
from analysis.render import examples, hyperparameters
from analysis.rows import Row
from analysis.selection import Results
from analysis.tables import MADE_BY, rows_of
from sweeper.metrics import MINIMIZE, NEITHER, all_metrics

KEYS = ("task", "sweep", "metric", "output_dir", "tracking_uri")
OPTIONS = {"--format": FORMATS, "--plot": None}
HEADINGS = ("Model", "Method", "Examples (epochs)")
NUM_LEFT = 2  # of them are words, the rest numbers


@dataclass
class Request:
    task: str | None = None
    sweep: str = "latest"
    metric: str = "train/loss"
    output_dir: str = "mlruns"
    tracking_uri: str | None = None
    format_name: str = FORMATS[0]
    plot: Path | None = None


@dataclass(frozen=True)
class Dot:
    step: int
    mean: float  # over the replicates
    deviation: float | None  # of several


@dataclass
class Curve:
    row: Row
    dots: list[Dot]  # by step, where every replicate has a value


def main(words: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    return arguments.run(__doc__, lambda words: show(parse(words)), words)


def parse(words: Sequence[str]) -> Request:
    """Raises BadArgument."""
    values = arguments.parse(words, KEYS, OPTIONS, "analysis.curves")
    plot = arguments.picture(values.pop("--plot", None))
    request = Request(format_name=values.pop("--format", FORMATS[0]), plot=plot, **values)
    if len(arguments.metric_names("metric", request.metric)) > 1:
        raise BadArgument(f"metric={request.metric}: one at a time")
    return request


def show(request: Request) -> None:
    """Prints where each line begins and ends, and draws it where that was asked. Raises BadArgument, NothingToShow."""
    store = Store(selection.address(request.output_dir, request.tracking_uri))
    results = selection.wanted(store, request.task, request.sweep)
    curves = curves_of(store, rows_of(results.runs, results.sweep), request.metric)
    if not any(curve.dots for curve in curves):
        key = MADE_BY.get(request.metric.partition("/")[0])
        fix = f"; {key} makes some" if key else ""
        raise NothingToShow(f"{results.title}: no points of {request.metric}{fix}")
    layout.show(laid_out(results, curves, request.metric), request.format_name)
    if request.plot:
        _draw(results, curves, request.metric, request.plot)


def curves_of(store: Store, rows: Sequence[Row], metric: str) -> list[Curve]:
    return [Curve(row, dots([store.history(run, metric) for run in row.runs])) for row in rows]


def dots(histories: Sequence[Sequence[tuple[int, float]]]) -> list[Dot]:
    """`histories`: step and value, of each replicate."""
    by_step: dict[int, list[float]] = {}
    for history in histories:
        for step, value in history:
            by_step.setdefault(step, []).append(value)
    whole = {step: values for step, values in sorted(by_step.items()) if len(values) == len(histories)}
    return [
        Dot(step, statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
        for step, values in whole.items()
    ]


def laid_out(results: Results, curves: Sequence[Curve], metric: str) -> Layout:
    axes = list(dict.fromkeys(axis for curve in curves for axis in curve.row.further_axes))
    tuned = any(curve.row.chosen for curve in curves)
    unit = " %" if all_metrics()[metric].unit == "share" else ""
    best = [f"Best{unit}"] if all_metrics()[metric].direction != NEITHER else []
    headings = [*HEADINGS, *axes, "Points", "Last step", f"First{unit}", *best, f"Last{unit}",
                *(["Best hyperparameters"] if tuned else [])]  # fmt: skip
    rows = [
        [curve.row.model, curve.row.method, examples(curve.row),
         *(curve.row.further_axes.get(axis, NOTHING) for axis in axes),
         *_numbers(curve, metric), *([hyperparameters(curve.row)] if tuned else [])]
        for curve in curves
    ]  # fmt: skip
    below = notes.data_lines(results.runs)
    if any(len(curve.row.runs) > 1 for curve in curves):
        below.append("Means over seeds, at the steps that all of them have.")
    facts = {"data": notes.data_of(results.runs), "metric": metric}
    records = [_record(curve) for curve in curves]
    title = f"{results.title}, {metric}"
    return Layout(title, headings, rows, NUM_LEFT, notes.warnings(results.runs), below, facts, records)


def _numbers(curve: Curve, metric: str) -> list[str]:
    means = [dot.mean for dot in curve.dots]
    way = all_metrics()[metric].direction
    if not means:
        return [curve.row.problem or "0", *[NOTHING] * (3 if way == NEITHER else 4)]
    finite = [mean for mean in means if math.isfinite(mean)] or means
    best = [] if way == NEITHER else [min(finite) if way == MINIMIZE else max(finite)]
    values = [one(metric, value) for value in (means[0], *best, means[-1])]
    return [str(len(means)), f"{curve.dots[-1].step:,}", *values]


def _record(curve: Curve) -> dict[str, Any]:
    row = curve.row
    return {
        "model": row.model, "method": row.method, "train_size": row.train_size, **row.further_axes,
        "n": len(row.runs), "problem": row.problem, "hyperparameters": row.chosen,
        "run_ids": [run.run_id for run in row.runs],
        "points": [[dot.step, dot.mean, dot.deviation] for dot in curve.dots],
    }  # fmt: skip


def _draw(results: Results, curves: Sequence[Curve], metric: str, path: Path) -> None:
    """The title says what the warnings of the table say. Raises BadArgument for a place that can't be written."""
    from analysis import curve_plot  # matplotlib

    lines = [(curve.row.label, [(dot.step, dot.mean, dot.deviation) for dot in curve.dots]) for curve in curves]
    try:
        title = "\n".join([results.title, *notes.warnings(results.runs)])
        curve_plot.draw([(label, line) for label, line in lines if line], path, metric=metric, title=title)
    except OSError as error:
        raise BadArgument(f"--plot {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
