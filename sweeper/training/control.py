"""What passes between a group in training and whoever watches over it: who joins, who leaves, and why.

The loop sees this protocol only; the worker process answers it from its pipe (`launch.worker`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sweeper.tracking.run_folder import Reason, RunFolder, RunState


@dataclass(frozen=True)
class Assignment:
    """One run to train, and the runs that it is read as on its way."""

    folder: RunFolder
    # Runs that differ from this one in their epochs only, and end earlier: this run at an earlier step.
    readings: Sequence[RunFolder] = ()


@dataclass(frozen=True)
class Departure:
    """How a run ends that is told to leave its group."""

    state: RunState  # PRUNED, or FAILED
    reason: Reason | None  # None for a pruned one
    detail: str

    @classmethod
    def pruned(cls, why: str) -> Departure:
        return cls(RunState.PRUNED, None, why)


class Control(Protocol):
    @property
    def slot(self) -> int: ...

    @property
    def memory_share(self) -> float:
        """Of the examples (and the evaluated tokens) of one forward as configured: 1, or 1/2, 1/4, ... where memory
        was short for more. What an optimiser step means does not change."""

    @property
    def together(self) -> bool:
        """Whether the group goes on as one that was interrupted: from the newest step that all its members have,
        so that the same runs share each step as would have without the interruption."""

    def judged(self, evaluated: Sequence[RunFolder]) -> Mapping[str, Departure]:
        """These runs have just logged an evaluation and are not done. Waits for the verdict where the sweep prunes;
        the runs that shall leave, by id."""

    def departures(self) -> Mapping[str, Departure]:
        """Further runs that shall leave now, by id; asked after every step, never waits."""

    def arrivals(self) -> Sequence[Assignment]:
        """Runs that join the group now; asked after every step, never waits. Only plain LoRA groups get any."""


class Alone:
    """Nobody watches: no run joins, none is told to leave."""

    slot = 0
    memory_share = 1.0
    together = False

    def judged(self, evaluated: Sequence[RunFolder]) -> Mapping[str, Departure]:
        return {}

    def departures(self) -> Mapping[str, Departure]:
        return {}

    def arrivals(self) -> Sequence[Assignment]:
        return ()
