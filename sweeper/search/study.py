"""Which runs come next: one sweep as one or several Optuna studies behind `ask` and `tell`.

Owns the order of trials, resuming, and what a trial's value is. Trains nothing, writes no run folder and
knows no MLflow: the coordinator asks here, gets runs, and tells what became of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import VOLATILE, RunConfig
from sweeper.metrics import direction
from sweeper.search import storage
from sweeper.search.compose import Composer
from sweeper.search.data import DataCheck
from sweeper.search.history import CELL, FAILED_REPLICATES, REASON, RETRY_OF, RUNS, History, recall, search_values
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.space import Cell, Space, abbreviated
from sweeper.search.trial import RunResult, TrialRuns

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["LauncherOptions", "RunResult", "SearchOptions", "Sweep", "TrialRuns"]


@dataclass(frozen=True)
class _Open:
    """A trial that is asked and not yet told."""

    cell: Cell
    trial_id: int
    number: int
    params: Mapping[str, Any]  # encoded, design and search
    is_sampled: bool = False


@dataclass(eq=False)
class Sweep:
    """What `sweeper.launch.coordinator.run` gets. A single run is a sweep of one cell without a study on disk."""

    name: str
    base: RunConfig  # of the first cell: output_dir, tracking_uri, task, replicates
    space: Space
    search: SearchOptions
    launcher: LauncherOptions
    composer: Composer
    data: DataCheck  # the sources of all cells; other data is another sweep
    is_single: bool = False
    run_ids: list[str] = field(default_factory=list)  # told by this process
    _studies: dict[str, Study] = field(default_factory=dict)
    _history: History = field(default_factory=History)
    _open: dict[tuple[str, int], _Open] = field(default_factory=dict)
    _exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def objective(self) -> str:
        return self.search.objective

    @property
    def cells(self) -> list[dict[str, Any]]:
        return [cell.values for cell in self.space.cells]

    @property
    def parameters(self) -> dict[str, Any]:
        """The space in a few lines, for the parent run."""
        design = {key: abbreviated(values) for key, values in self.space.design.items()}
        searched = {key: str(dimension) for key, dimension in self.space.search.items()}
        seeds = abbreviated(self.space.seeds)
        how = {"n_trials": self.search.n_trials, "sampler": self.search.sampler, "objective": self.objective}
        return {**design, **searched, "seeds": seeds, **how}

    @cached_property
    def sweep_id(self) -> str:
        """Ten hex digits of everything that can change the table; the asked number of trials can grow."""
        configs = []
        for cell in self.space.cells:
            config = self.config(cell, {}).to_dict()
            configs.append({key: value for key, value in config.items() if key not in VOLATILE | {"seed"}})
        content = {
            "space": self.space.describe(), "configs": sorted(json.dumps(config, sort_keys=True) for config in configs),
            "data": self.data.identities(), "objective": self.objective, "tune_per_cell": self.search.tune_per_cell,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def num_trials(self) -> int:
        return sum(self.num_points(cell) for cell in self.space.cells)

    @property
    def num_failed(self) -> int:
        """Of the finished trials: those told FAIL."""
        return self._history.num_failed

    @property
    def num_left_failed(self) -> int:
        """Trials of earlier processes that failed, some only in part, and are not run again."""
        return self._history.num_left_failed

    @property
    def num_finished(self) -> int:
        """Told COMPLETE, PRUNED or FAIL, by this process or an earlier one."""
        return sum(progress.num_finished for progress in self._history.progress.values())

    def num_points(self, cell: Cell) -> int:
        """Points asked of the cell."""
        if self.search.n_trials is None:
            return cell.num_points
        return min(self.search.n_trials, cell.num_points) if cell.is_finite else self.search.n_trials

    def is_enumerated(self, cell: Cell) -> bool:
        """Whether every point of the cell is wanted, so that none need be sampled."""
        return cell.is_finite and self.num_points(cell) == cell.num_points

    def config(self, cell: Cell, point: Mapping[str, Any]) -> RunConfig:
        return self.composer.composition(cell.choices).config({**cell.fixed, **cell.design, **point})

    def __enter__(self) -> Sweep:
        """The first moment that writes to disk. Raises ConfigError when another process runs the same sweep."""
        import optuna
        from optuna.storages import InMemoryStorage
        from optuna.study import StudyDirection, create_study

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        output_dir = Path(self.base.output_dir)
        towards = StudyDirection[direction(self.objective).upper()]
        with contextlib.ExitStack() as stack:
            if not self.is_single:
                stack.enter_context(storage.claimed(output_dir, self.sweep_id))
            kept = InMemoryStorage() if self.is_single else storage.open_storage(output_dir)
            for name in {self._study_name(cell): None for cell in self.space.cells}:
                self._studies[name] = create_study(
                    storage=kept, study_name=name, load_if_exists=True, direction=towards
                )
                num_known = len(self._studies[name].get_trials(deepcopy=False))
                self._studies[name].sampler = storage.make_sampler(self.search, num_known)
            stack.callback(kept.remove_session)
            self._exit = stack.pop_all()
        cells = {cell.key: cell for cell in self.space.cells}
        self._history = recall(self._studies.values(), cells, retry_failed=self.base.retry_failed)
        return self

    def __exit__(self, *exc: object) -> None:
        self._exit.close()
        self._studies.clear()

    def ask(self) -> TrialRuns | None:
        """The next trial, or None when the asked total, or the limit of failures, is reached.

        Any number may be open at once; asking no more than the free slots can take lets a sampler learn.
        """
        if self.search.max_failures is not None and self.num_failed > self.search.max_failures:
            return None
        if self._history.leftovers:
            return self._runs(self._resume(*self._history.leftovers.pop(0)))
        if self._history.retries:
            return self._runs(self._retry(*self._history.retries.pop(0)))
        cell = self._next_cell()
        return None if cell is None else self._runs(self._new_trial(cell))

    def tell(self, trial: TrialRuns, results: Sequence[RunResult]) -> None:
        """One result per run, in the order of `trial.runs`: the mean over the replicates that have a value.

        Where none has one the trial is a FAIL with its reasons. Once per trial, and never for a KILLED run.
        """
        from optuna.trial import TrialState

        assert len(results) == len(trial.runs)
        study = self._studies[trial.study]
        good = [result for result in results if not result.failure(self.objective)]
        values = [result.objective for result in good if result.objective is not None]
        reasons = sorted({result.failure(self.objective) for result in results} - {""})
        opened = self._open.pop((trial.study, trial.number))
        kept = study._storage
        kept.set_trial_user_attr(opened.trial_id, RUNS, [result.run_id for result in results])
        if reasons:
            kept.set_trial_user_attr(opened.trial_id, REASON, "; ".join(reasons))
            kept.set_trial_user_attr(opened.trial_id, FAILED_REPLICATES, len(results) - len(values))
        state = TrialState.COMPLETE if values else TrialState.FAIL
        if all(result.state == "PRUNED" for result in results):
            state = TrialState.PRUNED
        mean = sum(values) / len(values) if state is TrialState.COMPLETE else None
        if opened.is_sampled:
            study.tell(trial.number, mean, state=state)
        else:  # no sampler to hear of it: a third of the time
            kept.set_trial_state_values(opened.trial_id, state, None if mean is None else [mean])
        self.run_ids += [result.run_id for result in results]
        self._history.num_failed += state is TrialState.FAIL
        self._history.progress[opened.cell.key].num_finished += 1

    def _study_name(self, cell: Cell) -> str:
        return f"{self.sweep_id} {cell.key}" if self.search.tune_per_cell else self.sweep_id

    def _next_cell(self) -> Cell | None:
        """The cell with the fewest points so far: an unfinished sweep covers the whole table."""
        behind = [cell for cell in self.space.cells if self._num_taken(cell) < self.num_points(cell)]
        return min(behind, key=self._num_taken, default=None)

    def _num_taken(self, cell: Cell) -> int:
        return len(self._history.progress[cell.key].points)

    def _new_trial(self, cell: Cell) -> _Open:
        """Nothing is left to sample where every point is wanted once; else the cell is given, the rest is asked."""
        from optuna.trial import TrialState, create_trial

        study, progress = self._studies[self._study_name(cell)], self._history.progress[cell.key]
        given = {key: storage.encode(value) for key, value in cell.values.items()}
        distributions, noted = self._distributions(cell), {CELL: cell.key}
        if self.is_enumerated(cell):
            points = ({key: storage.encode(value) for key, value in point.items()} for point in cell.points())
            params = given | next(point for point in points if point not in progress.points)
            # One transaction instead of ten. Optuna's public `add_trial` does not say which trial it made.
            whole = create_trial(state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=noted)
            trial_id = study._storage.create_new_trial(study._study_id, template_trial=whole)
            opened = _Open(cell, trial_id, study._storage.get_trial_number_from_id(trial_id), params)
        else:
            opened = self._ask(cell, given, noted)
        progress.points.append(search_values(opened.params, cell))
        return opened

    def _retry(self, cell: Cell, failed: FrozenTrial) -> _Open:
        """The failed trial's point in a new trial, since Optuna reopens none."""
        return self._ask(cell, failed.params, {CELL: cell.key, RETRY_OF: failed.number})

    def _ask(self, cell: Cell, given: Mapping[str, Any], noted: dict[str, Any]) -> _Open:
        study = self._studies[self._study_name(cell)]
        study.enqueue_trial(dict(given), user_attrs=noted)
        trial = study.ask(self._distributions(cell))
        return _Open(cell, trial._trial_id, trial.number, trial.params, is_sampled=True)

    def _resume(self, cell: Cell, kept: FrozenTrial) -> _Open:
        """The trial that a stopped process left open, under its number, with what it had of its values."""
        from optuna import Trial as OpenTrial
        from optuna.trial import TrialState

        study = self._studies[self._study_name(cell)]
        if kept.state is TrialState.WAITING:
            study._storage.set_trial_state_values(kept._trial_id, TrialState.RUNNING)
        # Optuna has no public way back to a running trial by its number.
        trial = OpenTrial(study, kept._trial_id)
        for key, distribution in self._distributions(cell).items():
            trial._suggest(key, distribution)
        return _Open(cell, trial._trial_id, trial.number, trial.params, is_sampled=True)

    def _distributions(self, cell: Cell) -> dict[str, BaseDistribution]:
        """A categorical parameter must always have the same choices: those of all cells of its study."""
        alone = self.search.tune_per_cell
        design = {key: [value] if alone else self.space.design[key] for key, value in cell.values.items()}
        return {
            **{key: storage.categories(values) for key, values in design.items()},
            **{key: storage.distribution(dimension) for key, dimension in cell.search.items()},
        }

    def _runs(self, opened: _Open) -> TrialRuns:
        cell = opened.cell
        params = {key: storage.decode(opened.params[key], axis.choices) for key, axis in cell.search.items()}
        config = self.config(cell, params)
        runs = tuple(replace(config, seed=seed, replicates=len(self.space.seeds)) for seed in self.space.seeds)
        name = self._study_name(cell)
        self._open[name, opened.number] = opened
        return TrialRuns(name, opened.number, params, cell.values, runs)
