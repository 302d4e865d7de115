"""What passes between a sweep and whoever trains its runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True)
class RunResult:
    """What became of one run of a trial."""

    run_id: str
    state: str  # COMPLETE | FAILED | PRUNED (a KILLED run is not told: its trial is asked again on resume)
    objective: float | None = None  # the run's last value of `Sweep.objective`; None where it has none
    reason: str | None = None  # out of memory | diverged | error | killed ...
    loss: float | None = None  # of the selection split, where it was measured

    def failure(self, objective: str) -> str:
        """Why the run has no value of the objective, or nothing where it has one."""
        if self.state == "FAILED":
            return self.reason or "error"
        if self.objective is None:
            return f"no {objective}"
        measured = {objective: self.objective, "eval/loss": self.loss or 0.0}
        broken = [name for name, value in measured.items() if not math.isfinite(value)]
        return f"{broken[0]} is not finite" if broken else ""
