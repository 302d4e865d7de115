"""From a checked sweep to its coordinator: slots, books, the first lines, and the exit code."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console

from sweeper.config import Source
from sweeper.launch import books
from sweeper.launch.books import Books
from sweeper.launch.coordinator import Coordinator
from sweeper.launch.devices import SlotPlan, plan_slots
from sweeper.launch.fork_server import modules_to_preload, warm_up
from sweeper.launch.group import num_parameters
from sweeper.launch.memory import MemoryLimits
from sweeper.launch.planned_room import PlannedRoom, knows_its_runs
from sweeper.launch.progress import Progress, progress_on
from sweeper.launch.retry import Retries
from sweeper.launch.runs import Runs
from sweeper.launch.slots import Slots
from sweeper.launch.stop import Stop, Stopped
from sweeper.launch.waiting_room import WaitingRoom
from sweeper.launch.watchdog import Watchdog
from sweeper.launch.worker import TRAINER
from sweeper.search.study import Sweep
from sweeper.tracking.mlflow_fields import report_tags

DEMO_WARNING = "DEMO DATA: generated sentences, not the real task. The figures compare with no published ones."


def run(sweep: Sweep, *, console: Console | None = None, trainer: str = TRAINER) -> int:
    """Trains what the sweep still asks for. The exit code: 0 when every run is complete, 1 when one failed,
    128 + the signal when stopped; the same command then goes on where this one ended."""
    try:
        with Stop() as stop, sweep:
            num_runs = sweep.num_runs_left
            plan = plan_slots(sweep.launcher, num_runs=num_runs, num_parameters=num_parameters(sweep.base))
            logs = Path(sweep.base.output_dir) / "logs" / sweep.sweep_id
            if num_runs:  # ten seconds of imports beside everything that follows
                warm_up(modules_to_preload(trainer, on_gpu=bool(plan.gpus)), logs / "fork-server.log")
            runs = Runs(sweep)
            with progress_on(console or Console(), num_runs) as progress:
                announce(sweep, runs, plan, progress)
                slots = Slots(plan, logs, trainer, judges=sweep.prunes_by == "step")
                return coordinator(sweep, runs, slots, open_books(sweep), progress, stop).run()
    except Stopped as stopped:
        return stopped.exit_code


def coordinator(sweep: Sweep, runs: Runs, slots: Slots, kept: Books, progress: Progress, stop: Stop) -> Coordinator:
    folder = None if sweep.is_single else Path(sweep.base.output_dir) / "sweeps" / sweep.sweep_id
    memory = MemoryLimits.open(folder / "memory.json" if folder is not None else None)
    minutes = sweep.base.budget.minutes
    room = WaitingRoom(sweep.launcher.max_group, memory)
    if knows_its_runs(sweep):
        path = folder / "groups.json" if folder is not None else None
        room = PlannedRoom(sweep.launcher.max_group, memory, slots=slots.plan, path=path)
    return Coordinator(
        sweep, runs, slots, kept, progress, stop,
        room=room,
        retries=Retries(sweep.launcher.retries, memory),
        watchdog=Watchdog(sweep.launcher, slots),
        deadline_s=None if minutes is None else time.monotonic() + 60 * minutes,
    )  # fmt: skip


def announce(sweep: Sweep, runs: Runs, plan: SlotPlan, progress: Progress) -> None:
    """The first lines: what will run, where, on which data."""
    data = runs.data(sweep.base)
    before = f" ({sweep.num_finished} of {sweep.num_trials} trials are finished)" if sweep.num_finished else ""
    runs_to_train = f"{progress.total} run{'s' * (progress.total != 1)}"
    progress.say(f"{sweep.name}: {runs_to_train}{before}, {plan.description}, data: {data.source}", style="bold")
    for note in sweep.notes:
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
    tags = {
        "cells": json.dumps(sweep.cells), "replicates": str(sweep.base.replicates),
        "objective": ",".join(sweep.objectives), "objective_std": str(sweep.search.objective_std),
        "confirm_seeds": str(sweep.search.num_fresh_seeds(len(sweep.space.seeds))),
        "tune_per_cell": json.dumps(sweep.search.tune_per_cell), **report_tags(base.to_dict()),
    }  # fmt: skip
    if sweep.record is not None and sweep.record.drift:
        tags["drift"] = json.dumps(sweep.record.drift)
    parent = {"sweep_id": sweep.sweep_id, "name": sweep.name, "tags": tags, "params": sweep.parameters}
    return books.open_books(base.tracking_uri, base.output_dir, base.task.name, parent)
