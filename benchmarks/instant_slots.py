"""Slots without processes: a group is trained by the no-op trainer while it is handed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.no_op_trainer import train_group
from sweeper.launch.devices import SlotPlan
from sweeper.launch.slots import Ended, GroupSettings, Slot
from sweeper.training.control import Alone, Assignment, Departure


@dataclass
class InstantSlots:
    """What the coordinator needs of `sweeper.launch.slots.Slots`."""

    plan: SlotPlan
    slots: list[Slot] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = [Slot(number) for number in range(self.plan.num_slots)]

    @property
    def free(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.assignments]

    @property
    def busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.assignments]

    def training(self, run_id: str) -> Slot | None:
        return next((slot for slot in self.busy if run_id in slot.run_ids), None)

    def train(self, slot: Slot, assignments: Sequence[Assignment], _settings: GroupSettings) -> None:
        slot.assignments = list(assignments)
        train_group(assignments, control=Alone())

    def wait(self, _timeout_s: float) -> list[Ended]:
        ended = []
        for slot in self.busy:
            ended.append(Ended(slot.run_ids, done=slot.run_ids))
            slot.assignments = []
        return ended

    def join(self, slot: Slot, assignment: Assignment) -> None:
        slot.assignments.append(assignment)
        train_group([assignment], control=Alone())

    def leave(self, slot: Slot, departures: Mapping[str, Departure]) -> None: ...

    def stop(self) -> None: ...
