"""The slots of this machine: a warm worker process each, fed with groups, replaced when it dies.

What a group is, and what becomes of its runs, is the coordinator's business.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import connection as pipes
from pathlib import Path
from typing import Any

from sweeper.launch.devices import SlotPlan, kernel_memory_kills
from sweeper.launch.fork_server import Worker
from sweeper.launch.pipe_control import assignment_message, departure_message
from sweeper.launch.worker import GRACE_S, TRAINER, WorkerSettings
from sweeper.training.control import Assignment, Departure


@dataclass
class Slot:
    number: int
    worker: Worker | None = None
    has_group: bool = False
    assignments: list[Assignment] = field(default_factory=list)  # of its group, past members included
    memory_kills: int = 0  # of the kernel, up to the group's start
    doomed: str | None = None  # why we ended its worker

    @property
    def trained_ids(self) -> list[str]:
        return [assignment.folder.run_id for assignment in self.assignments]

    @property
    def run_ids(self) -> list[str]:
        """Of the runs that are trained, and of those that are read from them."""
        readings = [reading.run_id for assignment in self.assignments for reading in assignment.readings]
        return self.trained_ids + readings


@dataclass(frozen=True)
class GroupSettings:
    """How a group is trained; what its runs compute stands in their configs."""

    threads: int = 1
    memory_share: float = 1.0
    together: bool = False  # from a step that all have: see `planned_room`


@dataclass(frozen=True)
class Ended:
    """A group that a slot has no more: trained, or left behind by a worker that died."""

    run_ids: Sequence[str]  # of all that were given to the slot
    death: str | None = None  # how the worker died, one line
    doomed: bool = False  # by us, for its silence
    out_of_memory: str | None = None  # what the allocator said; the runs without an end then need smaller groups
    disk_full: str | None = None  # one line; the runs without an end can go on when there is room again
    done: Sequence[str] = ()  # of the runs that the worker took in; some of the given ones may have come too late


@dataclass(frozen=True)
class Busy:
    """Runs that stay out of their group."""

    by: Mapping[str, str]  # run id -> the other process that trains it
    unread: Sequence[str] = ()  # what was to be read from them


@dataclass(frozen=True)
class Judged:
    """A group that waits for a verdict on the evaluations that these runs have just logged."""

    slot: Slot
    run_ids: Sequence[str]


@dataclass
class Slots:
    """Groups in, ended groups out. Workers start when they are first needed."""

    plan: SlotPlan
    logs: Path  # folder that gets one file per slot, the workers' output
    trainer: str = TRAINER
    judges: bool = False  # whether every evaluation waits for a verdict
    slots: list[Slot] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = [Slot(number) for number in range(self.plan.num_slots)]

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.has_group]

    @property
    def busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.has_group]

    def training(self, run_id: str) -> Slot | None:
        """The slot whose group this run is, or was, a member of."""
        return next((slot for slot in self.busy if run_id in slot.run_ids), None)

    def train(self, slot: Slot, assignments: Sequence[Assignment], settings: GroupSettings) -> None:
        """Returns when the worker has the group. A worker that died while it had nothing to do is replaced first."""
        assert not slot.has_group
        slot.has_group, slot.assignments = True, list(assignments)
        slot.memory_kills, slot.doomed = kernel_memory_kills(), None
        if slot.worker is None or not slot.worker.alive:
            gpu = self.plan.gpu(slot.number)
            slot.worker = Worker.start(WorkerSettings(slot.number, gpu, self.trainer, str(self._log(slot))))
        group = [assignment_message(assignment) for assignment in assignments]
        slot.worker.send({"train": group, "judges": self.judges, **asdict(settings)})

    def join(self, slot: Slot, assignment: Assignment) -> None:
        """One more run for a group in training; where it comes too late, `Ended.done` lacks it."""
        slot.assignments.append(assignment)
        self._send(slot, {"join": [assignment_message(assignment)]})

    def leave(self, slot: Slot, departures: Mapping[str, Departure]) -> None:
        """Ends these runs of the group, by id, at its next step."""
        self._send(slot, {"leave": departure_message(departures)})

    def verdict(self, slot: Slot, departures: Mapping[str, Departure]) -> None:
        """The answer to `Judged`: who leaves; the others go on."""
        self._send(slot, {"verdict": departure_message(departures)})

    def kill(self, slot: Slot, why: str) -> None:
        """Ends the worker of a group that is past talking to; `wait` tells of its death."""
        slot.doomed = why
        if slot.worker is not None:
            slot.worker.process.kill()
            slot.worker.process.join(GRACE_S)  # it writes no more

    def wait(self, timeout_s: float) -> list[Ended | Judged | Busy]:
        """What came from the busy slots, as soon as there is something or after the time is up."""
        handles: dict[Any, Slot] = {}
        for slot in self.busy:
            if slot.worker is not None:
                handles |= {slot.worker.connection: slot, slot.worker.process.sentinel: slot}
        ready = {handles[handle].number for handle in pipes.wait(list(handles), timeout_s)}
        return [self._collect(self.slots[number]) for number in sorted(ready)]

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Free workers leave at once, busy ones are told to (SIGTERM), both are killed after the grace."""
        deadline = time.monotonic() + grace_s
        workers = [(slot.worker, slot.has_group) for slot in self.slots if slot.worker is not None]
        for worker, is_busy in workers:
            if is_busy:
                worker.process.terminate()
            else:
                worker.send({"stop": True})
        for worker, _ in workers:
            worker.end(deadline)
        self.slots = [Slot(slot.number) for slot in self.slots]

    def _send(self, slot: Slot, message: dict[str, Any]) -> None:
        if slot.worker is not None:
            slot.worker.send(message)

    def _collect(self, slot: Slot) -> Ended | Judged | Busy:
        assert slot.worker is not None
        worker = slot.worker
        message = worker.received()
        if message is not None and "judged" in message:
            return Judged(slot, message["judged"])
        if message is not None and "busy" in message:
            return _set_aside(slot, message["busy"])
        run_ids = slot.run_ids
        slot.has_group, slot.assignments = False, []
        if message is not None:  # what came of the runs stands in their folders
            said = {name: message[name] for name in ("out_of_memory", "disk_full", "done")}
            return Ended(run_ids, **said)
        slot.worker = None
        exit_code = worker.end(time.monotonic() + GRACE_S)
        cause = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with code {exit_code}"
        death = f"worker process {worker.process.pid} {cause}; its output is in {self._log(slot)}"
        if slot.doomed is not None:
            return Ended(run_ids, slot.doomed, doomed=True)
        if exit_code == -signal.SIGKILL and kernel_memory_kills() > slot.memory_kills:
            return Ended(run_ids, out_of_memory=f"the kernel ended the worker for want of memory ({death})")
        return Ended(run_ids, death)

    def _log(self, slot: Slot) -> Path:
        return self.logs / f"slot-{slot.number}.log"


def _set_aside(slot: Slot, by: Mapping[str, str]) -> Busy:
    out = [assignment for assignment in slot.assignments if assignment.folder.run_id in by]
    slot.assignments = [
        Assignment(assignment.folder, [reading for reading in assignment.readings if reading.run_id not in by])
        for assignment in slot.assignments if assignment not in out
    ]  # fmt: skip
    return Busy(by, [reading.run_id for assignment in out for reading in assignment.readings])
