"""`python -m analysis.table task=sst2`: the published table, from MLflow.

task=<name>              whose results; may be left out where there is only one
experiment=<name>        instead of a task: the sweep of a file of conf/experiment
sweep=latest             latest | all | <sweep id>
model=<name>             only this model's rows
split=test               test | eval (the selection split) | fit (the training rows, of task.score_train)
columns=<a>,<b>          metrics without their split; those of the experiment's report.columns, else the task's own
output_dir=mlruns        where the results lie
tracking_uri=<uri>       MLflow's, where they lie elsewhere
--published              the figures of the experiment's report.published, in rows below ours
--format text            text | markdown | csv | latex | json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from analysis import arguments, layout, selection
from analysis.columns import TEST, check_columns
from analysis.layout import FORMATS
from analysis.load import BadArgument, NothingToShow, Report, Store, nearest
from analysis.render import laid_out
from analysis.selection import Asked, Results
from analysis.tables import SPLITS, View, build

KEYS = (*selection.KEYS, "model", "split", "columns")
OPTIONS = {"--published": (), "--format": FORMATS}


@dataclass
class Request(Asked):
    model: str | None = None
    split: str = TEST
    columns: str = ""  # as on the command line
    format_name: str = FORMATS[0]
    published: bool = False

    @property
    def column_names(self) -> list[str]:
        return [name.strip() for name in self.columns.split(",")] if self.columns else []


def main(words: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    return arguments.run(__doc__, lambda words: show(parse(words)), words)


def parse(words: Sequence[str]) -> Request:
    """Raises BadArgument."""
    values = arguments.parse(words, KEYS, OPTIONS, "analysis.table")
    published = values.pop("--published", None) is not None
    request = Request(format_name=values.pop("--format", FORMATS[0]), published=published, **values)
    if request.split not in SPLITS:
        fix = nearest(request.split, SPLITS)
        raise BadArgument(f"split={request.split}: not one of {', '.join(SPLITS)}; {fix}".rstrip("; "))
    if published and request.split != TEST:
        raise BadArgument(f"--published: published figures are of the test split; leave out split={request.split}")
    check_columns("columns", request.column_names)
    return request


def show(request: Request, console: Console | None = None) -> None:
    """Raises BadArgument, NothingToShow."""
    store = Store(request.uri)
    results = selection.wanted(store, request)
    if request.model is not None:
        results = _of_model(request.model, results)
    report = _report(results)
    if request.published and not report.published:
        raise NothingToShow(f"{results.title}: {_why_unpublished(store, results)}")
    view = View(request.split, request.column_names, report, request.published)
    _show(store, results, view, request.format_name, console)


def print_table(tracking_uri: str, *, sweep_id: str | None = None, run_id: str | None = None) -> None:
    """What a sweep or a run prints at its end. Neither: the latest sweep of the only task.

    Raises NothingToShow.
    """
    store = Store(tracking_uri)
    if run_id is not None:
        task, experiment = store.experiment(store.experiment_of(run_id=run_id))
        results = Results(task, None, store.runs(experiment, run_id=run_id), f"run {run_id}")
        _show(store, results, View(report=_report(results)))
    elif sweep_id is not None:
        results = selection.of_sweep(store, sweep_id)
        _show(store, results, View(report=_report(results)))
    else:
        show(Request(tracking_uri=tracking_uri))


def _report(results: Results) -> Report:
    """That of the sweep; of runs by themselves, what they all ask for."""
    if results.sweep:
        return results.sweep.report
    reports = [Report.of(run.tags) for run in results.runs]
    return reports[0] if reports and all(report == reports[0] for report in reports) else Report()


def _why_unpublished(store: Store, results: Results) -> str:
    sweeps = [] if results.sweep else store.sweeps(store.experiment(results.task)[1])
    having = dict.fromkeys(f"experiment={sweep.experiment}" if sweep.experiment else f"sweep={sweep.sweep_id}"
                           for sweep in sweeps if sweep.report.published)  # fmt: skip
    if having:
        return f"published figures belong to one sweep; {' or '.join(having)} shows them"
    return "no published figures; an experiment names them in report.published"


def _show(
    store: Store, results: Results, view: View, format_name: str = FORMATS[0], console: Console | None = None
) -> None:
    if not results.runs and not (results.sweep and results.sweep.cells):
        raise NothingToShow(f"{results.title}: no runs yet")
    table = build(results.title, results.runs, results.sweep, store.irregular, view)
    layout.show(laid_out(table), format_name, console)


def _of_model(model: str, results: Results) -> Results:
    models = sorted({run.model for run in results.runs})
    if model not in models:
        raise BadArgument(f"model={model}: not among {', '.join(models)}; {nearest(model, models)}".rstrip("; "))
    own = [run for run in results.runs if run.model == model]
    choices = [run.cell.get("model") for run in own]
    sweep = results.sweep
    if sweep:
        sweep = replace(sweep, cells=[cell for cell in sweep.cells if cell.get("model") in choices])
    return replace(results, sweep=sweep, runs=own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
