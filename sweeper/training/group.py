"""The runs that share a forward now: how they join, how they leave, and what that takes and frees."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.checks import ConfigError
from sweeper.config import RunConfig, run_config
from sweeper.peft_method import PeftMethod
from sweeper.tracking import earlier_adapter
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training.base_model import BaseKey, BaseModel
from sweeper.training.checkpoint import steps_kept
from sweeper.training.control import Assignment, Control, Departure
from sweeper.training.data import run_splits
from sweeper.training.failure import described, is_out_of_memory
from sweeper.training.methods import Method
from sweeper.training.objective import Objective
from sweeper.training.readings import open_readings
from sweeper.training.results import Finisher
from sweeper.training.run import Run
from tasks.task import load_task


@dataclass
class Group:
    base: BaseModel
    method: Method
    objective: Objective[Any]
    control: Control

    def __post_init__(self) -> None:
        self._members: list[Run] = []
        self._indices = itertools.count()  # never one twice, whoever has left
        self._leave_results = Finisher(self.base, self.method, self.objective)

    @property
    def runs(self) -> list[Run]:
        """Those without an end."""
        return [run for run in self._members if not run.ended]

    def start(self, assignments: Sequence[Assignment]) -> None:
        """Opens the group; one that was interrupted at the newest step that all its members have."""
        together = self.control.together and len(assignments) > 1
        self.join(assignments, common_step([assignment.folder for assignment in assignments]) if together else None)

    def join(self, assignments: Sequence[Assignment], step: int | None = None) -> None:
        """Opens these runs, at that step or each at its newest; where nothing is left to train, finishes them.

        One that does not open fails alone.
        """
        opened = [self._open(assignment, step) for assignment in assignments]
        self._members += [run for run in opened if run is not None]
        self.finish()

    def leave(self, departures: Mapping[str, Departure]) -> None:
        """Ends the runs, and readings to come, that are told to leave; ids of others (they have ended) mean nothing."""
        for run in [member for trained in self.runs for member in (*trained.readings, trained)]:
            if told := departures.get(run.folder.run_id):
                with run.alone():
                    run.end(told.state, told.reason, told.detail)
        self._free()

    def read(self) -> None:
        """Finishes the readings that the runs are at this step, as the runs that they are."""
        while due := [(run, reading) for run in self.runs if (reading := run.next_reading())]:
            for run, reading in due:
                with reading.alone():
                    self._started(reading.folder, commit=self.base.commit)
                    reading.read_from(run)
            self._leave_results([reading for _, reading in due])

    def keep(self) -> None:
        """Checkpoints, of all runs at the same step: where one is due for any of them, and before one leaves.

        So the others can go on as they would have, with the same company at every step.
        """
        runs = self.runs
        someone_leaves = any(run.done for run in runs) or len(runs) < len(self._members)
        if (someone_leaves and len(self._members) > 1) or any(run.wants_checkpoint for run in runs):
            for run in (run for run in runs if run.keeps_checkpoints):
                with run.alone():
                    run.checkpoint()
        for run in runs:
            with run.alone():
                run.show("training")

    def finish(self) -> None:
        """Finishes the runs that are done, and frees what any ended run held."""
        self._leave_results([run for run in self.runs if run.done])
        self._free()

    def _open(self, assignment: Assignment, step: int | None) -> Run | None:
        """The run at that step, its newest checkpoint, or its start; None, and FAILED, where it does not get that far.

        Raises what says that memory is out, unless others are training already: they go on.
        """
        folder, index = assignment.folder, next(self._indices)
        try:
            config = run_config(folder.identity.config)
            run = self._run(folder, config, index)
            resumed_from = run.start(step)
            if resumed_from is not None:
                self._check_commit(folder.model_commit(), "the run was begun")
            run.readings = open_readings(run, assignment.readings)
        except Exception as error:
            if is_out_of_memory(error) and not self.runs:
                raise
            self.method.remove(index)
            self._started(folder)
            folder.finish(RunState.FAILED, *described(error))
            return None
        self._started(folder, resumed_from, commit=self.base.commit)
        return run

    def _run(self, folder: RunFolder, config: RunConfig, index: int) -> Run:
        peft = PeftMethod.from_config(config.peft)
        assert BaseKey.of(config, peft) == self.base.key, "runs of a group share their base model"
        self.method.add(index, peft, config.seed)
        if peft.start_from is not None:
            runs = folder.path.parent
            earlier = earlier_adapter.unchanged(peft.start_from, runs, was=peft.start_digest)
            self._check_commit(earlier_adapter.model_commit(peft.start_from, runs), "its first adapter was trained")
            self.method.start_from(index, earlier)
        splits = run_splits(config, digest=folder.identity.data["digest"])
        data = self.objective.prepare(config, load_task(config.task), splits)
        return Run(folder, config, index, data, self.method.parameters(index), self.control.memory_share)

    def _started(self, folder: RunFolder, resumed_from_step: int | None = None, commit: str | None = None) -> None:
        folder.started(self.control.slot, resumed_from_step, self.control.memory_share, commit)

    def _check_commit(self, before: str | None, what: str) -> None:
        now = self.base.commit
        if None not in (before, now) and before != now:
            raise ConfigError("model.revision", now, f"{what} at {before}", f"model.revision={before} takes that again")

    def _free(self) -> None:
        for run in self._members:
            if run.ended:
                self.method.remove(run.index)
        self._members = self.runs


def common_step(folders: Sequence[RunFolder]) -> int:
    """The newest step of which every one of these runs has a checkpoint; 0 where there is none."""
    kept = [set(steps_kept(folder.checkpoints)) for folder in folders]
    return max(set.intersection(*kept), default=0)
