"""`python -m analysis.table task=sst2`: the published table, from MLflow.

task=<name>              the experiment; may be left out where there is only one
sweep=latest             latest | all | <sweep id>
model=<name>             only this model's rows
output_dir=mlruns        where the results lie
tracking_uri=<uri>       MLflow's, where they lie elsewhere
--format text            text | markdown | csv | latex | json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from analysis import arguments, layout, selection
from analysis.layout import FORMATS
from analysis.load import BadArgument, NothingToShow, Store, nearest
from analysis.render import laid_out
from analysis.selection import Results
from analysis.tables import build

KEYS = ("task", "sweep", "model", "output_dir", "tracking_uri")


@dataclass
class Request:
    task: str | None = None
    sweep: str = "latest"
    model: str | None = None
    output_dir: str = "mlruns"
    tracking_uri: str | None = None
    format_name: str = "text"

    @property
    def uri(self) -> str:
        return selection.address(self.output_dir, self.tracking_uri)


def main(words: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    return arguments.run(__doc__, lambda words: show(parse(words)), words)


def parse(words: Sequence[str]) -> Request:
    """Raises BadArgument."""
    values = arguments.parse(words, KEYS, {"--format": FORMATS}, "analysis.table")
    return Request(format_name=values.pop("--format", FORMATS[0]), **values)


def show(request: Request, console: Console | None = None) -> None:
    """Raises BadArgument, NothingToShow."""
    store = Store(request.uri)
    results = selection.wanted(store, request.task, request.sweep)
    if request.model is not None:
        results = _of_model(request.model, results)
    _show(store, results, request.format_name, console=console)


def print_table(tracking_uri: str, *, sweep_id: str | None = None, run_id: str | None = None) -> None:
    """What a sweep or a run prints at its end. Neither: the latest sweep of the only task.

    Raises NothingToShow.
    """
    store = Store(tracking_uri)
    if run_id is not None:
        task, experiment = store.experiment(store.experiment_of(run_id=run_id))
        _show(store, Results(task, None, store.runs(experiment, run_id=run_id)), title=f"{task}: run {run_id}")
    elif sweep_id is not None:
        _show(store, selection.of_sweep(store, sweep_id))
    else:
        show(Request(tracking_uri=tracking_uri))


def _show(
    store: Store, results: Results, format_name: str = "text", *, title: str = "", console: Console | None = None
) -> None:
    title = title or results.title
    if not results.runs and not (results.sweep and results.sweep.cells):
        raise NothingToShow(f"{title}: no runs yet")
    table = build(title, results.runs, results.sweep, store.irregular)
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
    return Results(results.task, sweep, own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
