"""The best point of a cell, run again on fresh seeds before it is reported.

The best of many is good in part by luck, and the seeds that chose it cannot tell. Owns which point is due and its
seeds. The runs are trials of a study of their own, which no sampler and no pruner sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeper.checks import ConfigError
from sweeper.search.history import CELL, CONFIRMS, CUSTOM, SEEDS, Progress
from sweeper.search.options import SearchOptions
from sweeper.search.space import Cell

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MAX_SEED = 2**32


def study_name(sweep_id: str) -> str:
    return f"{sweep_id} confirmed"


def fresh_seeds(search: SearchOptions, seeds: Sequence[int]) -> tuple[int, ...]:
    """The numbers after the largest seed in use. Raises ConfigError where there are none left."""
    first, number = max(seeds) + 1, search.num_fresh_seeds(len(seeds))
    if first + number > MAX_SEED:
        raise ConfigError("seed", max(seeds), f"no {number} fresh seeds below 2**32 for the best points",
                          "take smaller ones, or hydra.sweeper.confirm_seeds=0")  # fmt: skip
    return tuple(range(first, first + number))


@dataclass
class Confirmations:
    seeds: tuple[int, ...]  # none: the best points are not run again
    objectives: Sequence[str]
    _expected: set[str] = field(default_factory=set)  # keys of cells whose best point may still be asked for
    _due: list[tuple[Cell, FrozenTrial]] = field(default_factory=list)
    _asked: dict[tuple[str, int], int] = field(default_factory=dict)  # cell's key, trial confirmed -> seeds it got

    @property
    def num_left(self) -> int:
        return len(self._expected)

    def is_expected(self, cell: Cell) -> bool:
        return cell.key in self._expected

    def recall(self, trials: Iterable[tuple[Cell, FrozenTrial]]) -> None:
        for cell, trial in trials:
            self._note(cell, trial.user_attrs[CONFIRMS], len(trial.user_attrs[SEEDS]))

    def begin(self, cell: Cell, progress: Progress) -> None:
        """Where several points are asked of a cell, or were."""
        if self.seeds and max(progress.wanted, len(progress.points)) > 1:
            self._expected.add(cell.key)
            self.settle(cell, progress)

    def settle(self, cell: Cell, progress: Progress) -> None:
        """Once all trials of the cell are told: its best point is due, unless it was confirmed before."""
        if not self.is_expected(cell) or not progress.is_done:
            return
        best = progress.best(self.objectives)
        if best is None or len(progress.points) < 2 or self._asked.get((cell.key, best.number), 0) >= len(self.seeds):
            self._expected.discard(cell.key)
        else:
            self._due.append((cell, best))

    def take(self) -> tuple[Cell, FrozenTrial] | None:
        """The cell that is due, and a trial, not yet stored, that runs its best point again."""
        from optuna.trial import TrialState, create_trial

        if not self._due:
            return None
        cell, best = self._due.pop(0)
        self._expected.discard(cell.key)
        self._note(cell, best.number, len(self.seeds))
        notes = {CELL: cell.key, CONFIRMS: best.number, SEEDS: list(self.seeds)}
        kept = {CUSTOM: best.user_attrs[CUSTOM]} if CUSTOM in best.user_attrs else {}
        return cell, create_trial(state=TrialState.RUNNING, params=best.params, distributions=best.distributions,
                                  user_attrs={**notes, **kept})  # fmt: skip

    def _note(self, cell: Cell, number: int, num_seeds: int) -> None:
        key = cell.key, number
        self._asked[key] = max(num_seeds, self._asked.get(key, 0))
