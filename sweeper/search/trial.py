"""What passes between a sweep and whoever trains its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeper.config import RunConfig


@dataclass(frozen=True)
class TrialRuns:
    """One trial: a cell and a point of hyperparameters, one run per replicate."""

    study: str  # name of the Optuna study
    number: int  # of the trial within its study
    params: dict[str, Any]  # search axes: dotted key -> value
    cell: dict[str, Any]  # design axes: dotted key or config group -> value
    runs: tuple[RunConfig, ...]  # index = replicate
    confirms: int | None = None  # number of the trial whose point runs again, here on fresh seeds

    @property
    def place(self) -> dict[str, Any]:
        """Of its runs in their sweep, for MLflow."""
        place = {"cell": self.cell, "trial": self.number}
        return place if self.confirms is None else place | {"confirms": self.confirms}


@dataclass(frozen=True)
class RunResult:
    """What became of one run of a trial."""

    run_id: str
    state: str  # COMPLETE | FAILED | PRUNED (a KILLED run is not told: its trial is asked again on resume)
    objectives: dict[str, float] = field(default_factory=dict)  # of `Sweep.objectives` -> the run's last value
    reason: str | None = None  # out of memory | diverged | error | killed ...
    loss: float | None = None  # of the selection split, where it was measured

    def failure(self, objectives: Sequence[str]) -> str:
        """Why the run lacks a value of an objective, or nothing where it has them all."""
        if self.state == "FAILED":
            return self.reason or "error"
        for name in objectives:
            if name not in self.objectives:
                return f"no {name}"
        measured = {name: self.objectives[name] for name in objectives} | {"eval/loss": self.loss or 0.0}
        broken = [name for name, value in measured.items() if not math.isfinite(value)]
        return f"{broken[0]} is not finite" if broken else ""
