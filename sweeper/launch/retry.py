"""What becomes of runs that their group ended without: again, in a smaller forward, alone, or failed. By cause.

out of memory, several runs    again, at most half as many together        (remembered for the sweep)
out of memory, one run         again, half the examples in one forward     (remembered for the sweep)
worker died, or fell silent    again up to `hydra.launcher.retries` times, the last time alone
anything else                  failed where it happened: code, data and divergence do not get better
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sweeper.launch.attempt import Attempt
from sweeper.launch.group import Waiting
from sweeper.launch.memory import MemoryLimits
from sweeper.launch.slots import Ended
from sweeper.tracking.run_folder import Reason

SMALLEST_SHARE = 1 / 16  # of a forward's examples, where a single one of them would be more
MEND = "mend it; then the same command with retry_failed=true, and resume.allow_drift=true where the mending changed it"
SAME_ERRORS = 3  # first runs that must not all fail alike
OF_A_GROUP = re.compile(r" \(in a group of \d+ runs\)$")  # as `worker` adds it


class SameError(Exception):
    """The first runs have failed with one and the same error: so would the others."""


@dataclass(frozen=True)
class Left:
    """A run without an end, and its attempt."""

    run: Waiting
    attempt: Attempt


@dataclass(frozen=True)
class Retries:
    allowed: int  # deaths of its worker that a run may survive
    memory: MemoryLimits

    def again(self, ended: Ended, left: Sequence[Left]) -> tuple[list[Waiting], str]:
        """The runs that want a slot again, and a line for the person. The others have their `finished` event."""
        if ended.out_of_memory is not None:
            return self._after_memory(ended.out_of_memory, left)
        if ended.death is not None:
            return self._after_death(ended.death, left, Reason.TIMEOUT if ended.doomed else Reason.KILLED)
        for member in left:
            if member.run.run_id in ended.done:
                member.attempt.fail(Reason.ERROR, "the worker was done with the run but the run has no end")
        # The others came too late to join, or were passed over as readings.
        return [member.run for member in left if member.run.run_id not in ended.done], ""

    def _after_memory(self, why: str, left: Sequence[Left]) -> tuple[list[Waiting], str]:
        key, examples, runs = left[0].run.key, left[0].run.examples, [member.run for member in left]
        together = len({run.family or run.run_id for run in runs})
        if together > 1:
            limit = self.memory.halve_group(key, together)
            return runs, f"out of memory: {why}; trying at most {limit} together"
        if self.memory.of(key).share / 2 >= min(SMALLEST_SHARE, 1 / examples):
            share = self.memory.halve_share(key)
            return runs, f"out of memory: {why}; trying {share:g} of the examples in one forward, the same batch size"
        for member in left:
            member.attempt.fail(Reason.OUT_OF_MEMORY, why)
        return [], ""

    def _after_death(self, death: str, left: Sequence[Left], reason: Reason) -> tuple[list[Waiting], str]:
        again = []
        for member in left:
            deaths = member.attempt.died(death)
            if deaths > self.allowed:
                member.attempt.fail(reason, f"{death} ({deaths} times)" if deaths > 1 else death)
            else:
                again.append(replace(member.run, alone=deaths == self.allowed))
        runs = f"{len(again)} run{'s' * (len(again) != 1)}"
        return again, f"{death}; {runs} once more from the last checkpoint" if again else ""


@dataclass
class FirstErrors:
    """Watches the first runs of a command: the same error in all of them is not theirs."""

    errors: list[str] = field(default_factory=list)
    ended: int = 0

    def note(self, reason: str | None, detail: str | None) -> None:
        """A trained run has ended. Raises SameError."""
        if self.ended >= SAME_ERRORS:
            return
        self.ended += 1
        if reason == Reason.ERROR and detail is not None:
            self.errors.append(detail)
        alike = Counter(re.sub(r"\d+", "#", OF_A_GROUP.sub("", error)) for error in self.errors)
        if alike and max(alike.values()) == SAME_ERRORS:
            raise SameError(self.errors[0])
