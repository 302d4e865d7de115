"""The runs that want a slot: which of them share a forward, which are read from another, which may join a group.

Owns their order and their limits. Knows no process and no study.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeper.launch.group import Waiting, form_groups, pays_to_join, shared_time
from sweeper.launch.memory import MemoryLimits

HELD_S = 2.0  # between two looks at a run that another process trains


@dataclass
class Family:
    """A run to train, and those that are this run at an earlier step."""

    longest: Waiting
    shorter: list[Waiting] = field(default_factory=list)

    @property
    def members(self) -> list[Waiting]:
        return [self.longest, *self.shorter]


@dataclass(frozen=True)
class Formed:
    """A group that could start now."""

    families: list[Family]
    threads: int | None = None  # None: by how many slots have work then
    together: bool = False  # from a step that all its members have, rather than each from its own newest

    @property
    def time(self) -> float:
        return shared_time(sorted((family.longest.cost for family in self.families), reverse=True))


@dataclass
class WaitingRoom:
    """Of a sweep whose runs become known as it goes: groups from what is at hand, refilled where places get free."""

    max_group: int
    memory: MemoryLimits
    runs: dict[str, Waiting] = field(default_factory=dict)  # by run id
    held: dict[str, tuple[Waiting, float]] = field(default_factory=dict)  # by another process; when to look again

    def __contains__(self, run_id: str) -> bool:
        return run_id in self.runs or run_id in self.held

    def admit(self, *runs: Waiting) -> None:
        self.runs |= {run.run_id: run for run in runs}

    def hold(self, run: Waiting) -> None:
        self.held[run.run_id] = (run, time.monotonic() + HELD_S)

    def due(self) -> list[Waiting]:
        """The held runs that are to be looked at now; they are held no more."""
        now = time.monotonic()
        runs = [run for run, at in self.held.values() if at <= now]
        for run in runs:
            del self.held[run.run_id]
        return runs

    @property
    def families(self) -> dict[str, Family]:
        """By the id of the run that is trained."""
        families: dict[str, Family] = {}
        for run in sorted(self.runs.values(), key=lambda run: -run.epochs):
            family = families.setdefault(run.family or run.run_id, Family(run))
            if family.longest is not run:
                family.shorter.append(run)
        return {family.longest.run_id: family for family in families.values()}

    @property
    def limits(self) -> dict[str, int]:
        """Group key -> runs, where memory was short for more."""
        return {run.key: limit for run in self.runs.values() if (limit := self.memory.of(run.key).max_group)}

    def wanted(self, num_free: int) -> int:
        """Runs to have at hand for so many free slots, readings not counted."""
        # One more where runs are shared by their epochs: only the next shows that a family is whole.
        return num_free * self.max_group + any(run.family for run in self.runs.values()) if num_free else 0

    def form(self, *, num_slots: int) -> list[Formed]:
        """Of everything that waits, for that many slots; the longest first."""
        return [Formed(group) for group in self.cut(list(self.families.values()), num_slots=num_slots)]

    def cut(self, families: Sequence[Family], *, num_slots: int) -> list[list[Family]]:
        by_id = {family.longest.run_id: family for family in families}
        leaders = [family.longest for family in families]
        groups = form_groups(leaders, num_slots=num_slots, max_group=self.max_group, limits=self.limits)
        return [[by_id[run.run_id] for run in group.runs] for group in groups]

    def place_left(self, members: Sequence[Waiting]) -> int:
        """Runs that could still join a group of these."""
        if not members or members[0].alone:
            return 0
        return min(self.memory.of(members[0].key).max_group or self.max_group, self.max_group) - len(members)

    def joiner(self, members: Sequence[Waiting], left: Sequence[float], others: Sequence[Sequence[float]]
               ) -> Family | None:  # fmt: skip
        """The longest that may and should join a group of these members, with these costs `left`."""
        fitting = [family for family in self.families.values() if family.longest.bucket == members[0].bucket]
        paying = [family for family in fitting if pays_to_join(family.longest.cost, left, others)]
        return max(paying, key=lambda family: family.longest.cost, default=None)

    def take(self, family: Family) -> Family:
        """Out of the room, into a slot."""
        for run in family.members:
            del self.runs[run.run_id]
        return family

    def remove(self, run_id: str) -> None:
        """It shall not be trained any more."""
        self.runs.pop(run_id, None)
        self.held.pop(run_id, None)
