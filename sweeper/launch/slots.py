"""The slots of this machine: a warm worker process each, fed with groups, replaced when it dies.

What a group is, and what becomes of its runs, is the coordinator's business.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import connection as pipes
from pathlib import Path
from typing import Any

from sweeper.launch.devices import SlotPlan
from sweeper.launch.fork_server import Worker
from sweeper.launch.worker import GRACE_S, TRAINER, WorkerSettings
from sweeper.tracking.run_folder import RunFolder


@dataclass
class Slot:
    number: int
    worker: Worker | None = None
    folders: Sequence[RunFolder] = ()  # in training; empty in a free slot


@dataclass(frozen=True)
class Ended:
    """A group that a slot has no more: trained, or left behind by a worker that died."""

    folders: Sequence[RunFolder]
    death: str | None = None  # how the worker died, one line
    exit_code: int | None = None
    out_of_memory: str | None = None  # what the allocator said; the runs without an end then need smaller groups


@dataclass
class Slots:
    """Groups in, ended groups out. Workers start when they are first needed."""

    plan: SlotPlan
    logs: Path  # folder that gets one file per slot, the workers' output
    trainer: str = TRAINER
    slots: list[Slot] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = [Slot(number) for number in range(self.plan.num_slots)]

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.folders]

    @property
    def busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.folders]

    def train(self, slot: Slot, folders: Sequence[RunFolder], *, threads: int) -> None:
        """Returns when the worker has the group. A worker that died while it had nothing to do is replaced first."""
        assert folders, "an empty group would look like a free slot"
        assert not slot.folders
        slot.folders = tuple(folders)
        if slot.worker is None or not slot.worker.alive:
            gpu = self.plan.gpu(slot.number)
            slot.worker = Worker.start(WorkerSettings(slot.number, gpu, self.trainer, str(self._log(slot))))
        slot.worker.send({"train": [str(folder.path) for folder in folders], "threads": threads})

    def wait(self, timeout_s: float) -> list[Ended]:
        """Groups that ended, as soon as there is one or after the time is up."""
        handles: dict[Any, Slot] = {}
        for slot in self.busy:
            if slot.worker is not None:
                handles |= {slot.worker.connection: slot, slot.worker.process.sentinel: slot}
        ready = {handles[handle].number for handle in pipes.wait(list(handles), timeout_s)}
        return [self._collect(self.slots[number]) for number in sorted(ready)]

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Free workers leave at once, busy ones are told to (SIGTERM), both are killed after the grace."""
        deadline = time.monotonic() + grace_s
        workers = [(slot.worker, bool(slot.folders)) for slot in self.slots if slot.worker is not None]
        for worker, is_busy in workers:
            if is_busy:
                worker.process.terminate()
            else:
                worker.send({"stop": True})
        for worker, _ in workers:
            worker.end(deadline)
        self.slots = [Slot(slot.number) for slot in self.slots]

    def _collect(self, slot: Slot) -> Ended:
        assert slot.worker is not None
        worker, folders = slot.worker, slot.folders
        slot.folders = ()
        if (message := worker.received()) is not None:  # what came of the runs stands in their folders
            return Ended(folders, out_of_memory=message["out_of_memory"])
        slot.worker = None
        exit_code = worker.end(time.monotonic() + GRACE_S)
        cause = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with code {exit_code}"
        death = f"worker process {worker.process.pid} {cause}; its output is in {self._log(slot)}"
        return Ended(folders, death, exit_code)

    def _log(self, slot: Slot) -> Path:
        return self.logs / f"slot-{slot.number}.log"
