"""Which runs come next: one sweep as one or several Optuna studies behind `ask` and `tell`.

Owns what a sweep is and its files; the order of its trials is `trials`'. Trains nothing, writes no run folder and
knows no MLflow: the coordinator asks here, gets runs, and tells what became of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import RunConfig
from sweeper.model_digest import with_digest
from sweeper.search import confirmation, pareto, storage
from sweeper.search.asking import Asker
from sweeper.search.compose import Composer
from sweeper.search.confirmation import Confirmations
from sweeper.search.data import DataCheck
from sweeper.search.history import Progress
from sweeper.search.kept import KeptStudy, open_study
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.pruning import prunes_by
from sweeper.search.record import SWEEPS, SweepRecord, content_of, digest
from sweeper.search.space import Cell, Space, abbreviated
from sweeper.search.start_from import Starts
from sweeper.search.trial import RunResult, TrialRuns
from sweeper.search.trials import Opened, Trials
from sweeper.tracking.claim import Claim, claimed

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

__all__ = ["LauncherOptions", "RunResult", "SearchOptions", "Sweep", "TrialRuns"]


@dataclass(eq=False)
class Sweep:
    """What `sweeper.launch.start.run` gets. A single run is a sweep of one cell without a study on disk."""

    name: str
    base: RunConfig  # of the first cell: output_dir, tracking_uri, task, replicates
    space: Space
    search: SearchOptions
    launcher: LauncherOptions
    composer: Composer
    data: DataCheck  # the sources of all cells; other data is another sweep
    starts: Starts = field(default_factory=Starts)
    is_single: bool = False
    record: SweepRecord | None = None  # sweep.json, see `search.drift.begin`
    run_ids: list[str] = field(default_factory=list)  # told by this process
    _trials: Trials | None = None  # from the first moment that it is entered
    _claim: Claim | None = None
    _exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def objective(self) -> str:
        """The first of the objectives: what pruners compare and the best point is chosen by."""
        return self.objectives[0]

    @property
    def objectives(self) -> list[str]:
        return self.search.objectives

    @property
    def prunes_by(self) -> str | None:
        """What `report` wants: evaluations of a run ("step"), final values of replicates ("replicate") or nothing."""
        return None if self.is_single else prunes_by(self.search.pruner)

    @property
    def num_runs_left(self) -> int:
        """Runs that will still be asked for, fresh seeds of the best points included."""
        if self._trials is not None:
            return self._trials.num_runs_left
        confirmed = sum(self.num_points(cell) > 1 for cell in self.space.cells)
        return self.num_trials * len(self.space.seeds) + confirmed * len(self.fresh_seeds)

    @property
    def num_open(self) -> int:
        """Trials that are asked and not yet told."""
        return self._trials.num_open if self._trials is not None else 0

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """On which the best point of a cell of several points is run again."""
        return confirmation.fresh_seeds(self.search, self.space.seeds)

    @property
    def notes(self) -> list[str]:
        """For a person, before it starts."""
        return [*self.space.notes, *self.starts.notes]

    @property
    def cells(self) -> list[dict[str, Any]]:
        return [cell.values for cell in self.space.cells]

    @property
    def parameters(self) -> dict[str, Any]:
        """The space in a few lines, for the parent run."""
        design = {key: abbreviated(values) for key, values in self.space.design.items()}
        searched = {key: str(dimension) for key, dimension in self.space.search.items()}
        seeds = abbreviated(self.space.seeds)
        how = {"n_trials": self.search.n_trials, "sampler": self.search.sampler, "pruner": self.search.pruner,
               "objective": ", ".join(self.search.measures)}  # fmt: skip
        return {**design, **searched, "seeds": seeds, **how}

    @cached_property
    def content(self) -> dict[str, Any]:
        return content_of(self)

    @cached_property
    def content_id(self) -> str:
        return digest(self.content)[:10]

    @property
    def sweep_id(self) -> str:
        """That of its content, unless it goes on with a sweep whose content was another (`resume.allow_drift`)."""
        return self.content_id if self.record is None else self.record.sweep_id

    def renew(self) -> None:
        """To be called every few seconds. Raises ConfigError when another host has taken the sweep over."""
        if self._claim is not None:
            self._claim.renew()
        if self.record is not None:
            self.record.progress(self.num_finished)

    @property
    def num_trials(self) -> int:
        return sum(self.num_points(cell) for cell in self.space.cells)

    @property
    def num_failed(self) -> int:
        """Of the finished trials: those told FAIL."""
        return self._trials.history.num_failed if self._trials is not None else 0

    @property
    def num_left_failed(self) -> int:
        """Trials of earlier processes that failed, some only in part, and are not run again."""
        return self._trials.history.num_left_failed if self._trials is not None else 0

    @property
    def num_finished(self) -> int:
        """Of `num_trials`: told COMPLETE, PRUNED or FAIL, by this process or an earlier one."""
        known = self._trials.progress.values() if self._trials is not None else ()
        return sum(progress.num_finished for progress in known)

    def num_points(self, cell: Cell) -> int:
        """Points asked of the cell."""
        if self.search.n_trials is None:
            return cell.num_points
        return min(self.search.n_trials, cell.num_points) if cell.is_finite else self.search.n_trials

    def is_enumerated(self, cell: Cell) -> bool:
        """Whether every point of the cell is wanted, so that none need be sampled."""
        return cell.is_finite and self.num_points(cell) == cell.num_points

    def config(self, cell: Cell, point: Mapping[str, Any]) -> RunConfig:
        """Of a run, with the digests of what it begins with. Raises ConfigError."""
        return self.starts.settled(with_digest(self._composed(cell, point)))

    def undigested(self, cell: Cell, point: Mapping[str, Any]) -> RunConfig:
        """To be checked: no file of a model is read for it, which can take seconds."""
        return self.starts.settled(self._composed(cell, point))

    def _composed(self, cell: Cell, point: Mapping[str, Any]) -> RunConfig:
        values = {**cell.fixed, **cell.design, **point}
        return self.composer.composition(cell.choices).config(values)

    def __enter__(self) -> Sweep:
        """The first moment that writes to disk. Raises ConfigError when another process runs the same sweep."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        output_dir = Path(self.base.output_dir)
        with contextlib.ExitStack() as stack:
            if not self.is_single:
                self._claim = stack.enter_context(claimed(output_dir, self.sweep_id))
            if self.record is not None:
                self.record.start()
            kept = None if self.is_single else storage.open_storage(output_dir)
            if kept is not None:
                stack.callback(kept.remove_session)
            self._trials = self._open_trials(kept)
            self._exit = stack.pop_all()
        self._trials.recall(retry_failed=self.base.retry_failed)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._exit:
            if self.record is not None:
                self.record.end(self, stopped=kind is not None)

    def ask(self) -> TrialRuns | None:
        """The next trial, or None when the asked total, or the limit of failures, is reached.

        Any number may be open at once; asking no more than the free slots can take lets a sampler learn. Trials
        that need no training are told on the way, see `notes_so_far`. After a None there may be more once open trials
        are told: the best points on fresh seeds.
        """
        assert self._trials is not None
        opened = self._trials.next()
        return None if opened is None else self._runs(opened)

    def tell(self, trial: TrialRuns, results: Sequence[RunResult]) -> None:
        """One result per run, in the order of `trial.runs`; what they are worth together is `value.outcome`'s.

        Once per trial, and never for a KILLED run.
        """
        assert self._trials is not None
        self._trials.tell(trial.study, trial.number, results)
        self.run_ids += [result.run_id for result in results]

    def report(self, trial: TrialRuns, replicate: int, step: int, value: float) -> str | None:
        """An intermediate value of the first objective. Why the trial shall be pruned, or None: it goes on.

        The same value may be reported again, as by a resumed process. With several replicates the value at a step is
        theirs together, once all have reported it; by replicate (`prunes_by`) `value` is the final one of its run.
        """
        assert self._trials is not None
        return self._trials.report(trial.study, trial.number, replicate, step, value)

    def missing(self) -> dict[str, int]:
        """Label of a cell -> trials still to be finished, that on fresh seeds included, where there are any."""
        assert self._trials is not None
        missing = self._trials.missing()
        return {self._label(cell): missing[cell.key] for cell in self.space.cells if missing[cell.key]}

    def notes_so_far(self) -> list[str]:
        """For a person: what became of trials that were not trained, and of a pruner that saw none."""
        assert self._trials is not None
        number = self._trials.num_repeats
        what = "suggestion repeats a finished point" if number == 1 else "suggestions repeat finished points"
        repeated = [f"{number} {what} and had the value from the study, without training"] if number else []
        return [*repeated, *self._blindness()]

    def _blindness(self) -> list[str]:
        """A run of fewer steps than lie between two evaluations has none to be pruned by, which no config tells."""
        if self.prunes_by != "step" or self._trials is None or not self._trials.is_blind:
            return []
        every = self.base.train.eval_every
        return [f"the {self.search.pruner} pruner had nothing to compare: no run was evaluated before its end "
                f"(train.eval_every={every})"]  # fmt: skip

    def pareto(self) -> list[dict[str, Any]]:
        """The complete trials that no other one beats in all objectives: study, number, cell, params, values, runs."""
        assert self._trials is not None
        studies = {kept.name: kept.study for kept in self._trials.studies.values()}
        return pareto.front(studies.values(), {cell.key: cell for cell in self.space.cells}, self.objectives)

    def store_pareto(self) -> Path | None:
        """Writes them beside `sweep.json`; None, and nothing, for one objective."""
        if len(self.objectives) < 2 or self.is_single:
            return None
        path = Path(self.base.output_dir) / SWEEPS / self.sweep_id / "pareto.json"
        return pareto.store(path, self.pareto(), self.objectives)

    def _label(self, cell: Cell) -> str:
        return ", ".join(f"{key}={value}" for key, value in cell.values.items()) or self.name

    def _open_trials(self, kept: RDBStorage | None) -> Trials:
        from optuna.storages import InMemoryStorage

        memory, directions = InMemoryStorage(), storage.towards(self.objectives)
        studies: dict[str, KeptStudy] = {}
        for name in {self._study_name(cell): None for cell in self.space.cells}:
            studies[name] = open_study(name, directions, memory, kept)
            studies[name].study.sampler = storage.make_sampler(self.search, len(studies[name].trials))
        search = replace(self.search, pruner="none", pruner_args={}) if self.is_single else self.search
        return Trials(
            search, Asker(self.space, self.config, study_per_cell=self.search.tune_per_cell),
            {cell.key: studies[self._study_name(cell)] for cell in self.space.cells},
            open_study(confirmation.study_name(self.sweep_id), directions, memory, kept),
            {cell.key: Progress(self.num_points(cell), self.is_enumerated(cell)) for cell in self.space.cells},
            Confirmations(() if self.is_single else self.fresh_seeds, self.objectives),
        )  # fmt: skip

    def _study_name(self, cell: Cell) -> str:
        return f"{self.sweep_id} {cell.key}" if self.search.tune_per_cell else self.sweep_id

    def _runs(self, opened: Opened) -> TrialRuns:
        config = self.config(opened.cell, opened.point)
        runs = tuple(replace(config, seed=seed, replicates=len(opened.seeds)) for seed in opened.seeds)
        params, cell = dict(opened.point), opened.cell.values
        return TrialRuns(opened.study.name, opened.number, params, cell, runs, opened.confirms)
