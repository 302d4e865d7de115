"""Runs that take too long, and groups that have fallen silent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweeper.launch.attempt import Attempt
from sweeper.launch.slots import Slot, Slots
from sweeper.search.options import LauncherOptions
from sweeper.tracking.run_folder import Reason, RunState
from sweeper.training.control import Departure

GRACE_S = 60.0  # for a group to let a run go that is over its time


@dataclass
class Watchdog:
    limits: LauncherOptions
    slots: Slots
    looked_s: float = field(default_factory=time.monotonic)
    resumed_s: float = -math.inf  # after the last pause
    began_s: dict[str, float] = field(default_factory=dict)  # run id -> when it got its slot
    told_s: dict[str, float] = field(default_factory=dict)  # run id -> when it was told to leave

    def started(self, run_ids: Sequence[str]) -> None:
        now = time.monotonic()
        for run_id in run_ids:
            self.began_s[run_id] = now
            self.told_s.pop(run_id, None)

    def look(self, live: Mapping[str, Attempt]) -> None:
        """Tells runs over their time to leave; ends the worker of a group that does not answer any more."""
        self._forgive_a_pause()
        for slot in self.slots.busy:
            attempts = {run_id: live[run_id] for run_id in slot.run_ids if run_id in live}
            if slot.doomed is None and attempts:
                self._end_long(slot, attempts)
                self._end_silent(slot, attempts)

    def _forgive_a_pause(self) -> None:
        """Ctrl-Z stops the workers too: time in which nobody looked counts for nobody."""
        now = time.monotonic()
        pause, self.looked_s = now - self.looked_s, now
        if pause > GRACE_S:
            for times in (self.began_s, self.told_s):
                times |= {run_id: at + pause for run_id, at in times.items()}
            self.resumed_s = now

    def _end_long(self, slot: Slot, attempts: Mapping[str, Attempt]) -> None:
        minutes, now = self.limits.run_minutes, time.monotonic()
        if minutes is None:
            return
        why = f"longer than hydra.launcher.run_minutes={minutes:g}"
        long = [run_id for run_id in attempts if now - self.began_s[run_id] > 60 * minutes]
        new = [run_id for run_id in long if run_id not in self.told_s]
        if new:
            self.slots.leave(slot, dict.fromkeys(new, Departure(RunState.FAILED, Reason.TIMEOUT, why)))
            self.told_s |= dict.fromkeys(new, now)
        deaf = [run_id for run_id in long if now - self.told_s[run_id] > GRACE_S]
        if deaf:
            self.slots.kill(slot, why)
        for run_id in deaf:
            attempts[run_id].fail(Reason.TIMEOUT, why)

    def _end_silent(self, slot: Slot, attempts: Mapping[str, Attempt]) -> None:
        minutes = self.limits.stalled_minutes
        if minutes is None:
            return
        heard = max(self.resumed_s, *(attempt.heard_s for attempt in attempts.values()))
        if time.monotonic() - max(heard, *(self.began_s[run_id] for run_id in attempts)) > 60 * minutes:
            self.slots.kill(slot, f"no word from the group for hydra.launcher.stalled_minutes={minutes:g}")
