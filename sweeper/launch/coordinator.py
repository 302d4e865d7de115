"""The one process that asks for runs, hands them to slots and keeps the books: study, MLflow, progress.

    free slot -> sweep.ask() -> run folders -> groups -> slot        (hand_out)
    events of live folders -> progress, results -> sweep.tell(...)   (follow)
    run folders -> MLflow                                            (publish)

The run folders are the truth; the study and MLflow are written here and nowhere else. Training, retries
and the meaning of a trial's value are others' business. A run that fails is a result, not an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeper.config import Source
from sweeper.launch import books
from sweeper.launch.attempt import Attempt
from sweeper.launch.books import Books
from sweeper.launch.devices import SlotPlan, plan_slots
from sweeper.launch.fork_server import modules_to_preload, warm_up
from sweeper.launch.group import Waiting, estimated_cost, form_groups, group_key, num_parameters
from sweeper.launch.progress import Progress, progress_on
from sweeper.launch.runs import Runs, display_name
from sweeper.launch.slots import Ended, Slot, Slots
from sweeper.launch.stop import Stop, Stopped
from sweeper.launch.worker import TRAINER
from sweeper.search.study import RunResult, Sweep, TrialRuns
from sweeper.tracking.run_folder import Reason, RunFolder, RunState

WAIT_S = 0.25  # between two looks at the live runs
DEMO_WARNING = "DEMO DATA: generated sentences, not the real task. The figures compare with no published ones."


def run(sweep: Sweep, *, console: Console | None = None, trainer: str = TRAINER) -> int:
    """Trains what the sweep still asks for. The exit code: 0 when every run is complete, 1 when one failed,
    128 + the signal when stopped; the same command then goes on where this one ended."""
    try:
        with Stop() as stop, sweep:
            num_runs = (sweep.num_trials - sweep.num_finished) * sweep.base.replicates
            plan = plan_slots(sweep.launcher, num_runs=num_runs, num_parameters=num_parameters(sweep.base))
            logs = Path(sweep.base.output_dir) / "logs" / sweep.sweep_id
            if num_runs:  # ten seconds of imports beside everything that follows
                warm_up(modules_to_preload(trainer, on_gpu=bool(plan.gpus)), logs / "fork-server.log")
            runs = Runs(sweep)
            with progress_on(console or Console(), num_runs) as progress:
                announce(sweep, runs, plan, progress)
                return Coordinator(sweep, runs, Slots(plan, logs, trainer), open_books(sweep), progress, stop).run()
    except Stopped as stopped:
        return stopped.exit_code


def announce(sweep: Sweep, runs: Runs, plan: SlotPlan, progress: Progress) -> None:
    """The first lines: what will run, where, on which data."""
    data = runs.data(sweep.base)
    before = f" ({sweep.num_finished} of {sweep.num_trials} trials are finished)" if sweep.num_finished else ""
    runs_to_train = f"{progress.total} run{'s' * (progress.total != 1)}"
    progress.say(f"{sweep.name}: {runs_to_train}{before}, {plan.description}, data: {data.source}", style="bold")
    for note in sweep.space.notes:
        progress.say(note)
    if number := sweep.num_left_failed:
        left = f"{number} failed trial{'s are' if number > 1 else ' is'} left alone"
        progress.say(f"{left}; retry_failed=true runs {'them' if number > 1 else 'it'} again", style="yellow")
    if data.kind is Source.DEMO:
        progress.say(DEMO_WARNING, style="bold yellow")


def open_books(sweep: Sweep) -> Books:
    base = sweep.base
    if sweep.is_single:
        return books.open_books(base.tracking_uri, base.output_dir, base.task.name, None)
    tags = {"cells": json.dumps(sweep.cells), "replicates": str(sweep.base.replicates), "objective": sweep.objective}
    parent = {"sweep_id": sweep.sweep_id, "name": sweep.name, "tags": tags, "params": sweep.parameters}
    return books.open_books(base.tracking_uri, base.output_dir, base.task.name, parent)


@dataclass
class Coordinator:
    sweep: Sweep
    runs: Runs
    slots: Slots
    books: Books
    progress: Progress
    stop: Stop
    waiting: dict[str, Waiting] = field(default_factory=dict)  # run id -> wants a slot
    training: dict[str, Waiting] = field(default_factory=dict)  # run id -> has one
    live: dict[str, Attempt] = field(default_factory=dict)  # run id -> has, or had one and must have it again
    group_limits: dict[str, int] = field(default_factory=dict)  # group key -> runs, where memory was short for more
    results: dict[str, RunResult] = field(default_factory=dict)  # run id -> how it ended
    folders: dict[str, RunFolder] = field(default_factory=dict)  # of both
    open_trials: list[tuple[TrialRuns, list[str]]] = field(default_factory=list)  # and the ids of their runs
    failures: list[str] = field(default_factory=list)

    def run(self) -> int:
        try:
            self.work()
        except BaseException as error:
            self.abandon(f"stopped by {error}" if isinstance(error, Stopped) else "the coordinating process failed")
            raise
        self.slots.stop()
        failed = bool(self.failures or self.sweep.num_failed or self.sweep.num_left_failed)
        self.close_books(RunState.FAILED if failed else RunState.COMPLETE)
        for line in self.failures:
            self.progress.say(line, style="red")
        return int(failed)

    def work(self) -> None:
        """Until every asked run has ended. Slots come first: none waits while the books are kept."""
        while True:
            self.hand_out()
            self.books.publish(attempt.folder for attempt in self.live.values())
            self.progress.refresh()
            if not self.slots.busy:
                return
            for ended in self.slots.wait(WAIT_S):
                self.receive(ended)
            self.follow()

    def hand_out(self) -> None:
        """A group for every free slot, as long as there are runs."""
        free = self.slots.free
        max_group = self.sweep.launcher.max_group
        more = bool(free)
        while more and len(self.waiting) < len(free) * max_group:
            with self.stop.deferred():
                more = self.ask()
        # As long as more runs will come, the free slots take all there are; the last ones are shared among all slots.
        num_slots = len(free) if more else self.slots.plan.num_slots
        at_hand = list(self.waiting.values()) if free else []
        groups = form_groups(at_hand, num_slots=num_slots, max_group=max_group, limits=self.group_limits)
        training = min(len(self.slots.busy) + len(groups), self.slots.plan.num_slots)
        for slot, group in zip(free, groups, strict=False):
            self.start(slot, [member.run_id for member in group.runs], self.slots.plan.threads(training))

    def ask(self) -> bool:
        """Takes the next trial in; False when the sweep has no more."""
        trial = self.sweep.ask()
        if trial is None:
            return False
        run_ids = [self.admit(trial, replicate) for replicate in range(len(trial.runs))]
        self.open_trials.append((trial, run_ids))
        self.tell()
        return True

    def admit(self, trial: TrialRuns, replicate: int) -> str:
        """A run is trained once, however many trials ask for it, and not at all where it is complete on disk."""
        folder, config = self.runs.folder(trial, replicate), trial.runs[replicate]
        run_id = folder.run_id
        if run_id in self.results or run_id in self.waiting or run_id in self.live:
            return run_id
        self.folders[run_id] = folder
        self.books.admitted(folder, {"cell": trial.cell, "trial": trial.number})
        if folder.state() is RunState.COMPLETE:
            self.progress.reuse(display_name(folder))
            self.conclude(folder, {"state": RunState.COMPLETE.value, "reason": None, "detail": None})
        else:
            cost = estimated_cost(config, self.runs.data(config).size)
            self.waiting[run_id] = Waiting(run_id, group_key(config), cost)
        return run_id

    def start(self, slot: Slot, run_ids: list[str], threads: int) -> None:
        folders = [self.folders[run_id] for run_id in run_ids]
        for folder in folders:
            self.training[folder.run_id] = self.waiting.pop(folder.run_id)
            if folder.run_id not in self.live:
                self.live[folder.run_id] = Attempt(folder)
            self.progress.start(folder.run_id, display_name(folder))
        self.slots.train(slot, folders, threads=threads)

    def receive(self, ended: Ended) -> None:
        """A group has left its slot: what its runs lack now, they will never get, unless memory was short."""
        self.follow()
        members = [self.training.pop(folder.run_id) for folder in ended.folders]
        left = [member for member in members if member.run_id in self.live]
        if ended.out_of_memory is not None:
            self.regroup(left, ended.out_of_memory)
            return
        for member in left:
            if ended.death is not None:
                self.live[member.run_id].fail(Reason.KILLED, ended.death)
            else:
                self.live[member.run_id].fail(Reason.ERROR, "the worker was done with the run but the run has no end")

    def regroup(self, members: Sequence[Waiting], why: str) -> None:
        """They wait again, and runs of their kind share a forward with half as many from now on."""
        key, half = members[0].key, len(members) // 2
        self.group_limits[key] = min(half, self.group_limits.get(key, half))
        self.waiting |= {member.run_id: member for member in members}
        self.progress.say(f"out of memory: {why}; trying at most {self.group_limits[key]} together", style="yellow")

    def follow(self) -> None:
        """New events of live runs to the progress; runs that finished to the study."""
        with self.stop.deferred():
            for run_id, attempt in list(self.live.items()):
                self.progress.take(run_id, attempt.take())
                if attempt.finished is not None:
                    del self.live[run_id]
                    self.progress.end(run_id)
                    self.conclude(attempt.folder, attempt.finished)
            self.tell()

    def conclude(self, folder: RunFolder, finished: dict[str, Any]) -> None:
        measured, state = folder.summary(), finished["state"]
        objective, loss = measured.get(self.sweep.objective), measured.get("eval/loss")
        self.results[folder.run_id] = RunResult(folder.run_id, state, objective, finished["reason"], loss)
        self.books.ended(folder)
        del self.folders[folder.run_id]
        if finished["state"] == RunState.FAILED:
            cause = " - ".join(part for part in (finished["reason"], finished["detail"]) if part)
            where = f"; traceback in {folder.path / 'events.jsonl'}" if finished.get("traceback") else ""
            self.failures.append(f"failed: {folder.run_id}: {cause}{where}")

    def tell(self) -> None:
        """Closes the trials whose runs have all ended. One that was stopped stays open, to be asked again."""
        still_open = []
        for trial, run_ids in self.open_trials:
            results = [self.results[run_id] for run_id in run_ids if run_id in self.results]
            if len(results) < len(run_ids):
                still_open.append((trial, run_ids))
            elif all(result.state != RunState.KILLED for result in results):
                self.sweep.tell(trial, results)
        self.open_trials = still_open

    def abandon(self, why: str) -> None:
        """Stops the workers; what they had not finished is KILLED, here and in MLflow, and can be resumed."""
        self.progress.say(f"{why}: ending {len(self.live)} runs, the same command goes on with them", style="yellow")
        self.slots.stop()
        for attempt in self.live.values():
            attempt.end(RunState.KILLED, Reason.KILLED, why)
        self.follow()
        self.close_books(RunState.KILLED)

    def close_books(self, state: RunState) -> None:
        if num_due := self.books.close(state):
            self.progress.say(f"MLflow could not be reached: {num_due} runs follow at the next start", style="yellow")
