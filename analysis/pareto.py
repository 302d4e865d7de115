"""`python -m analysis.pareto task=sst2`: what accuracy costs, the Pareto front of a sweep.

task=<name>              whose results; may be left out where there is only one
experiment=<name>        instead of a task: the sweep of a file of conf/experiment
sweep=latest             latest | all | <sweep id>
objectives=<a>,<b>       by which points are compared; those of the sweep where it has several,
                         else its one against perf/trainable_parameters and perf/train_s
show=<a>,<b>             metrics to read beside them, which decide nothing; that which the task seeks,
                         of its test split
output_dir=mlruns        where the results lie
tracking_uri=<uri>       MLflow's, where they lie elsewhere
--format text            text | markdown | csv | latex | json
--front                  only the points on the front
--plot front.png         a picture of the first two objectives
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import arguments, front_table, layout, notes, selection
from analysis.choosing import Criterion
from analysis.columns import task_types
from analysis.front import Front, front_of
from analysis.layout import FORMATS
from analysis.load import BadArgument, NothingToShow, Store
from analysis.rows import TRAIN_SECONDS
from analysis.selection import Asked, Results
from sweeper.metrics import HEADLINE

KEYS = (*selection.KEYS, "objectives", "show")
OPTIONS = {"--format": FORMATS, "--front": (), "--plot": None}
COSTS = ("perf/trainable_parameters", TRAIN_SECONDS)


@dataclass
class Request(Asked):
    objectives: str = ""  # as on the command line; empty: the sweep's
    show: str = ""  # empty: what the task seeks
    format_name: str = FORMATS[0]
    only_front: bool = False
    plot: Path | None = None


def main(words: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    return arguments.run(__doc__, lambda words: show(parse(words)), words)


def parse(words: Sequence[str]) -> Request:
    """Raises BadArgument."""
    values = arguments.parse(words, KEYS, OPTIONS, "analysis.pareto")
    plot = arguments.picture(values.pop("--plot", None))
    format_name, only_front = values.pop("--format", FORMATS[0]), "--front" in values
    values.pop("--front", None)
    request = Request(format_name=format_name, only_front=only_front, plot=plot, **values)
    if request.show:
        arguments.metric_names("show", request.show)
    if request.objectives:
        _objectives(request.objectives)
    return request


def show(request: Request) -> None:
    """Prints it, and draws it where that was asked. Raises BadArgument, NothingToShow."""
    results = selection.wanted(Store(request.uri), request)
    objectives = _objectives(request.objectives) if request.objectives else _default_objectives(results)
    front = _front(results, objectives)
    shown = front.only() if request.only_front else front
    beside = arguments.metric_names("show", request.show) if request.show else _sought(results)
    table = front_table.laid_out(results.title, shown, beside, results.runs)
    layout.show(table, request.format_name)
    if request.plot:
        _draw(front, results, request.plot)


def table_of(tracking_uri: str, *, sweep_id: str) -> None:
    """What a sweep of several objectives prints at its end. Raises NothingToShow."""
    results = selection.of_sweep(Store(tracking_uri), sweep_id)
    front = _front(results, _default_objectives(results))
    layout.show(front_table.laid_out(results.title, front, _sought(results), results.runs), "text")


def _front(results: Results, objectives: Sequence[str]) -> Front:
    criterion = replace(Criterion.of(results.sweep, results.runs), objectives=tuple(objectives))
    per_cell = results.sweep is not None and results.sweep.tune_per_cell
    front = front_of(results.runs, criterion, per_cell=per_cell)
    if not front.points:
        why = front_table.left_out(front) or "no runs yet"
        raise NothingToShow(f"{results.title}: no complete point with {', '.join(objectives)}; {why}")
    return front


def _sought(results: Results) -> list[str]:
    """Of the reporting split."""
    return list(dict.fromkeys(f"test/{HEADLINE[task_type]}" for task_type in task_types(results.runs)))


def _default_objectives(results: Results) -> list[str]:
    own = Criterion.of(results.sweep, results.runs).objectives
    return list(own) if len(own) > 1 else [own[0], *(cost for cost in COSTS if cost != own[0])]


def _objectives(text: str) -> list[str]:
    """Raises BadArgument."""
    names = arguments.metric_names("objectives", text)
    for name in names:
        arguments.check_objective("objectives", name, f", and show={name} to read it beside")
    if len(names) < 2:
        raise BadArgument(f"objectives={text}: a front needs two or more; for example objectives={text},{COSTS[0]}")
    return names


def _draw(front: Front, results: Results, path: Path) -> None:
    """The title says what the warnings of the table say. Raises BadArgument for a place that can't be written."""
    from analysis import front_plot  # matplotlib

    try:
        front_plot.draw(front, path, title="\n".join([results.title, *notes.warnings(results.runs)]))
    except OSError as error:
        raise BadArgument(f"--plot {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
