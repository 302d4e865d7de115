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
from sweeper.search.asking import Asker, OpenTrial
from sweeper.search.compose import Composer
from sweeper.search.data import DataCheck
from sweeper.search.history import FAILED_REPLICATES, REASON, RUNS, History, recall, search_values
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.space import Cell, Space, abbreviated
from sweeper.search.trial import RunResult, TrialRuns

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["LauncherOptions", "RunResult", "SearchOptions", "Sweep", "TrialRuns"]


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
    _open: dict[tuple[str, int], OpenTrial] = field(default_factory=dict)
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
            cell, kept = self._history.leftovers.pop(0)
            return self._runs(self._asker.resumed(self._study(cell), cell, kept))
        if self._history.retries:
            cell, failed = self._history.retries.pop(0)
            return self._runs(self._asker.retried(self._study(cell), cell, failed))
        following = self._next_cell()
        return None if following is None else self._runs(self._new_trial(following))

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

    def _new_trial(self, cell: Cell) -> OpenTrial:
        """Nothing is left to sample where every point is wanted once."""
        study, points = self._study(cell), self._history.progress[cell.key].points
        enumerated = self.is_enumerated(cell)
        opened = self._asker.enumerated(study, cell, points) if enumerated else self._asker.sampled(study, cell)
        points.append(search_values(opened.params, cell))
        return opened

    def _study(self, cell: Cell) -> Study:
        return self._studies[self._study_name(cell)]

    @property
    def _asker(self) -> Asker:
        return Asker(self.space, study_per_cell=self.search.tune_per_cell)

    def _runs(self, opened: OpenTrial) -> TrialRuns:
        cell = opened.cell
        params = {key: storage.decode(opened.params[key], axis.choices) for key, axis in cell.search.items()}
        config = self.config(cell, params)
        runs = tuple(replace(config, seed=seed, replicates=len(self.space.seeds)) for seed in self.space.seeds)
        name = self._study_name(cell)
        self._open[name, opened.number] = opened
        return TrialRuns(name, opened.number, params, cell.values, runs)
