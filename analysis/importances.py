"""`python -m analysis.importances task=sst2`: which hyperparameters a search's results hang on.

task=<name>              whose results; may be left out where there is only one
experiment=<name>        instead of a task: the sweep of a file of conf/experiment
sweep=latest             latest | all | <sweep id>
objective=<metric>       by which trials are good; the first one of the sweep
output_dir=mlruns        where the results lie
tracking_uri=<uri>       MLflow's, where they lie elsewhere
--format text            text | markdown | csv | latex | json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from analysis import arguments, layout, notes, selection
from analysis.choosing import Criterion, Point, cells_of, points_of
from analysis.layout import FORMATS, NOTHING, Layout
from analysis.load import BadArgument, NothingToShow, Run, Store
from analysis.ped_anova import MIN_TRIALS, Trial, importances
from analysis.render import axes_of, examples
from analysis.rows import Row
from analysis.selection import Asked, Results

KEYS = (*selection.KEYS, "objective")
HEADINGS = ("Model", "Method", "Examples (epochs)")
NUM_LEFT = 2  # of them are words, the rest numbers
ALL_CELLS = "all cells"
SURE = 50  # trials, whose best tenth is five


@dataclass
class Request(Asked):
    objective: str = ""  # empty: the sweep's
    format_name: str = FORMATS[0]


@dataclass
class Searched:
    """The trials of one cell, or of all."""

    row: Row
    trials: Sequence[Trial]
    shares: dict[str, float] = field(default_factory=dict)  # hyperparameter -> importance; empty: too few trials


def main(words: Sequence[str]) -> int:
    """0; 1 where there is nothing to show; 2 for a bad argument."""
    return arguments.run(__doc__, lambda words: show(parse(words)), words)


def parse(words: Sequence[str]) -> Request:
    """Raises BadArgument."""
    values = arguments.parse(words, KEYS, {"--format": FORMATS}, "analysis.importances")
    request = Request(format_name=values.pop("--format", FORMATS[0]), **values)
    if request.objective:
        names = arguments.metric_names("objective", request.objective)
        if len(names) > 1:
            raise BadArgument(f"objective={request.objective}: one at a time")
        arguments.check_objective("objective", request.objective, "")
    return request


def show(request: Request) -> None:
    """Raises BadArgument, NothingToShow."""
    results = selection.wanted(Store(request.uri), request)
    criterion = Criterion.of(results.sweep, results.runs)
    if request.objective:
        criterion = replace(criterion, objectives=(request.objective,))
    layout.show(laid_out(results, criterion), request.format_name)


def laid_out(results: Results, criterion: Criterion) -> Layout:
    """One row for each cell, and one for all of them together. Raises NothingToShow where none has enough trials."""
    searched = searches(results.runs, criterion)
    names = list(dict.fromkeys(name for search in reversed(searched) for name in search.shares))
    if not names:
        most = max((len(search.trials) for search in searched), default=0)
        raise NothingToShow(
            f"{results.title}: importances need {MIN_TRIALS} complete trials, different in hyperparameters and in "
            f"{criterion.objective}; here are {most}"
        )
    axes = axes_of([search.row for search in searched])
    rows = [_cells(search, axes, names) for search in searched]
    records = [_record(search, criterion.objective) for search in searched]
    headings = [*HEADINGS, *axes, "Trials", *(f"{name} %" for name in names)]
    below = [*notes.data_lines(results.runs), *_notes(searched, criterion)]
    facts = {"data": notes.data_of(results.runs), "objective": criterion.objective}
    title = f"{results.title}, importances"
    return Layout(title, headings, rows, NUM_LEFT, notes.warnings(results.runs), below, facts, records)


def searches(runs: Sequence[Run], criterion: Criterion) -> list[Searched]:
    """Of all cells together the design axes are hyperparameters like any other."""
    found, pooled = [], []
    for cell in cells_of(runs):
        points = points_of(cell)
        whole = [point for point in points if _counts(point, criterion)]
        row = Row.like(cell[0])
        row.runs = [run for point in whole for run in point.complete]
        trials = [(point.varying(points), criterion.score(point, criterion.objective)) for point in whole]
        found.append(Searched(row, trials, importances(trials)))
        axes = {key: str(value) for key, value in cell[0].cell.items()}
        pooled += [({**axes, **params}, value) for params, value in trials]
    if len(found) > 1:
        found.append(Searched(Row(ALL_CELLS, "", ""), pooled, importances(pooled)))
    return found


def _counts(point: Point, criterion: Criterion) -> bool:
    return point.is_whole(criterion.replicates) and len(criterion.counted(point)) == len(point.complete)


def _cells(search: Searched, axes: Sequence[str], names: Sequence[str]) -> list[str]:
    row, shares = search.row, search.shares
    further = [row.further_axes.get(axis, NOTHING) for axis in axes]
    numbers = [f"{100 * shares[name]:.1f}" if name in shares else NOTHING for name in names]
    return [row.model, row.method, examples(row), *further, str(len(search.trials)), *numbers]


def _record(search: Searched, objective: str) -> dict[str, object]:
    row = search.row
    return {"model": row.model, "method": row.method, "train_size": row.train_size, **row.further_axes,
            "objective": objective, "trials": len(search.trials), "importances": search.shares}  # fmt: skip


def _notes(searched: Sequence[Searched], criterion: Criterion) -> list[str]:
    lines = [f"Importance (PED-ANOVA): how much a hyperparameter decides whether a trial is among the best tenth by "
             f"{criterion.objective}; a row adds up to 100."]  # fmt: skip
    counts = [len(search.trials) for search in searched]
    if min(counts) < MIN_TRIALS:
        lines.append(f"{NOTHING} of a row: fewer than {MIN_TRIALS} trials, or none better than another.")
    if any(search.shares and len(search.trials) < SURE for search in searched):
        lines.append(f"Of fewer than {SURE} trials the best tenth is fewer than five: a rough guess.")
    lines.append("Pruned and failed points are not among the trials.")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
