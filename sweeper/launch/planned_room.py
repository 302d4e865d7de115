"""Groups of a sweep whose runs are all known: formed once, kept in the sweep's folder, formed again as they were.

What a run computes hangs on its group in the last digits (sums of other shapes), and digits grow. A sweep that
was interrupted therefore goes on in the same groups, each from a step that all its members have: to the same
figures as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sweeper.atomic_json import write_json
from sweeper.launch.devices import SlotPlan
from sweeper.launch.waiting_room import Family, Formed, WaitingRoom
from sweeper.search.study import Sweep
from sweeper.tracking.damage import DamagedFile, read_object

LOOKAHEAD = 256  # runs at hand: the long ones of many start first, and the last slots end together


def knows_its_runs(sweep: Sweep) -> bool:
    """Whether every run that the sweep will train is known when it starts."""
    return sweep.prunes_by is None and all(sweep.is_enumerated(cell) for cell in sweep.space.cells)


@dataclass(frozen=True)
class Planned:
    run_ids: list[str]  # of the runs that are trained, in their order
    threads: int


@dataclass
class PlannedRoom(WaitingRoom):
    slots: SlotPlan = field(kw_only=True)
    path: Path | None = field(default=None, kw_only=True)  # None: kept in memory
    planned: list[Planned] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        """Groups that were formed for other cores, threads or sizes are formed anew.

        Raises DamagedFile.
        """
        if self.path is None or not self.path.is_file():
            return
        fix = "delete it; the groups are then formed anew, which may change the last digits of what they have left"
        known = read_object(self.path, fix)
        try:
            if known["formed_for"] == self._formed_for:
                self.planned = [Planned(**group) for group in known["groups"]]
        except (KeyError, TypeError) as error:
            raise DamagedFile(self.path, repr(error), fix) from error

    def wanted(self, num_free: int) -> int:
        return LOOKAHEAD if num_free and len(self.families) < LOOKAHEAD // 2 else 0

    def form(self, *, num_slots: int) -> list[Formed]:
        families = {run_id: family for run_id, family in self.families.items() if not family.longest.alone}
        self._plan(list(families.values()))
        formed = [[families[run_id] for run_id in group.run_ids if run_id in families] for group in self.planned]
        at_hand = [Formed(group, planned.threads, together=True)
                   for group, planned in zip(formed, self.planned, strict=True) if group]  # fmt: skip
        alone = [Formed([family], None) for family in self.families.values() if family.longest.alone]
        return sorted([*at_hand, *alone], key=lambda group: -group.time)

    def joiner(self, members: object, left: object, others: object) -> Family | None:
        """Nobody: the groups stay as they are."""
        return None

    def _plan(self, families: Sequence[Family]) -> None:
        """Takes in the runs that are in no group yet, and those whose group was too large."""
        limits = self.limits
        kept = [group for group in self.planned if len(group.run_ids) <= self._limit(group, families, limits)]
        known = {run_id for group in kept for run_id in group.run_ids}
        new = [family for family in families if family.longest.run_id not in known]
        if not new:
            return
        groups = self.cut(new, num_slots=self.slots.num_slots)
        threads = self.slots.threads(len(groups) + len(kept))
        self.planned = kept + [Planned([family.longest.run_id for family in group], threads) for group in groups]
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            groups_now = [asdict(group) for group in self.planned]
            write_json(self.path, {"formed_for": self._formed_for, "groups": groups_now})

    @property
    def _formed_for(self) -> dict[str, int | None]:
        return {"cores": self.slots.cores, "threads": self.slots.fixed_threads, "max_group": self.max_group}

    def _limit(self, group: Planned, families: Sequence[Family], limits: dict[str, int]) -> int:
        keys = {family.longest.key for family in families if family.longest.run_id in group.run_ids}
        return min([limits[key] for key in keys if key in limits], default=len(group.run_ids))
