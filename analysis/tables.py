"""The published table: from runs to rows, and the notes that belong below it.

One row is one cell; of several points of hyperparameters in a cell the one with the best selection metric
is shown, with its numbers on the reporting split. Owns no MLflow and no layout (`load`, `render`).
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.load import COMPLETE, DATA_DIGEST, DATA_SOURCE, DEFAULT_OBJECTIVE, DEMO, DETAIL, PRUNED, TRIAL, Run, Sweep
from sweeper.metrics import MINIMIZE, direction

ACCURACY, F1 = "test/accuracy", "test/f1_macro"
EVAL_LOSS = "eval/loss"  # decides between equals
LOSS_FIRST, LOSS_LAST = "train/loss_first", "train/loss_last"
IRREGULAR, IRREGULAR_SHARE = "test/irregular", "test/irregular_share"
EXAMPLES, EPOCHS, TEST_EXAMPLES = "data/train_examples", "train/epoch", "data/test_examples"
# Of a cell: these are columns of every table, whatever the sweep swept.
OWN_COLUMNS = frozenset({"model", "peft", "task.train_size"})

IrregularTexts = Callable[[Run], Mapping[str, int]]


@dataclass
class Row:
    model: str
    method: str
    train_size: int | str
    cell: dict[str, Any] = field(default_factory=dict)  # design axis -> value
    runs: list[Run] = field(default_factory=list)  # the complete replicates of the point shown
    expected: int = 1  # replicates
    problem: str = ""  # what the cell shows instead of numbers
    chosen: dict[str, str] = field(default_factory=dict)  # the best hyperparameters, where several were tried
    irregular: list[tuple[float, dict[str, int]]] = field(default_factory=list)  # count and texts, per replicate

    def values(self, name: str) -> list[float]:
        return [run.metrics[name] for run in self.runs if name in run.metrics]

    def mean(self, name: str) -> float | None:
        values = self.values(name)
        return statistics.fmean(values) if values else None

    def deviation(self, name: str) -> float | None:
        """Sample standard deviation over the replicates."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def further_axes(self) -> dict[str, str]:
        """Design axes beyond the columns of every table."""
        return {key: str(value) for key, value in self.cell.items() if key not in OWN_COLUMNS}

    @property
    def all_irregular(self) -> bool:
        shares = self.values(IRREGULAR_SHARE)
        return bool(shares) and min(shares) >= 1


@dataclass
class Table:
    title: str
    rows: list[Row]
    warnings: list[str]  # above the table
    notes: list[str]  # below it
    data: list[dict[str, str]]  # source and digest of everything shown


def build(title: str, runs: Sequence[Run], sweep: Sweep | None, irregular_texts: IrregularTexts) -> Table:
    """`sweep`: where the runs are those of one sweep; its cells that never ran are shown as missing."""
    cells: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        cells.setdefault(_cell_key(run), []).append(run)
    objective = sweep.objective if sweep else DEFAULT_OBJECTIVE
    rows = [_row(members, objective, sweep) for members in cells.values()]
    if sweep:
        rows += _missing(sweep, runs)
    rows = _in_design_order(rows, sweep)
    for row in rows:
        row.irregular = [(run.metrics[IRREGULAR], _texts(run, irregular_texts)) for run in row.runs
                         if IRREGULAR in run.metrics]  # fmt: skip
    data = sorted({(run.tags.get(DATA_SOURCE, "?"), run.tags.get(DATA_DIGEST, "?")) for run in runs})
    return Table(
        title, rows, _warnings(runs, data), _notes(rows, runs, data, objective),
        [{"source": source, "digest": digest} for source, digest in data],
    )  # fmt: skip


def _texts(run: Run, irregular_texts: IrregularTexts) -> dict[str, int]:
    return dict(irregular_texts(run)) if run.metrics[IRREGULAR] > 0 else {}


def _cell_key(run: Run) -> tuple[Any, ...]:
    further = sorted((key, str(value)) for key, value in run.cell.items() if key not in OWN_COLUMNS)
    return run.model, run.method, run.train_size, run.params.get("task.head"), tuple(further)


def _row(runs: Sequence[Run], objective: str, sweep: Sweep | None) -> Row:
    first = runs[0]
    row = Row(first.model, first.method, first.train_size, first.cell)
    points: dict[frozenset[tuple[str, str]], list[Run]] = {}
    for run in runs:
        points.setdefault(frozenset(run.hyperparameters.items()), []).append(run)
    best = _best(list(points.values()), objective)
    if best is None:
        row.problem = f"no {objective} to choose by" if _num_complete(runs) else _problems(runs)
        return row
    row.runs = sorted((run for run in best if run.state == COMPLETE), key=lambda run: run.seed)
    row.expected = max(len({run.seed for run in best}), sweep.replicates if sweep else 1)
    row.chosen = _varying(best[0], list(points))
    return row


def _best(points: Sequence[Sequence[Run]], objective: str) -> Sequence[Run] | None:
    """The only point with a result, or the one of best mean selection metric; whole points before partial ones.

    Of equals the one of lower loss on the same rows, then the one that was tried first.
    """
    points = [point for point in points if _num_complete(point)]
    if len(points) <= 1:
        return points[0] if points else None
    sign = -1 if direction(objective) == MINIMIZE else 1
    scored = []
    for number, point in enumerate(points):
        values, losses = _measured(point, objective), _measured(point, EVAL_LOSS)
        if values:
            loss = statistics.fmean(losses) if losses else math.inf
            trial = min(int(run.tags.get(TRIAL, 0)) for run in point)
            scored.append((len(values) == len(point), sign * statistics.fmean(values), -loss, -trial, -number))
    return points[-max(scored)[-1]] if scored else None


def _measured(runs: Sequence[Run], name: str) -> list[float]:
    """Finite values: what is not a number chooses nothing."""
    values = [run.metrics[name] for run in runs if run.state == COMPLETE and name in run.metrics]
    return [value for value in values if math.isfinite(value)]


def _num_complete(runs: Sequence[Run]) -> int:
    return sum(run.state == COMPLETE for run in runs)


def _problems(runs: Sequence[Run]) -> str:
    """`failed: out of memory`, or `2 failed: diverged, 1 pruned` where a cell has several runs."""
    counts = Counter(run.problem for run in runs)
    if len(runs) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {problem}" for problem, count in counts.items())


def _varying(run: Run, points: Sequence[frozenset[tuple[str, str]]]) -> dict[str, str]:
    """The hyperparameters in which the points of the cell differ, as this run has them."""
    if len(points) < 2:
        return {}
    common = frozenset.intersection(*points)
    return {key: value for key, value in run.hyperparameters.items() if (key, value) not in common}


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


def _warnings(runs: Sequence[Run], data: Sequence[tuple[str, str]]) -> list[str]:
    demo = sorted({(run.params.get("task.name", "?"), run.tags.get(DATA_SOURCE, "?")) for run in runs
                   if run.tags.get(DEMO) == "true"})  # fmt: skip
    warnings = [f"DEMO DATA, not {_shown_name(task)}: {source}" for task, source in demo]
    if len({digest for _, digest in data}) > 1:
        warnings.append("NOT COMPARABLE: these runs did not read the same data (see the digests below)")
    return warnings


def _shown_name(task: str) -> str:
    return {"sst2": "SST-2"}.get(task, task)


def _notes(rows: Sequence[Row], runs: Sequence[Run], data: Sequence[tuple[str, str]], objective: str) -> list[str]:
    notes = [f"Data: {source} (sha256 {digest[:12]})" for source, digest in data]
    sizes = sorted({int(run.metrics[TEST_EXAMPLES]) for run in runs if TEST_EXAMPLES in run.metrics})
    rows_of_test = f", {' or '.join(f'{size:,}' for size in sizes)} rows" if sizes else ""
    notes.append(f"Evaluation: the test split{rows_of_test}; an irregular output counts as wrong; F1 is macro.")
    if any(row.chosen for row in rows):
        notes.append(f"Hyperparameters: the best of each cell by {objective}, on other rows than the test split.")
    if any(row.expected > 1 for row in rows):
        notes.append("± is the standard deviation over seeds.")
    return notes + _incomplete(runs)


def _incomplete(runs: Sequence[Run]) -> list[str]:
    """Every run that has no result, with its reason; pruned ones, which a search has many of, by number."""
    num_pruned = sum(run.state == PRUNED for run in runs)
    lines = [f"Pruned: {num_pruned} run{'s' if num_pruned > 1 else ''}."] if num_pruned else []
    for run in runs:
        if run.state not in (COMPLETE, PRUNED):
            detail = run.tags.get(DETAIL, "")
            lines.append(f"{run.run_id}: {run.problem}" + (f" ({detail})" if detail else ""))
    return lines
