"""How a trial is opened in its Optuna study: sampled, enumerated, resumed or retried.

Owns what Optuna is told of a point before it is trained: each key after those of its condition, and no key whose
condition does not hold. Which cell is next, and what became of a trial, is `trials`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeper.config import RunConfig
from sweeper.search import storage
from sweeper.search.custom import one_line
from sweeper.search.history import CELL, CUSTOM, RETRY_OF, Progress, mark
from sweeper.search.space import Cell, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial


@dataclass(frozen=True)
class OpenTrial:
    """A trial that is asked and not yet told."""

    number: int
    point: Mapping[str, Any]  # what the trial tries: dotted key -> value
    refusal: str = ""  # why a person's own code gave it nothing to train: it is a FAIL


@dataclass(frozen=True)
class Asker:
    space: Space
    config: Callable[[Cell, Mapping[str, Any]], RunConfig]  # raises ConfigError
    study_per_cell: bool
    _design: dict[str, BaseDistribution] = field(default_factory=dict)  # of the design keys so far

    def enumerated(self, study: Study, cell: Cell, progress: Progress) -> OpenTrial:
        """The next point of the cell that is not taken."""
        from optuna.trial import TrialState, create_trial

        if progress.untried is None:
            progress.untried = _untried(cell, progress.points)
        point = next(progress.untried)
        params = _encoded({**cell.values, **point})
        # One transaction instead of ten. Optuna's public `add_trial` does not say which trial it made.
        whole = create_trial(
            state=TrialState.RUNNING, params=params, user_attrs={CELL: cell.key},
            distributions={key: self._distribution(cell, key) for key in params},
        )  # fmt: skip
        trial_id = study._storage.create_new_trial(study._study_id, template_trial=whole)
        return OpenTrial(study._storage.get_trial_number_from_id(trial_id), point)

    def sampled(self, study: Study, cell: Cell) -> OpenTrial:
        """The cell is given, the rest is the sampler's."""
        return self._opened(self._ask(study, _encoded(cell.values), {CELL: cell.key}), cell)

    def retried(self, study: Study, cell: Cell, failed: FrozenTrial) -> OpenTrial:
        """The failed trial's point in a new trial, since Optuna reopens none."""
        kept = {key: failed.user_attrs[key] for key in (CUSTOM,) if key in failed.user_attrs}
        trial = self._ask(study, failed.params, {CELL: cell.key, RETRY_OF: failed.number, **kept})
        if kept:  # the person's code is not called again; the sampler learns what it had asked for
            for key, distribution in failed.distributions.items():
                trial._suggest(key, distribution)
        return self._opened(trial, cell)

    def resumed(self, study: Study, cell: Cell, kept: FrozenTrial) -> OpenTrial:
        """The trial that a stopped process left open, under its number, with what it had of its values."""
        from optuna import Trial
        from optuna.trial import TrialState

        if kept.state is TrialState.WAITING:
            study._storage.set_trial_state_values(kept._trial_id, TrialState.RUNNING)
        # Optuna has no public way back to a running trial by its number.
        return self._opened(Trial(study, kept._trial_id), cell)

    def _ask(self, study: Study, given: Mapping[str, Any], noted: dict[str, Any]) -> Trial:
        from optuna import Trial
        from optuna.trial import TrialState, create_trial

        # What `enqueue_trial` and `ask` do, without a look through all trials for the one that waits.
        whole = create_trial(state=TrialState.RUNNING, user_attrs=noted, system_attrs={"fixed_params": dict(given)})
        return Trial(study, study._storage.create_new_trial(study._study_id, whole))

    def _opened(self, trial: Trial, cell: Cell) -> OpenTrial:
        for key in cell.values:
            trial._suggest(key, self._distribution(cell, key))
        point: dict[str, Any] = {}
        for key, dimension in cell.search.items():
            if cell.is_active(key, point):
                point[key] = storage.decode(trial._suggest(key, self._distribution(cell, key)), dimension)
        added, refusal = self._added(trial, cell, point)
        return OpenTrial(trial.number, {**point, **added}, refusal)

    def _added(self, trial: Trial, cell: Cell, point: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """What a person's own code adds to the point, or why that cannot be trained."""
        if cell.custom is None or CUSTOM in trial.user_attrs:
            return trial.user_attrs.get(CUSTOM, {}), ""
        try:
            added = cell.custom.overrides(trial, cell, self.config(cell, point))
            self.config(cell, {**point, **added})
        except Exception as error:  # whatever that code does
            return {}, one_line(error)
        trial.set_user_attr(CUSTOM, added)
        return added, ""

    def _distribution(self, cell: Cell, key: str) -> BaseDistribution:
        """A categorical parameter must always have the same choices: those of all cells of its study."""
        if key in cell.search:
            return storage.distribution(cell.search[key])
        if self.study_per_cell:
            return storage.categories([cell.values[key]])
        if key not in self._design:
            self._design[key] = storage.categories(self.space.design[key])
        return self._design[key]


def _encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: storage.encode(value) for key, value in values.items()}


def _untried(cell: Cell, taken: Collection[str]) -> Iterator[dict[str, Any]]:
    """`taken`: the marks of points."""
    return (point for point in cell.points() if mark(point) not in taken)
