"""A trainer that sleeps as long as a group of its size would train, and takes in who joins it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeper.config import run_config
from sweeper.launch.group import SHARING_EXPONENT
from sweeper.tracking.run_folder import RunFolder
from sweeper.training.control import Assignment, Control

STEP_S = 0.02  # of a run alone


@dataclass
class Sleeper:
    folder: RunFolder
    step: int = 0
    num_steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_steps = int(run_config(self.folder.identity.config).train.max_steps or 1)

    def advance(self, slot: int) -> bool:
        """One step; False after the last."""
        self.step += 1
        if self.step % 10 == 0:
            self.folder.progress(self.step, self.num_steps, 1.0, "training")
        if self.step < self.num_steps:
            return True
        self.folder.metrics(self.step, {"eval/accuracy": 0.5, "test/accuracy": 0.5, "test/f1_macro": 0.5})
        self.folder.finish("COMPLETE")
        return False


def train_group(assignments: Sequence[Assignment], *, control: Control) -> None:
    """As many steps as each run's `train.max_steps`."""
    sleepers = [_begun(assignment, control) for assignment in assignments]
    while sleepers:
        time.sleep(STEP_S * len(sleepers) ** SHARING_EXPONENT)
        sleepers = [sleeper for sleeper in sleepers if sleeper.advance(control.slot)]
        sleepers += [_begun(assignment, control) for assignment in control.arrivals()]


def _begun(assignment: Assignment, control: Control) -> Sleeper:
    assignment.folder.started(control.slot)
    return Sleeper(assignment.folder)
