"""Which of a cell's points a table shows: the best of the search, by numbers of the search alone.

Runs that repeat the best point on fresh seeds report it; they never take part in choosing it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.load import COMPLETE, DEFAULT_OBJECTIVE, PRUNED, TRIAL, Run, Sweep
from analysis.rows import OWN_COLUMNS
from sweeper.metrics import HEADLINE, MINIMIZE, direction

EVAL_LOSS = "eval/loss"  # decides between equals


@dataclass
class Point:
    """One set of hyperparameters in one cell."""

    runs: list[Run] = field(default_factory=list)  # the search's replicates
    fresh: list[Run] = field(default_factory=list)  # the same on seeds that chose nothing

    @property
    def complete(self) -> list[Run]:
        return complete(self.runs)

    @property
    def is_pruned(self) -> bool:
        """One pruned replicate prunes the trial: the others ended before the pruner spoke, and stand for nothing."""
        return any(run.state == PRUNED for run in self.runs)

    def num_expected(self, replicates: int) -> int:
        return max(len({run.seed for run in self.runs}), replicates)

    def is_whole(self, replicates: int) -> bool:
        return not self.is_pruned and len(self.complete) == self.num_expected(replicates)

    def varying(self, points: Iterable[Point]) -> dict[str, str]:
        """The hyperparameters in which the points of the cell differ, as this one has them."""
        common = frozenset.intersection(*(frozenset(point.runs[0].hyperparameters.items()) for point in points))
        return {key: value for key, value in self.runs[0].hyperparameters.items() if (key, value) not in common}


@dataclass(frozen=True)
class Criterion:
    """What makes one point better than another: as the search ranks its trials."""

    objectives: tuple[str, ...] = (DEFAULT_OBJECTIVE,)
    objective_std: float = 0.0  # standard deviations over the replicates that count against a mean
    replicates: int = 1  # of a whole point

    @classmethod
    def of(cls, sweep: Sweep | None, runs: Sequence[Run] = ()) -> Criterion:
        """As the sweep has it; of runs that no sweep belongs to, what their task seeks."""
        if sweep:
            return cls(sweep.objectives, sweep.objective_std, sweep.replicates)
        return cls((f"eval/{HEADLINE[runs[0].task_type]}",)) if runs else cls()

    @property
    def objective(self) -> str:
        return self.objectives[0]

    def best(self, points: Sequence[Point]) -> Point | None:
        """The only point with a result, or the one of best first objective; whole points before partial ones.

        Of equals the one that is better in the further objectives, then in the loss on the same rows, then the one
        that was tried first. Pruned ones never.
        """
        points = [point for point in points if point.complete and not point.is_pruned]
        if len(points) <= 1:
            return points[0] if points else None
        scored = []
        for number, point in enumerate(points):
            if counted := self.counted(point):
                is_whole = len(counted) == point.num_expected(self.replicates)
                scores = [self.score(point, name) for name in (*self.objectives, EVAL_LOSS)]
                trial = min(int(run.tags.get(TRIAL, 0)) for run in point.runs)
                scored.append((is_whole, scores, -trial, -number))
        return points[-max(scored)[-1]] if scored else None

    def counted(self, point: Point) -> list[Run]:
        """The replicates that can choose, as the search has them: with every objective, and nothing that is not
        finite, be it only the loss. Such weights are broken, whatever accuracy they have by chance."""
        return [run for run in point.complete if not self.why_not(run)]

    def why_not(self, run: Run) -> str:
        """The first number that the run lacks; empty where it has them all."""
        values = {name: run.metrics.get(name, math.nan) for name in self.objectives}
        values[EVAL_LOSS] = values.get(EVAL_LOSS, run.metrics.get(EVAL_LOSS, 0.0))
        return next((name for name, value in values.items() if not math.isfinite(value)), "")

    def score(self, point: Point, name: str) -> float:
        """Larger is better; the worst where nothing was measured. Deviations count against objectives only."""
        values = [run.metrics[name] for run in self.counted(point) if name in run.metrics]
        if not values:
            return -math.inf
        num_std = self.objective_std if name in self.objectives and len(values) > 1 else 0.0
        sign = -1 if direction(name) == MINIMIZE else 1
        return sign * statistics.fmean(values) - (num_std * statistics.stdev(values) if num_std else 0.0)


def complete(runs: Iterable[Run]) -> list[Run]:
    """By seed."""
    return sorted((run for run in runs if run.state == COMPLETE), key=lambda run: run.seed)


def cells_of(runs: Iterable[Run]) -> list[list[Run]]:
    """In the order in which the cells were started."""
    cells: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        further = sorted((key, str(value)) for key, value in run.cell.items() if key not in OWN_COLUMNS)
        key = run.model, run.method, run.train_size, run.params.get("task.head"), tuple(further)
        cells.setdefault(key, []).append(run)
    return list(cells.values())


def points_of(cell: Iterable[Run]) -> list[Point]:
    """In the order in which they were started. Fresh runs find their point by its hyperparameters: the trial that
    they name may have been answered from an earlier trial of the same point, or retried under another number."""
    points: dict[frozenset[tuple[str, str]], Point] = {}
    for run in cell:
        point = points.setdefault(frozenset(run.hyperparameters.items()), Point())
        (point.runs if run.confirms is None else point.fresh).append(run)
    return [point for point in points.values() if point.runs]


def problems(runs: Iterable[Run]) -> str:
    """`failed: out of memory`, or `2 failed: diverged, 1 pruned` of several runs."""
    counts = Counter(run.problem for run in runs if run.state != COMPLETE)
    if counts.total() == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {problem}" for problem, count in counts.items())
