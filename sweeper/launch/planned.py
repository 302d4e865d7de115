"""The runs that a sweep would still ask for, in its order, and which of them need no training.

Points that a sampler will choose are not known: the middle of the cell's space stands for each of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sweeper.config import FULL, RunConfig
from sweeper.launch.group import DataSize
from sweeper.launch.past_runs import ids_on_disk, is_complete
from sweeper.launch.runs import Runs
from sweeper.launch.sharing import share_key
from sweeper.search import conditions
from sweeper.search.space import Cell, Dimension
from sweeper.search.stored import Stored, read_stored
from sweeper.search.study import Sweep
from sweeper.tracking.provenance import code_version
from sweeper.tracking.run_folder import RUNS, RunFolder, RunIdentity, make_run_id

HUB_ROWS = 10_000  # of a data set that only the hub can count


class Fate(Enum):
    TRAINED = "trained"
    REUSED = "reused"  # complete on disk
    SHARED = "shared"  # a longer run, read at an earlier step


@dataclass(frozen=True)
class PlannedRun:
    name: str  # tells it from the other runs of the sweep
    config: RunConfig
    cell: Cell
    fate: Fate = Fate.TRAINED
    is_confirmation: bool = False


@dataclass(frozen=True)
class Planned:
    trials: list[list[PlannedRun]]  # still to be asked
    num_finished: int  # trials
    has_unknown_points: bool

    @property
    def runs(self) -> list[PlannedRun]:
        return [run for trial in self.trials for run in trial]

    def count(self, fate: Fate) -> int:
        return sum(run.fate is fate for run in self.runs)


def plan_runs(sweep: Sweep) -> Planned:
    base = sweep.base
    stored = read_stored(Path(base.output_dir), sweep.sweep_id, retry_failed=base.retry_failed)
    trials = list(_trials(sweep))
    unknown = not all(sweep.is_enumerated(cell) for cell in sweep.space.cells)
    on_disk = _OnDisk.of(sweep, trials)
    left, num_finished = _left([[on_disk.found(run) for run in trial] for trial in trials], stored)
    left += [] if sweep.is_single else _confirmations(sweep, stored)
    left = left if sweep.prunes_by == "step" else _shared(left)
    return Planned(left, num_finished, unknown)


def data_size(sweep: Sweep, config: RunConfig) -> DataSize:
    """Rows at hand for the config; of a hub's data set that is not here, a round number."""
    task = config.task
    rows = sweep.data.rows(config) or {"train": HUB_ROWS, "selection": task.selection_size, "test": HUB_ROWS}
    test = rows["test"] if task.test_size == FULL else min(int(task.test_size), rows["test"])
    return DataSize(max(1, rows["train"]), rows["selection"], test)


def middle(dimension: Dimension) -> Any:
    """Of the values, or by the logarithm of the numbers where they are searched so."""
    if dimension.choices:
        return dimension.choices[len(dimension.choices) // 2]
    low, high, step = dimension.low, dimension.high, dimension.step
    value = math.sqrt(low * high) if dimension.log else (low + high) / 2
    if step is not None or dimension.integer:
        value = low + round((value - low) / (step or 1)) * (step or 1)
    return int(value) if dimension.integer else value


def middle_point(cell: Cell) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for key, dimension in cell.search.items():  # a key comes after those of its conditions
        if conditions.holds(dimension.when, point, cell.search):
            point[key] = middle(dimension)
    return point


def _trials(sweep: Sweep) -> Iterator[list[PlannedRun]]:
    """Cell by cell in turns, as the sweep asks."""
    numbers = [sweep.num_points(cell) for cell in sweep.space.asking_order]
    points = [cell.points() if sweep.is_enumerated(cell) else None for cell in sweep.space.asking_order]
    middles = [None if own else sweep.config(cell, middle_point(cell))
               for cell, own in zip(sweep.space.asking_order, points, strict=True)]  # fmt: skip
    for turn in range(max(numbers)):
        for place, cell in enumerate(sweep.space.asking_order):
            if turn < numbers[place]:
                own = points[place]
                config = middles[place] or sweep.config(cell, next(own) if own else {})
                yield [PlannedRun(f"{place} {turn} {seed}", _seeded(config, seed), cell) for seed in sweep.space.seeds]


def _seeded(config: RunConfig, seed: int) -> RunConfig:
    return dataclasses.replace(config, seed=seed)


def _confirmations(sweep: Sweep, stored: Stored) -> Iterator[list[PlannedRun]]:
    """Of the best points, which nobody knows yet, on fresh seeds."""
    for place, cell in enumerate(sweep.space.asking_order):
        if sweep.fresh_seeds and sweep.num_points(cell) > 1 and cell.key not in stored.confirmed:
            config = sweep.config(cell, middle_point(cell))
            yield [PlannedRun(f"{place} best {seed}", _seeded(config, seed), cell, is_confirmation=True)
                   for seed in sweep.fresh_seeds]  # fmt: skip


@dataclass(frozen=True)
class _OnDisk:
    """Folders whose runs may be among the planned ones, by the readable part of their ids."""

    sweep: Sweep
    identities: dict[str, dict[str, RunIdentity]]
    runs: Runs

    @classmethod
    def of(cls, sweep: Sweep, trials: Sequence[list[PlannedRun]]) -> _OnDisk:
        folder = Path(sweep.base.output_dir) / RUNS
        prefixes = {_prefix(run.config) for trial in trials for run in trial} if folder.is_dir() else set()
        identities: dict[str, dict[str, RunIdentity]] = {}
        for name in ids_on_disk(folder, prefixes):
            if (identity := _identity(RunFolder(folder / name))) is not None:
                identities.setdefault(name.rpartition("-")[0], {})[name] = identity
        return cls(sweep, identities, Runs(sweep))

    def found(self, run: PlannedRun) -> PlannedRun:
        """Under its id where that is on disk. The data is read, for its digest, only where all else agrees and another
        sweep wrote the folder."""
        if not (self.sweep.is_enumerated(run.cell) and (near := self.identities.get(_prefix(run.config)))):
            return run
        data = dataclasses.replace(run.config.task.data, source=self.sweep.data.source(run.config).kind)
        settled = dataclasses.replace(run.config, task=dataclasses.replace(run.config.task, data=data))
        for digest in {identity.data["digest"] for identity in near.values()}:
            run_id = make_run_id(settled, digest, code_version())
            if run_id in near and (self._is_own(near[run_id]) or self.runs.data(run.config).digest == digest):
                complete = is_complete(Path(self.sweep.base.output_dir) / RUNS / run_id)
                return dataclasses.replace(run, name=run_id, fate=Fate.REUSED if complete else run.fate)
        return run

    def _is_own(self, identity: RunIdentity) -> bool:
        """Of this very sweep, whose data is the same: that is in the id."""
        return self.sweep.content_id == self.sweep.sweep_id == identity.sweep_id


def _identity(folder: RunFolder) -> RunIdentity | None:
    """None for a folder of another layout."""
    try:
        return folder.identity
    except (OSError, ValueError, TypeError):
        return None


def _prefix(config: RunConfig) -> str:
    return make_run_id(config, "", "").rpartition("-")[0]


def _left(trials: Sequence[list[PlannedRun]], stored: Stored) -> tuple[list[list[PlannedRun]], int]:
    """Without the trials that are finished: those whose runs the study names, then as many as it counts."""
    named = [all(run.name in stored.run_ids for run in trial) for trial in trials]
    unnamed = dict(stored.trials)
    for trial, is_named in zip(trials, named, strict=True):
        if is_named:
            unnamed[trial[0].cell.key] = unnamed.get(trial[0].cell.key, 0) - 1
    left = []
    for trial, is_named in zip(trials, named, strict=True):
        key = trial[0].cell.key
        if is_named:
            continue
        if unnamed.get(key, 0) > 0:
            unnamed[key] -= 1
        else:
            left.append(trial)
    return left, len(trials) - len(left)


def _shared(trials: Sequence[list[PlannedRun]]) -> list[list[PlannedRun]]:
    """Of the runs of a family the longest is trained, the others are read from it."""
    families: dict[str, list[PlannedRun]] = {}
    for run in (run for trial in trials for run in trial if run.fate is Fate.TRAINED):
        if (key := share_key(run.config)) is not None:
            families.setdefault(key, []).append(run)
    read = set()
    for family in families.values():
        most = max(run.config.train.epochs for run in family)
        read |= {run.name for run in family if run.config.train.epochs < most}
    return [[dataclasses.replace(run, fate=Fate.SHARED) if run.name in read else run for run in trial]
            for trial in trials]  # fmt: skip
