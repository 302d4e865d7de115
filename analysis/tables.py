"""The published table: from runs to rows, one for each cell, in the order of the design.

Of several points of hyperparameters in a cell the best is shown (`choosing`), with its numbers on the reporting
split. Owns no MLflow and no layout (`load`, `render`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import notes
from analysis.choosing import Criterion, Point, cells_of, complete, points_of, problems
from analysis.load import Run, Sweep
from analysis.rows import IRREGULAR, Row

IrregularTexts = Callable[[Run], Mapping[str, int]]


@dataclass
class Table:
    title: str
    rows: list[Row]
    warnings: list[str]  # above the table
    notes: list[str]  # below it
    data: list[dict[str, str]]  # source and digest of everything shown


def build(title: str, runs: Sequence[Run], sweep: Sweep | None, irregular_texts: IrregularTexts) -> Table:
    """`sweep`: where the runs are those of one sweep; its cells that never ran are shown as missing."""
    rows = [_row(members, sweep) for members in cells_of(runs)]
    if sweep:
        rows += _missing(sweep, runs)
    rows = _in_design_order(rows, sweep)
    for row in rows:
        row.irregular = [(run.metrics[IRREGULAR], _texts(run, irregular_texts)) for run in row.runs
                         if IRREGULAR in run.metrics]  # fmt: skip
    below = notes.below(rows, runs, Criterion.of(sweep))
    return Table(title, rows, notes.warnings(runs), below, notes.data_of(runs))


def _texts(run: Run, irregular_texts: IrregularTexts) -> dict[str, int]:
    return dict(irregular_texts(run)) if run.metrics[IRREGULAR] > 0 else {}


def _row(runs: Sequence[Run], sweep: Sweep | None) -> Row:
    criterion, points, row = Criterion.of(sweep), points_of(runs), Row.like(runs[0])
    row.num_points, row.num_pruned = len(points), sum(point.is_pruned for point in points)
    best = criterion.best(points)
    if best is None:
        row.problem = _problem(runs, points, criterion.objective)
        return row
    row.chosen = best.varying(points)
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
