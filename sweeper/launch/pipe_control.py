"""The worker's side of a group: who joins and leaves, as the coordinating process says over the pipe.

Messages, JSON both ways:
    to the worker    {"train": [assignment, ...], "threads": n, "memory_share": x,
                      "together": bool, "judges": bool}
                     {"join": [assignment, ...]}     {"leave": {run id: departure}}
                     {"verdict": {run id: departure}}     {"stop": true}
    to the other     {"judged": [run id, ...]} which waits for a verdict
                     {"busy": {run id: who trains it}} which stays out of the group, with its readings
                     {"done": [run id, ...], "out_of_memory": line or null, "disk_full": line or null}
                     where `done` are the runs that have an end now, or would have but for the memory
An assignment is {"folder": path, "readings": [path, ...]}, a departure {"state": s, "reason": r, "detail": d}.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sweeper.launch.attempt import Attempt
from sweeper.launch.run_lock import RunLock, holder
from sweeper.tracking.run_folder import Reason, RunFolder, RunState
from sweeper.training.control import Assignment, Departure
from sweeper.training.failure import described

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
    done: list[str] = field(default_factory=list)  # ids of the runs taken in, without their readings
    attempts: dict[str, Attempt] = field(default_factory=dict)  # of those that may have no end yet
    locked: dict[str, tuple[RunLock, Attempt]] = field(default_factory=dict)  # those and their readings
    _joining: list[Assignment] = field(default_factory=list)
    _leaving: dict[str, Departure] = field(default_factory=dict)

    def take(self, messages: Sequence[Message]) -> list[Assignment]:
        """The runs among them that nobody else trains, locked until `release`."""
        return [taken for message in messages if (taken := self._take(message)) is not None]

    def forget_late_arrivals(self) -> None:
        """The group has ended before they joined it: the coordinating process gives them to another."""
        for late in self._joining:
            self.done.remove(late.folder.run_id)
            del self.attempts[late.folder.run_id]
        self._joining = []

    def release(self) -> None:
        """Unlocks the runs; only when they have their ends."""
        for lock, _ in self.locked.values():
            lock.release()
        self.locked = {}

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
        if "join" in message:
            self._release_ended()
        self._joining += self.take(message.get("join", []))
        self._leaving |= _departures(message.get("leave", {}))

    def _release_ended(self) -> None:
        """A group that is refilled for days trains more runs than a process may have files open."""
        for run_id in [run_id for run_id, (_, attempt) in self.locked.items() if attempt.has_finished()]:
            self.locked.pop(run_id)[0].release()
            self.attempts.pop(run_id, None)

    def _take(self, message: Message) -> Assignment | None:
        folder = RunFolder(Path(message["folder"]))
        try:
            if not self._lock(folder):
                return None
        except Exception as error:  # its folder cannot be read: the others go on
            self.done.append(folder.run_id)
            folder.finish(RunState.FAILED, *described(error))
            return None
        self.done.append(folder.run_id)
        self.attempts[folder.run_id] = self.locked[folder.run_id][1]
        readings = [RunFolder.open(path) for path in message["readings"]]
        return Assignment(folder, [reading for reading in readings if self._lock(reading)])

    def _lock(self, folder: RunFolder) -> bool:
        RunFolder.open(folder.path)  # raises where there is none
        lock = RunLock.take(folder.path)
        if lock is None:
            self.send({"busy": {folder.run_id: holder(folder.path) or "another process"}})
            return False
        self.locked[folder.run_id] = lock, Attempt(folder)
        return True


def _departures(message: Mapping[str, Message]) -> dict[str, Departure]:
    return {
        run_id: Departure(RunState(said["state"]), Reason(said["reason"]) if said["reason"] else None, said["detail"])
        for run_id, said in message.items()
    }
