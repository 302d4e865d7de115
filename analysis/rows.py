"""One row of a table: a point of one cell, with the numbers of its replicates."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.load import Run

LOSS_FIRST, LOSS_LAST = "train/loss_first", "train/loss_last"
IRREGULAR, IRREGULAR_SHARE = "irregular", "irregular_share"  # of a split
EXAMPLES, EPOCHS, TEST_EXAMPLES = "data/train_examples", "train/epoch", "data/test_examples"
EPOCHS_AXIS = "train.epochs"
TRAIN_SECONDS, GROUP_SIZE = "perf/train_s", "perf/group_size"
# Of a cell: these are columns of every table, whatever the sweep swept.
OWN_COLUMNS = frozenset({"model", "peft", "task.train_size"})


@dataclass
class Row:
    model: str
    method: str
    train_size: int | str
    cell: dict[str, Any] = field(default_factory=dict)  # design axis -> value
    runs: list[Run] = field(default_factory=list)  # the complete replicates whose numbers are shown
    expected: int = 1  # replicates
    params: Mapping[str, str] = field(default_factory=dict)  # of the point that is shown
    problem: str = ""  # what the cell shows instead of numbers
    chosen: dict[str, str] = field(default_factory=dict)  # the best hyperparameters, where several were tried
    irregular: list[tuple[float, dict[str, int]]] = field(default_factory=list)  # count and texts, per replicate
    num_points: int = 0  # of hyperparameters that were tried
    num_pruned: int = 0  # of them
    searched: list[Run] = field(default_factory=list)  # the same point's runs of the search, where `runs` are fresh
    published: Mapping[str, Any] = field(default_factory=dict)  # metric -> value, and `when` and `source`
    unconfirmed: str = ""  # why it has the search's numbers, where fresh seeds were asked for

    @classmethod
    def like(cls, run: Run) -> Row:
        """Without numbers, in the place of the run."""
        return cls(run.model, run.method, run.train_size, run.cell, params=run.params)

    def values(self, name: str) -> list[float]:
        return [run.metrics[name] for run in self.runs if name in run.metrics]

    def mean(self, name: str) -> float | None:
        return mean_of(self.runs, name)

    def deviation(self, name: str) -> float | None:
        """Sample standard deviation over the replicates."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def further_axes(self) -> dict[str, str]:
        """Design axes beyond the columns of every table."""
        return {key: str(value) for key, value in self.cell.items() if key not in OWN_COLUMNS}

    @property
    def label(self) -> str:
        """What a note below the table calls it."""
        size = f"{self.train_size:,}" if isinstance(self.train_size, int) else self.train_size
        return " ".join(
            [self.model, self.method, size, *(f"{key}={value}" for key, value in self.further_axes.items())]
        )

    @property
    def shared_with(self) -> list[str]:
        """The longer runs that these were read from, on their way."""
        return list(dict.fromkeys(run.shared_with for run in self.runs if run.shared_with))

    def all_irregular(self, split: str) -> bool:
        shares = self.values(f"{split}/{IRREGULAR_SHARE}")
        return bool(shares) and min(shares) >= 1


def mean_of(runs: Sequence[Run], name: str) -> float | None:
    values = [run.metrics[name] for run in runs if name in run.metrics]
    return statistics.fmean(values) if values else None
