"""`python -m analysis.curves task=sst2 metric=train/loss --plot curves.png`: one line for each row of the table.

task=<name>              whose results; may be left out where there is only one
experiment=<name>        instead of a task: the sweep of a file of conf/experiment
sweep=latest             latest | all | <sweep id>
metric=train/loss        any that is logged on the way: train/..., eval/..., fit/...
metric=<a>,<b>           several side by side, with a line for each step
output_dir=mlruns        where the results lie
tracking_uri=<uri>       MLflow's, where they lie elsewhere
--steps                  a line for each step of one metric, too
--format text            text | markdown | csv | latex | json (csv and json have every point)
--plot curves.png        a picture of them, a panel for each metric
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import arguments, curve_table, layout, notes, selection
from analysis.curve_table import Curve, Dot
from analysis.layout import FORMATS
from analysis.load import BadArgument, NothingToShow, Store
from analysis.rows import Row
from analysis.selection import Asked, Results
from analysis.tables import MADE_BY, rows_of

KEYS = (*selection.KEYS, "metric")
OPTIONS = {"--steps": (), "--format": FORMATS, "--plot": None}


@dataclass
class Request(Asked):
    metric: str = "train/loss"  # or several, as on the command line
    by_step: bool = False
    format_name: str = FORMATS[0]
    plot: Path | None = None


def main(words: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    return arguments.run(__doc__, lambda words: show(parse(words)), words)


def parse(words: Sequence[str]) -> Request:
    """Raises BadArgument."""
    values = arguments.parse(words, KEYS, OPTIONS, "analysis.curves")
    plot, by_step = arguments.picture(values.pop("--plot", None)), values.pop("--steps", None) is not None
    request = Request(by_step=by_step, format_name=values.pop("--format", FORMATS[0]), plot=plot, **values)
    arguments.metric_names("metric", request.metric)
    return request


def show(request: Request) -> None:
    """Prints the lines, and draws them where that was asked. Raises BadArgument, NothingToShow."""
    store = Store(request.uri)
    results = selection.wanted(store, request)
    rows = rows_of(results.runs, results.sweep)
    curves = {metric: curves_of(store, rows, metric) for metric in arguments.metric_names("metric", request.metric)}
    for metric, lines in curves.items():
        if not any(curve.dots for curve in lines):
            key = MADE_BY.get(metric.partition("/")[0])
            fix = f"; {key} makes some" if key else ""
            raise NothingToShow(f"{results.title}: no points of {metric}{fix}")
    (metric, lines), *others = curves.items()
    by_step = request.by_step or others
    table = curve_table.by_step(results, curves) if by_step else curve_table.laid_out(results, lines, metric)
    layout.show(table, request.format_name)
    if request.plot:
        _draw(results, curves, request.plot)


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


def _draw(results: Results, curves: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """The title says what the warnings of the table say. Raises BadArgument for a place that can't be written."""
    from analysis import curve_plot  # matplotlib

    panels = {
        metric: [(curve.row.label, [(dot.step, dot.mean, dot.deviation) for dot in curve.dots])
                 for curve in lines if curve.dots]
        for metric, lines in curves.items()
    }  # fmt: skip
    try:
        curve_plot.draw(panels, path, title="\n".join([results.title, *notes.warnings(results.runs)]))
    except OSError as error:
        raise BadArgument(f"--plot {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
