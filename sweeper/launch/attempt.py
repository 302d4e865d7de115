"""One attempt at a run: the events of its folder from the moment it was given to a slot.

A resumed run's folder ends in an earlier attempt's `finished` event, so "finished" here means: since then.
"""

from __future__ import annotations

from typing import Any

from sweeper.tracking.run_folder import Reason, RunFolder, RunState


class Attempt:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.finished: dict[str, Any] | None = None  # the event
        self._new: list[dict[str, Any]] = []
        _, self._offset = folder.read()

    def take(self) -> list[dict[str, Any]]:
        """Events that are new since the last call."""
        self._read()
        events, self._new = self._new, []
        return events

    def has_finished(self) -> bool:
        self._read()
        return self.finished is not None

    def end(self, state: RunState, reason: Reason, detail: str, traceback: str | None = None) -> None:
        """Writes the `finished` event where there is none yet. Only for a run that nobody trains any more."""
        if not self.has_finished():
            self.folder.finish(state, reason, detail, traceback)

    def fail(self, reason: Reason, detail: str, traceback: str | None = None) -> None:
        self.end(RunState.FAILED, reason, detail, traceback)

    def _read(self) -> None:
        events, self._offset = self.folder.read(self._offset)
        self._new += events
        self.finished = next((event for event in reversed(events) if event["event"] == "finished"), self.finished)
