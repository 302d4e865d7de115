"""What is known of a sweep's trials: the points taken and told, and on a resume what earlier processes left.

Owns the user attributes of a trial, and when two trials are the same point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeper.metrics import MAXIMIZE, direction
from sweeper.search import storage
from sweeper.search.space import Cell

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from sweeper.search.kept import KeptStudy

# User attributes of a trial. RETRY_OF: number of the failed one whose place it takes; REPEATS: of the finished one of
# the same point whose values it has; CONFIRMS: of the one whose point it runs again, on SEEDS. VERDICT: why the PRUNER
# ends it, from the moment that it says so.
CELL, REASON, RUNS, FAILED_REPLICATES, RETRY_OF = "cell", "reason", "runs", "failed_replicates", "retry_of"
LOSS, REPEATS, CONFIRMS, SEEDS, PRUNER = "eval/loss", "repeats", "confirms", "seeds", "pruner"
VERDICT, CUSTOM = "verdict", "custom"  # CUSTOM: what a person's own code added to the point


@dataclass
class Progress:
    """Of one cell: the points that are taken, by this process or an earlier one."""

    wanted: int  # points asked of the cell
    is_enumerated: bool  # every point once; a trial that repeats one, left from before, is none of them
    points: set[str] = field(default_factory=set)
    finished: dict[str, FrozenTrial] = field(default_factory=dict)  # point -> the first trial told of it
    untried: Iterator[dict[str, Any]] | None = None  # of an enumerated cell: its points that are not taken
    _taken: int = 0  # trials
    _finished: int = 0

    @property
    def num_taken(self) -> int:
        return len(self.points) if self.is_enumerated else self._taken

    @property
    def num_finished(self) -> int:
        return len(self.finished) if self.is_enumerated else self._finished

    @property
    def num_left(self) -> int:
        """To be asked, those apart that are open."""
        return max(0, self.wanted - self.num_taken)

    @property
    def is_done(self) -> bool:
        return not self.num_left and self.num_finished == self.num_taken

    def take(self, point: str) -> None:
        self.points.add(point)
        self._taken += 1

    def finish(self, point: str, trial: FrozenTrial) -> None:
        self.finished.setdefault(point, trial)
        self._finished += 1

    def best(self, objectives: Sequence[str]) -> FrozenTrial | None:
        """By the first objective, ties by the others in their order and then by the loss; those with a failed replicate
        last. None where all failed. The table chooses by the same rule: `analysis.choosing.Criterion.best`."""
        complete = [trial for trial in self.finished.values() if trial.state.name == "COMPLETE"]
        return min(complete, key=lambda trial: _rank(trial, objectives), default=None)


@dataclass
class History:
    """`leftovers` were open when their process ended, `retries` failed and shall run again."""

    progress: dict[str, Progress] = field(default_factory=dict)  # by the cell's key
    leftovers: list[tuple[Cell, FrozenTrial]] = field(default_factory=list)
    retries: list[tuple[Cell, FrozenTrial]] = field(default_factory=list)
    num_failed: int = 0
    num_left_failed: int = 0  # failed, some in a part of their replicates, and not run again

    def recall(self, study: KeptStudy, cells: Mapping[str, Cell], *, retry_failed: bool) -> None:
        """A finished trial counts, unless it failed and shall run again."""
        for cell, trial in present(study, cells):
            point, progress = point_of(trial, cell), self.progress[cell.key]
            progress.take(point)
            if self.is_settled(cell, trial, retry_failed=retry_failed):
                progress.finish(point, trial)

    def is_settled(self, cell: Cell, trial: FrozenTrial, *, retry_failed: bool) -> bool:
        """Counts the trial where it failed, keeps it where it is to be run (again)."""
        in_part = trial.state.name == "COMPLETE" and FAILED_REPLICATES in trial.user_attrs
        has_failed = trial.state.name == "FAIL" or in_part
        if not trial.state.is_finished():
            self.leftovers.append((cell, trial))
        elif has_failed and retry_failed:
            self.retries.append((cell, trial))
        else:
            self.num_failed += trial.state.name == "FAIL"
            self.num_left_failed += has_failed
            return True
        return False


def present(study: KeptStudy, cells: Mapping[str, Cell]) -> Iterator[tuple[Cell, FrozenTrial]]:
    """The trials of a study; one that was retried counts as its retry does."""
    trials = study.trials
    replaced = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return ((cells[trial.user_attrs[CELL]], trial) for trial in trials if trial.number not in replaced)


def chosen(trial: FrozenTrial, cell: Cell) -> dict[str, Any]:
    """The trial's point as a run gets it: dotted key -> value."""
    values = {key: storage.decode(trial.params[key], dimension)
              for key, dimension in cell.search.items() if key in trial.params}  # fmt: skip
    return {**values, **trial.user_attrs.get(CUSTOM, {})}


def point_of(trial: FrozenTrial, cell: Cell) -> str:
    return mark(chosen(trial, cell))


def mark(point: Mapping[str, Any]) -> str:
    """The same text for the same point: its runs in a cell would be the same."""
    return json.dumps(point, sort_keys=True, default=repr)


def _rank(trial: FrozenTrial, objectives: Sequence[str]) -> tuple[bool, list[float], float, int]:
    values = [-value if direction(name) == MAXIMIZE else value
              for name, value in zip(objectives, trial.values, strict=True)]  # fmt: skip
    return FAILED_REPLICATES in trial.user_attrs, values, trial.user_attrs.get(LOSS, math.inf), trial.number
