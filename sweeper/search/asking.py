"""How a trial is opened in its Optuna study: sampled, enumerated, resumed or retried.

Owns what Optuna is told of a point before it is trained. Which cell is next, and what became of a trial,
is `study`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.search import storage
from sweeper.search.history import CELL, RETRY_OF
from sweeper.search.space import Cell, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class OpenTrial:
    """A trial that is asked and not yet told."""

    cell: Cell
    trial_id: int
    number: int
    params: Mapping[str, Any]  # encoded, design and search
    is_sampled: bool = False  # the sampler wants to hear of it


@dataclass(frozen=True)
class Asker:
    space: Space
    study_per_cell: bool

    def enumerated(self, study: Study, cell: Cell, taken: Sequence[Mapping[str, Any]]) -> OpenTrial:
        """The first point of the cell that is not taken (encoded search values)."""
        from optuna.trial import TrialState, create_trial

        points = ({key: storage.encode(value) for key, value in point.items()} for point in cell.points())
        params = self._given(cell) | next(point for point in points if point not in taken)
        # One transaction instead of ten. Optuna's public `add_trial` does not say which trial it made.
        whole = create_trial(
            state=TrialState.RUNNING, params=params, distributions=self._distributions(cell),
            user_attrs={CELL: cell.key},
        )  # fmt: skip
        trial_id = study._storage.create_new_trial(study._study_id, template_trial=whole)
        return OpenTrial(cell, trial_id, study._storage.get_trial_number_from_id(trial_id), params)

    def sampled(self, study: Study, cell: Cell) -> OpenTrial:
        """The cell is given, the rest is the sampler's."""
        return self._ask(study, cell, self._given(cell), {CELL: cell.key})

    def retried(self, study: Study, cell: Cell, failed: FrozenTrial) -> OpenTrial:
        """The failed trial's point in a new trial, since Optuna reopens none."""
        return self._ask(study, cell, failed.params, {CELL: cell.key, RETRY_OF: failed.number})

    def resumed(self, study: Study, cell: Cell, kept: FrozenTrial) -> OpenTrial:
        """The trial that a stopped process left open, under its number, with what it had of its values."""
        from optuna import Trial
        from optuna.trial import TrialState

        if kept.state is TrialState.WAITING:
            study._storage.set_trial_state_values(kept._trial_id, TrialState.RUNNING)
        # Optuna has no public way back to a running trial by its number.
        trial = Trial(study, kept._trial_id)
        for key, distribution in self._distributions(cell).items():
            trial._suggest(key, distribution)
        return OpenTrial(cell, trial._trial_id, trial.number, trial.params, is_sampled=True)

    def _ask(self, study: Study, cell: Cell, given: Mapping[str, Any], noted: dict[str, Any]) -> OpenTrial:
        study.enqueue_trial(dict(given), user_attrs=noted)
        trial = study.ask(self._distributions(cell))
        return OpenTrial(cell, trial._trial_id, trial.number, trial.params, is_sampled=True)

    def _given(self, cell: Cell) -> dict[str, Any]:
        return {key: storage.encode(value) for key, value in cell.values.items()}

    def _distributions(self, cell: Cell) -> dict[str, BaseDistribution]:
        """A categorical parameter must always have the same choices: those of all cells of its study."""
        alone = self.study_per_cell
        design = {key: [value] if alone else self.space.design[key] for key, value in cell.values.items()}
        return {
            **{key: storage.categories(values) for key, values in design.items()},
            **{key: storage.distribution(dimension) for key, dimension in cell.search.items()},
        }
