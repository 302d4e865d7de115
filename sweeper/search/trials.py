"""The trials of a sweep that runs: which comes next, what becomes of each, and what earlier processes left.

Owns the order of trials, and what is answered without training. How a trial is opened in its study is `asking`'s,
what it is worth `value`'s.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeper.search.asking import Asker
from sweeper.search.confirmation import Confirmations
from sweeper.search.history import (
    CELL,
    CONFIRMS,
    FAILED_REPLICATES,
    LOSS,
    PRUNER,
    REASON,
    REPEATS,
    RUNS,
    SEEDS,
    VERDICT,
    History,
    Progress,
    chosen,
    point_of,
    present,
)
from sweeper.search.kept import KeptStudy
from sweeper.search.options import SearchOptions
from sweeper.search.pruning import CellPruner, prunes_by
from sweeper.search.space import Cell
from sweeper.search.trial import RunResult
from sweeper.search.value import aggregated, outcome

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Opened:
    """A trial that is asked and not yet told."""

    study: KeptStudy
    cell: Cell
    number: int
    point: Mapping[str, Any]  # dotted key -> value
    seeds: Sequence[int]
    confirms: int | None = None
    refusal: str = ""  # why a person's own code gave it nothing to train
    reported: dict[int, dict[int, float]] = field(default_factory=dict)  # step -> replicate -> value


@dataclass
class Trials:
    """Of an entered sweep. The studies are those of the cells, by the cell's key, and one that no sampler sees."""

    search: SearchOptions
    asker: Asker
    studies: Mapping[str, KeptStudy]
    confirmed: KeptStudy
    progress: dict[str, Progress]  # by the cell's key
    confirmations: Confirmations
    num_repeats: int = 0  # answered by this process from a finished trial
    history: History = field(init=False)
    _pruners: dict[str, CellPruner] = field(default_factory=dict)  # by the cell's key; none: nothing is pruned
    _open: dict[tuple[str, int], Opened] = field(default_factory=dict)
    _turns: list[tuple[int, int, Cell]] = field(default_factory=list)  # a heap: points taken, place in the order
    _num_untaken: int = 0

    def recall(self, *, retry_failed: bool) -> None:
        """What earlier processes did."""
        cells = {cell.key: cell for cell in self.asker.space.asking_order}
        self.history = History(self.progress)
        for study in {id(study): study for study in self.studies.values()}.values():
            self.history.recall(study, cells, retry_failed=retry_failed)
        known = list(present(self.confirmed, cells))
        self.confirmations.recall(known)
        for cell, trial in known:
            self.history.is_settled(cell, trial, retry_failed=retry_failed)
        for place, cell in enumerate(cells.values()):
            progress = self.progress[cell.key]
            self.confirmations.begin(cell, progress)
            self._num_untaken += progress.num_left
            heapq.heappush(self._turns, (progress.num_taken, place, cell))
            if prunes_by(self.search.pruner) is not None:
                self._pruners[cell.key] = CellPruner(self.search, cell.key)
        self._recall_pruned()

    def _recall_pruned(self) -> None:
        """Those that were under a pruner's eyes: their count decides which brackets of Hyperband the next are in."""
        for study in {id(study): study for study in self.studies.values() if self._pruners}.values():
            for trial in study.trials:
                if PRUNER in trial.user_attrs:
                    self._pruners[trial.user_attrs[CELL]].recall(trial)

    @property
    def num_runs_left(self) -> int:
        if self._has_failed_enough:
            return 0
        num_seeds = len(self.asker.space.seeds)
        waiting = (*self.history.leftovers, *self.history.retries)
        again = sum(len(trial.user_attrs.get(SEEDS, self.asker.space.seeds)) for _, trial in waiting)
        return self._num_untaken * num_seeds + again + self.confirmations.num_left * len(self.confirmations.seeds)

    @property
    def num_open(self) -> int:
        """Asked, not yet told."""
        return len(self._open)

    def missing(self) -> Counter[str]:
        """A cell's key -> trials still to be finished, that on fresh seeds included."""
        missing = Counter(opened.cell.key for opened in self._open.values() if opened.confirms is not None)
        waiting = (*self.history.leftovers, *self.history.retries)
        missing.update(cell.key for cell, trial in waiting if CONFIRMS in trial.user_attrs)
        for cell in self.asker.space.cells:
            progress = self.progress[cell.key]
            missing[cell.key] += max(0, progress.wanted - progress.num_finished) + self.confirmations.is_expected(cell)
        return missing

    @property
    def _has_failed_enough(self) -> bool:
        return self.search.max_failures is not None and self.history.num_failed > self.search.max_failures

    def next(self) -> Opened | None:
        """The next trial that has something to train; those before it count as well, so that there is an end."""
        while not self._has_failed_enough and (opened := self._open_next()) is not None:
            if not self._is_answered(opened):
                self._judge(opened)
                opened.study.keep(opened.number)
                self._open[opened.study.name, opened.number] = opened
                return opened
        return None

    def _open_next(self) -> Opened | None:
        if self.history.leftovers:
            cell, left = self.history.leftovers.pop(0)
            return self._again(cell, left, retry=False)
        if self.history.retries:
            cell, failed = self.history.retries.pop(0)
            return self._again(cell, failed, retry=True)
        if (due := self.confirmations.take()) is not None:
            cell, fresh = due
            return self._confirming(cell, self.confirmed.create(fresh))
        return self._new()

    def _again(self, cell: Cell, kept: FrozenTrial, *, retry: bool) -> Opened:
        """A trial that a stopped process left open, or one that failed, under a new number."""
        confirms = CONFIRMS in kept.user_attrs
        study = self.confirmed if confirms else self.studies[cell.key]
        trial = (self.asker.retried if retry else self.asker.resumed)(study.study, cell, kept)
        if confirms:
            study.note(trial.number, {key: kept.user_attrs[key] for key in (CONFIRMS, SEEDS)})
            return self._confirming(cell, study.trial(trial.number))
        return Opened(study, cell, trial.number, trial.point, self.asker.space.seeds, refusal=trial.refusal)

    def _confirming(self, cell: Cell, trial: FrozenTrial) -> Opened:
        notes = trial.user_attrs
        return Opened(self.confirmed, cell, trial.number, chosen(trial, cell), notes[SEEDS], notes[CONFIRMS])

    def _new(self) -> Opened | None:
        """Of the cell with the fewest points so far: an unfinished sweep covers the whole table."""
        while self._turns:
            _, place, cell = heapq.heappop(self._turns)
            progress, study = self.progress[cell.key], self.studies[cell.key]
            if not progress.num_left:
                continue
            if progress.is_enumerated:  # nothing is left to sample
                trial = self.asker.enumerated(study.study, cell, progress)
            else:
                trial = self.asker.sampled(study.study, cell)
            progress.take(point_of(study.trial(trial.number), cell))
            self._num_untaken -= 1
            heapq.heappush(self._turns, (progress.num_taken, place, cell))
            return Opened(study, cell, trial.number, trial.point, self.asker.space.seeds, refusal=trial.refusal)
        return None

    def _is_answered(self, opened: Opened) -> bool:
        """Told at once: a trial that cannot be trained, and one whose point the cell has finished already."""
        study, number = opened.study, opened.number
        if opened.refusal:
            study.note(number, {REASON: f"custom_search_space: {opened.refusal}"})
            self._settle(opened, "FAIL", None)
            return True
        point = point_of(study.trial(number), opened.cell)
        first = self.progress[opened.cell.key].finished.get(point)
        if first is None or opened.confirms is not None:
            return False
        shared = {RUNS, LOSS, REASON, FAILED_REPLICATES} & first.user_attrs.keys()
        study.note(number, {REPEATS: first.number} | {key: first.user_attrs[key] for key in shared})
        study.report(number, first.intermediate_values)
        complete = first.state.name == "COMPLETE"
        self.num_repeats += 1
        self._settle(opened, first.state.name, first.values if complete else None)
        return True

    def tell(self, name: str, number: int, results: Sequence[RunResult]) -> None:
        opened = self._open.pop((name, number))
        assert len(results) == len(opened.seeds)
        worth = outcome(results, self.search)
        reason = {REASON: self._why_pruned(opened)} if worth.state == "PRUNED" else {}
        opened.study.note(number, worth.notes | {key: text for key, text in reason.items() if text})
        self._settle(opened, worth.state, worth.values)

    def _settle(self, opened: Opened, state: str, values: Sequence[float] | None) -> None:
        trial = opened.study.tell(opened.number, values, state)
        self.history.num_failed += state == "FAIL"
        if opened.confirms is not None:
            return
        cell, progress = opened.cell, self.progress[opened.cell.key]
        if cell.key in self._pruners:
            self._pruners[cell.key].tell(opened.number, state, values[0] if values else None)
        progress.finish(point_of(trial, cell), trial)
        self.confirmations.settle(cell, progress)

    def report(self, name: str, number: int, replicate: int, step: int, value: float) -> str | None:
        opened = self._open[name, number]
        pruner = self._pruners.get(opened.cell.key)
        if pruner is None or opened.confirms is not None or not math.isfinite(value):
            return None
        reported = self._reported(opened, replicate, step, value)
        if reported is not None and pruner.report(number, *reported):
            opened.study.report(number, dict([reported]))
            verdict = {VERDICT: self._why_pruned(opened)} if pruner.is_pruned(number) else {}
            opened.study.note(number, verdict, pruner.notes(number))
            opened.study.keep(number)
        return self._why_pruned(opened) if pruner.is_pruned(number) else None

    def _reported(self, opened: Opened, replicate: int, step: int, value: float) -> tuple[int, float] | None:
        """Step and value for the pruner, once every replicate has come so far."""
        if prunes_by(self.search.pruner) == "replicate":
            return replicate, value
        values = opened.reported.setdefault(step, {})
        values[replicate] = value
        if len(values) < len(opened.seeds):
            return None
        ordered = [values[index] for index in range(len(values))]
        return step, aggregated(ordered, self.search.objectives[0], self.search.objective_std)

    def _why_pruned(self, opened: Opened) -> str:
        """Empty where the pruner never heard of the trial."""
        steps = opened.study.trial(opened.number).intermediate_values
        if not steps:
            return ""
        by_replicate = prunes_by(self.search.pruner) == "replicate"
        when = f"after {len(steps)} replicates" if by_replicate else f"at step {max(steps)}"
        return f"{self.search.pruner} pruner {when}"

    def _judge(self, opened: Opened) -> None:
        """The trial is under the eyes of the pruner from now on."""
        if opened.cell.key in self._pruners and opened.confirms is None:
            self._pruners[opened.cell.key].open(opened.number)
            opened.study.note(opened.number, {PRUNER: self.search.pruner})

    @property
    def is_blind(self) -> bool:
        """Whether the pruner had nothing to look at in all the trials that were told."""
        trials = [trial for study in self.studies.values() for trial in study.trials if self._pruners]
        seen = any(trial.intermediate_values for trial in trials)
        return not seen and any(trial.state.is_finished() for trial in trials)
