"""The worker's side of a group: who joins and leaves, as the coordinating process says over the pipe.

Messages, JSON both ways:
    to the worker    {"train": [assignment, ...], "threads": n, "memory_share": x,
                      "together": bool, "judges": bool}
                     {"join": [assignment, ...]}     {"leave": {run id: departure}}
                     {"verdict": {run id: departure}}     {"stop": true}
    to the other     {"judged": [run id, ...]} which waits for a verdict
                     {"done": [run id, ...], "busy": {run id: who has it}, "out_of_memory": line or null}
                     where `done` are the runs that have an end now, or would have but for the memory
An assignment is {"folder": path, "readings": [path, ...]}, a departure {"state": s, "reason": r, "detail": d}.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeper.launch.attempt import Attempt
from sweeper.launch.run_lock import RunLock, holder
from sweeper.tracking.run_folder import Reason, RunFolder, RunState
from sweeper.training.control import Assignment, Departure

Message = dict[str, Any]


def assignment_message(assignment: Assignment) -> Message:
    return {"folder": str(assignment.folder.path), "readings": [str(reading.path) for reading in assignment.readings]}


def departure_message(departures: Mapping[str, Departure]) -> Message:
    return {run_id: asdict(departure) for run_id, departure in departures.items()}


@dataclass
class PipeControl:
    """`sweeper.training.control.Control` of one group, and the locks of its runs."""

    slot: int
    memory_share: float
    together: bool
    judges: bool  # whether the sweep wants to hear of every evaluation
    commands: queue.SimpleQueue[Message]
    send: Callable[[Message], None]
    attempts: dict[str, Attempt] = field(default_factory=dict)  # of the runs taken in, without their readings
    busy: dict[str, str] = field(default_factory=dict)  # run id -> the other process that trains it
    locks: list[RunLock] = field(default_factory=list)
    _joining: list[Assignment] = field(default_factory=list)
    _leaving: dict[str, Departure] = field(default_factory=dict)

    def take(self, messages: Sequence[Message]) -> list[Assignment]:
        """The runs among them that nobody else trains, locked until `release`."""
        return [taken for message in messages if (taken := self._take(message)) is not None]

    def forget_late_arrivals(self) -> None:
        """The group has ended before they joined it: the coordinating process gives them to another."""
        while self._joining:
            del self.attempts[self._joining.pop().folder.run_id]

    def release(self) -> None:
        """Unlocks the runs; only when they have their ends."""
        while self.locks:
            self.locks.pop().release()

    def judged(self, evaluated: Sequence[RunFolder]) -> Mapping[str, Departure]:
        if not self.judges or not evaluated:
            return {}
        self.send({"judged": [folder.run_id for folder in evaluated]})
        while "verdict" not in (message := self.commands.get()):
            self._note(message)
        return _departures(message["verdict"])

    def departures(self) -> Mapping[str, Departure]:
        self._listen()
        joining = {assignment.folder.run_id for assignment in self._joining}  # these hear of it once they are in
        leaving = {run_id: self._leaving.pop(run_id) for run_id in set(self._leaving) - joining}
        return leaving

    def arrivals(self) -> Sequence[Assignment]:
        self._listen()
        joining, self._joining = self._joining, []
        return joining

    def _listen(self) -> None:
        while not self.commands.empty():
            self._note(self.commands.get())

    def _note(self, message: Message) -> None:
        self._joining += self.take(message.get("join", []))
        self._leaving |= _departures(message.get("leave", {}))

    def _take(self, message: Message) -> Assignment | None:
        folder = RunFolder.open(message["folder"])
        if not self._lock(folder):
            return None
        self.attempts[folder.run_id] = Attempt(folder)
        readings = [RunFolder.open(path) for path in message["readings"]]
        return Assignment(folder, [reading for reading in readings if self._lock(reading)])

    def _lock(self, folder: RunFolder) -> bool:
        lock = RunLock.take(folder.path)
        if lock is None:
            self.busy[folder.run_id] = holder(folder.path) or "another process"
            return False
        self.locks.append(lock)
        return True


def _departures(message: Mapping[str, Message]) -> dict[str, Departure]:
    return {
        run_id: Departure(RunState(said["state"]), Reason(said["reason"]) if said["reason"] else None, said["detail"])
        for run_id, said in message.items()
    }
