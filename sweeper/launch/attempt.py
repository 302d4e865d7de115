"""One attempt at a run: the events of its folder from the moment it was given to a slot.

A resumed run's folder ends in an earlier attempt's `finished` event, so "finished" here means: since then.
"""

from __future__ import annotations

import time
from typing import Any

from sweeper.tracking.run_folder import Reason, RunFolder, RunState


class Attempt:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.finished: dict[str, Any] | None = None  # the event
        self.measured: dict[str, tuple[int, float]] = {}  # metric -> step and value of its last point, ever
        self.share = 0.0  # of its steps that are made
        self.num_deaths = 0  # of its workers, since the run last ended
        self.heard_s = time.monotonic()  # when there was last a new event
        self._new: list[dict[str, Any]] = []
        events, self._offset = folder.read()
        for event in events:
            self._note(event)
        self.finished = None

    def take(self) -> list[dict[str, Any]]:
        """Events that are new since the last call."""
        self._read()
        events, self._new = self._new, []
        return events

    def has_finished(self) -> bool:
        self._read()
        return self.finished is not None

    def died(self, detail: str) -> int:
        """The worker that trained the run is dead. How many that makes, over all processes of the sweep."""
        self.folder.append("worker_died", detail=detail)
        self._read()
        return self.num_deaths

    def end(self, state: RunState, reason: Reason | None, detail: str, traceback: str | None = None) -> None:
        """Writes the `finished` event where there is none yet. Only for a run that nobody trains any more."""
        if not self.has_finished():
            self.folder.finish(state, reason, detail, traceback)
            self._read()

    def fail(self, reason: Reason, detail: str, traceback: str | None = None) -> None:
        self.end(RunState.FAILED, reason, detail, traceback)

    def _read(self) -> None:
        events, self._offset = self.folder.read(self._offset)
        self._new += events
        for event in events:
            self._note(event)
            self.heard_s = time.monotonic()

    def _note(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "metrics":
                self.measured |= {name: (event["step"], value) for name, value in event["values"].items()}
            case "progress" if event["num_steps"]:
                self.share = event["step"] / event["num_steps"]
            case "worker_died":
                self.num_deaths += 1
            case "finished":
                self.finished = event
                self.num_deaths = 0
