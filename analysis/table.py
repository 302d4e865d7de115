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
from pathlib import Path

from rich.console import Console

from analysis.load import SQLITE, BadArgument, NothingToShow, Run, Store, Sweep, nearest
from analysis.render import FORMATS, print_text, render
from analysis.tables import build

KEYS = ("task", "sweep", "model", "output_dir", "tracking_uri")
PLAIN_WIDTH = 200  # where there is no terminal: a file or a pipe shall not be cut at 80 columns


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
        return self.tracking_uri or f"{SQLITE}{Path(self.output_dir) / 'mlflow.db'}"


def main(arguments: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        show(parse(arguments))
    except BadArgument as error:
        print(error, file=sys.stderr)
        return 2
    except NothingToShow as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str]) -> Request:
    """Raises BadArgument."""
    request, words = Request(), list(arguments)
    while words:
        word = words.pop(0)
        if word.startswith("--format"):
            _, equals, name = word.partition("=")
            if not equals:
                name = words.pop(0) if words else ""
            if name not in FORMATS:
                raise BadArgument(
                    f"--format {name}: not one of {', '.join(FORMATS)}; {nearest(name, FORMATS)}".rstrip("; ")
                )
            request.format_name = name
            continue
        key, equals, value = word.partition("=")
        if key not in KEYS or not value:
            rule = "unknown argument" if key not in KEYS else f"needs a value, {key}=..."
            fix = nearest(key.lstrip("-"), (*KEYS, "--format")) if key not in KEYS else ""
            raise BadArgument(f"{word}: {rule}; {fix or 'python -m analysis.table --help shows them all'}")
        setattr(request, key, value)
    return request


def show(request: Request, console: Console | None = None) -> None:
    """Raises BadArgument, NothingToShow."""
    store = Store(request.uri)
    task, experiment = store.experiment(request.task)
    sweep = _sweep(store.sweeps(experiment), request.sweep, task)
    runs = store.runs(experiment, sweep_id=sweep.sweep_id if sweep else None)
    if request.model is not None:
        runs, sweep = _of_model(request.model, runs, sweep)
    _show(store, request.format_name, _title(task, sweep), runs, sweep, console)


def print_table(tracking_uri: str, *, sweep_id: str | None = None, run_id: str | None = None) -> None:
    """What a sweep or a run prints at its end. Neither: the latest sweep of the only task.

    Raises NothingToShow.
    """
    store = Store(tracking_uri)
    if sweep_id is None and run_id is None:
        show(Request(tracking_uri=tracking_uri))
        return
    task, experiment = store.experiment(store.experiment_of(sweep_id=sweep_id, run_id=run_id))
    sweep = next((found for found in store.sweeps(experiment) if found.sweep_id == sweep_id), None)
    title = _title(task, sweep) if run_id is None else f"{task}: run {run_id}"
    _show(store, "text", title, store.runs(experiment, sweep_id=sweep_id, run_id=run_id), sweep)


def _show(
    store: Store, format_name: str, title: str, runs: Sequence[Run], sweep: Sweep | None, console: Console | None = None
) -> None:
    if not runs and not (sweep and sweep.cells):
        raise NothingToShow(f"{title}: no runs yet")
    table = build(title, runs, sweep, store.irregular)
    if format_name == "text":
        plain = console or Console()
        print_text(table, plain if plain.is_terminal or console else Console(width=PLAIN_WIDTH))
    else:
        print(render(table, format_name))


def _sweep(sweeps: Sequence[Sweep], wanted: str, task: str) -> Sweep | None:
    """None for all runs, whatever sweep they belong to; also where there never was a sweep."""
    if wanted == "all" or (wanted == "latest" and not sweeps):
        return None
    if wanted == "latest":
        return sweeps[0]
    names = [sweep.sweep_id for sweep in sweeps]
    if wanted not in names:
        raise BadArgument(f"sweep={wanted}: not a sweep of {task}; there is {', '.join([*names, 'latest', 'all'])}")
    return sweeps[names.index(wanted)]


def _of_model(model: str, runs: Sequence[Run], sweep: Sweep | None) -> tuple[list[Run], Sweep | None]:
    models = sorted({run.model for run in runs})
    if model not in models:
        raise BadArgument(f"model={model}: not among {', '.join(models)}; {nearest(model, models)}".rstrip("; "))
    own = [run for run in runs if run.model == model]
    choices = [run.cell.get("model") for run in own]
    cells = [cell for cell in sweep.cells if cell.get("model") in choices] if sweep else []
    return own, replace(sweep, cells=cells) if sweep else None


def _title(task: str, sweep: Sweep | None) -> str:
    return f"{task}: sweep {sweep.sweep_id} ({sweep.state.lower()})" if sweep else f"{task}: all runs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
