"""From a prior to an estimate: what finished runs say about how far the prior is off, and how sure that is.

Pure statistics. A figure has one or several parts (seconds of training, of evaluation, of loading), each corrected
by itself: the factor is the geometric mean of actual / prior over the runs of the same kind, shrunk towards that
over all runs, and this towards 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Runs that a level weighs against the data below it. A prior from FLOPs is off by a factor of three, runs of one
# kind differ by a third: (0.3 / 1.1) ** 2 for the first; kinds differ from each other by about as much as their runs.
WEIGHT_OF_PRIOR, WEIGHT_OF_ALL = 0.1, 0.5
MIN_RUNS = 3  # of which one is left out, for an error that means something


@dataclass(frozen=True)
class Measured:
    """A finished run: the prior of each part, and what it really was."""

    kind: str
    prior: tuple[float, ...]
    actual: tuple[float, ...]
    group: str = ""  # runs that trained together are not independent of each other; "" stands alone

    @property
    def log_ratios(self) -> list[float | None]:
        """Of actual / prior; None for a part that the run did not have."""
        return [
            math.log(actual / prior) if actual > 0 and prior > 0 else None
            for prior, actual in zip(self.prior, self.actual, strict=True)
        ]


@dataclass
class _Logs:
    """Of actual / prior: how many, and their sum."""

    count: int = 0
    total: float = 0.0

    def add(self, ratio: float, times: int = 1) -> None:
        self.count, self.total = self.count + times, self.total + times * ratio

    def mean(self, towards: float, weight: float) -> float:
        return (self.total + weight * towards) / (self.count + weight)


class Correction:
    def __init__(self, seen: Sequence[Measured]) -> None:
        self._seen = list(seen)
        self._logs: defaultdict[tuple[int, str | None], _Logs] = defaultdict(_Logs)  # (part, kind; None: all)
        self._groups: defaultdict[str, list[Measured]] = defaultdict(list)
        for run in self._seen:
            self._add(run)
            self._groups[run.group].append(run)

    def corrected(self, kind: str, prior: Sequence[float]) -> tuple[float, ...]:
        return tuple(value * math.exp(self._log_factor(part, kind)) for part, value in enumerate(prior))

    def error(self, kinds: set[str]) -> Error:
        """Of the runs of these kinds, each predicted from the others; of all runs where those are too few."""
        of_kind = [run for run in self._seen if run.kind in kinds]
        judged = of_kind if len(of_kind) >= MIN_RUNS else self._seen
        share = median(map(self._error_without, judged)) if len(judged) >= MIN_RUNS else None
        return Error(len(judged), share, of_these=judged is of_kind)

    def _error_without(self, run: Measured) -> float:
        """Of the whole figure, as a share of what it really was; predicted without the run and its group."""
        together = self._groups[run.group] if run.group else [run]
        for member in together:
            self._add(member, times=-1)
        predicted = sum(self.corrected(run.kind, run.prior))
        for member in together:
            self._add(member)
        return abs(predicted / sum(run.actual) - 1)

    def _add(self, run: Measured, times: int = 1) -> None:
        for part, ratio in enumerate(run.log_ratios):
            if ratio is not None:
                self._logs[part, run.kind].add(ratio, times)
                self._logs[part, None].add(ratio, times)

    def _log_factor(self, part: int, kind: str) -> float:
        every = self._logs[part, None].mean(0.0, WEIGHT_OF_PRIOR)
        return self._logs[part, kind].mean(every, WEIGHT_OF_ALL)


@dataclass(frozen=True)
class Error:
    """In the middle (median) of so many runs, as a share; None where they are too few to tell."""

    num_runs: int
    share: float | None
    of_these: bool = True  # runs of the models and methods in question, not of others

    @property
    def in_words(self) -> str:
        if not self.num_runs:
            return "never measured here: a guess from FLOPs"
        runs = f"{self.num_runs} run{'s' * (self.num_runs != 1)}"
        if self.share is None:
            return f"corrected by {runs} seen here, too few to know the error"
        others = "" if self.of_these else " of other models or methods"
        return f"off by {self.share:.0%} in the middle of {runs}{others} seen here".replace("%", " %")
