"""What a trial is worth: its replicates' results -> the state and the values that its study is told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeper.metrics import MAXIMIZE, direction
from sweeper.search.history import FAILED_REPLICATES, LOSS, REASON, RUNS
from sweeper.search.options import SearchOptions
from sweeper.search.trial import RunResult


@dataclass(frozen=True)
class Outcome:
    state: str  # of Optuna: COMPLETE | PRUNED | FAIL
    values: list[float] | None = None  # one per objective, where the trial is COMPLETE
    notes: dict[str, Any] = field(default_factory=dict)  # user attributes


def outcome(results: Sequence[RunResult], search: SearchOptions) -> Outcome:
    """The mean over the replicates that have a value; where none has one the trial fails with their reasons.

    One PRUNED run makes the trial PRUNED, whatever became of its other replicates.
    """
    names = search.objectives
    good = [result for result in results if not result.failure(names)]
    notes: dict[str, Any] = {RUNS: [result.run_id for result in results]}
    if any(result.state == "PRUNED" for result in results):
        return Outcome("PRUNED", notes=notes)
    if reasons := sorted({result.failure(names) for result in results} - {""}):
        notes |= {REASON: "; ".join(reasons), FAILED_REPLICATES: len(results) - len(good)}
    if not good:
        return Outcome("FAIL", notes=notes)
    if losses := [result.loss for result in good if result.loss is not None]:
        notes[LOSS] = statistics.fmean(losses)
    values = [aggregated([result.objectives[name] for result in good], name, search.objective_std) for name in names]
    return Outcome("COMPLETE", values, notes)


def aggregated(values: Sequence[float], objective: str, num_stds: float) -> float:
    """The mean, `num_stds` sample standard deviations to the worse side; one value deviates by nothing."""
    deviation = num_stds * statistics.stdev(values) if num_stds and len(values) > 1 else 0.0
    mean = math.fsum(values) / len(values)
    return mean - deviation if direction(objective) == MAXIMIZE else mean + deviation
