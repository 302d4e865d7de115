"""The published table: from runs to rows, one for each cell, in the order of the design.

Of several points of hyperparameters in a cell the best is shown (`choosing`), with its numbers on the reporting
split, or on another one that was asked for. Owns no MLflow and no layout (`load`, `render`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis import notes, published
from analysis.choosing import Criterion, Point, cells_of, complete, points_of, problems
from analysis.columns import TEST, Column, columns_of
from analysis.load import NothingToShow, Report, Run, Sweep
from analysis.rows import IRREGULAR, Row

IrregularTexts = Callable[[Run], Mapping[str, int]]
SPLITS = {TEST: "the test split", "eval": "the selection split", "fit": "the training rows"}
MADE_BY = {"eval": "task.selection_size=1000", "fit": "task.score_train=true"}  # the key that measures a split


@dataclass(frozen=True)
class View:
    """What of the runs is wanted."""

    split: str = TEST
    columns: Sequence[str] = ()  # as on the command line; none: the experiment's, else the task's
    report: Report = field(default_factory=Report)
    published: bool = False  # below ours


@dataclass
class Table:
    title: str
    rows: list[Row]
    columns: list[Column]
    warnings: list[str]  # above the table
    notes: list[str]  # below it
    data: list[dict[str, str]]  # source and digest of everything shown
    left_over: list[published.Entry] = field(default_factory=list)  # published, of no row

    @property
    def lead(self) -> Column:
        """The column in which a row without numbers says why."""
        return self.columns[0]


def build(
    title: str, runs: Sequence[Run], sweep: Sweep | None, irregular_texts: IrregularTexts, view: View | None = None
) -> Table:
    """`sweep`: where the runs are those of one sweep; its cells that never ran are shown as missing.

    Raises BadArgument for a column that is no metric, NothingToShow for a split that no run measured.
    """
    view = view or View(report=sweep.report if sweep else Report())
    columns = columns_of(runs, view.columns or view.report.columns, view.split)
    rows, criterion = rows_of(runs, sweep), Criterion.of(sweep, runs)
    _check_split(view.split, rows)
    for row in rows:
        row.irregular = _irregular(row, view.split, irregular_texts)
    below = notes.below(rows, runs, criterion, columns)
    below += published.scale_notes(view.report, is_compared=view.published)
    left_over: list[published.Entry] = []
    if view.published:
        columns += published.further_columns(columns, view.report)
        left_over = published.place(rows, view.report)
        below += published.notes(view.report, left_over, columns)
    if view.split != TEST:
        title += f", {SPLITS[view.split]}"
    return Table(title, rows, columns, notes.warnings(runs), below, notes.data_of(runs), left_over)


def rows_of(runs: Sequence[Run], sweep: Sweep | None) -> list[Row]:
    """In the order of the table."""
    rows = [_row(members, sweep) for members in cells_of(runs)]
    if sweep:
        rows += _missing(sweep, runs)
    return _in_design_order(rows, sweep)


def _check_split(split: str, rows: Sequence[Row]) -> None:
    measured = [name for row in rows for run in row.runs for name in run.metrics]
    if split != TEST and measured and not any(name.startswith(f"{split}/") for name in measured):
        raise NothingToShow(f"split={split}: no run has numbers of {SPLITS[split]}; {MADE_BY[split]} makes some")


def _irregular(row: Row, split: str, texts: IrregularTexts) -> list[tuple[float, dict[str, int]]]:
    """The texts are kept of the reporting split only."""
    metric = f"{split}/{IRREGULAR}"
    counts = [(run, run.metrics[metric]) for run in row.runs if metric in run.metrics]
    return [(count, dict(texts(run)) if count > 0 and split == TEST else {}) for run, count in counts]


def _row(runs: Sequence[Run], sweep: Sweep | None) -> Row:
    criterion, points, row = Criterion.of(sweep, runs), points_of(runs), Row.like(runs[0])
    row.num_points, row.num_pruned = len(points), sum(point.is_pruned for point in points)
    best = criterion.best(points)
    if best is None:
        row.problem = _problem(runs, points, criterion.objective)
        return row
    row.chosen, row.params = best.varying(points), best.runs[0].params
    _report(row, best, criterion.replicates, sweep.confirm_seeds if sweep else 0)
    return row


def _problem(runs: Sequence[Run], points: Sequence[Point], objective: str) -> str:
    if points and all(point.is_pruned for point in points):
        return "pruned"
    if any(point.complete and not point.is_pruned for point in points):
        return f"no {objective} to choose by"
    return problems(runs) or "only runs on fresh seeds"


def _report(row: Row, best: Point, replicates: int, confirm_seeds: int) -> None:
    """The numbers of the fresh seeds, where there are any; else those of the search, which are too good: they chose."""
    fresh = complete(best.fresh)
    if fresh:
        row.runs, row.searched, row.expected = fresh, best.complete, max(len(best.fresh), confirm_seeds)
        return
    row.runs, row.expected = best.complete, best.num_expected(replicates)
    if best.fresh:
        row.unconfirmed = problems(best.fresh)
    elif confirm_seeds and row.num_points > 1:
        row.unconfirmed = "missing"


def _missing(sweep: Sweep, runs: Sequence[Run]) -> list[Row]:
    """Design cells in which nothing was started."""
    started = [run.cell for run in runs]
    return [
        Row(
            _name(cell, "model", [(run.cell, run.model) for run in runs]),
            _name(cell, "peft", [(run.cell, run.method) for run in runs]),
            cell.get("task.train_size", runs[0].train_size if runs else "full"),
            cell, expected=sweep.replicates, problem="missing",
        )
        for cell in sweep.cells
        if cell not in started
    ]  # fmt: skip


def _name(cell: Mapping[str, Any], axis: str, named: Sequence[tuple[Mapping[str, Any], str]]) -> str:
    """What the runs with the same choice call it: a file under `conf/` and its model have different names."""
    same = [name for other, name in named if other.get(axis) == cell.get(axis)]
    return same[0] if same else str(cell.get(axis, "–"))


def _in_design_order(rows: list[Row], sweep: Sweep | None) -> list[Row]:
    """As the sweep lists its cells, but sizes ascending and full last."""
    listed = [json.dumps(_but_size(cell)) for cell in sweep.cells] if sweep else []
    seen = [(row.model, row.method, json.dumps(_but_size(row.cell))) for row in rows]

    def position(row: Row) -> tuple[int, int, bool, int]:
        cell = json.dumps(_but_size(row.cell))
        in_sweep = listed.index(cell) if cell in listed else len(listed)
        full = not isinstance(row.train_size, int)
        return in_sweep, seen.index((row.model, row.method, cell)), full, 0 if full else int(row.train_size)

    return sorted(rows, key=position)


def _but_size(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cell.items() if key != "task.train_size"}
