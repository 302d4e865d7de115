"""Answers of a finished run for new rows: the run's own prompts, limits and forward, without its training data."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

import pandas as pd

from sweeper.config import Architecture, RunConfig
from sweeper.training.answers import Answer, answers
from sweeper.training.loop import objective_for
from sweeper.training.objective import Objective, Part
from sweeper.training.restored import restore
from tasks.task import Prediction, Task, load_task

BATCH = 512  # rows between two times that answers are handed on


class Trained(Protocol):
    """What a run left, ready to be asked."""

    def predict(self, rows: pd.DataFrame) -> Iterator[list[Prediction]]:
        """Batch by batch, in the order of the rows (see `tasks.new_rows`).

        Raises ConfigError for a row that can't be read before the first batch is out.
        """


# architecture -> module:function(config, artifacts, task) that gives a Trained, imported when asked for
TRAINED = {
    Architecture.CAUSAL_LM: "sweeper.training.predictor:neural",
    Architecture.ENCODER: "sweeper.training.predictor:neural",
    Architecture.CLASSICAL: "sweeper.training.classical:restore",
}


@dataclass(frozen=True)
class Predictor:
    config: RunConfig
    task: Task
    trained: Trained

    @classmethod
    def load(cls, config: RunConfig, artifacts: Path) -> Predictor:
        """`artifacts` is the run folder's, or holds the same. Raises ConfigError."""
        task = load_task(config.task)
        module, name = TRAINED[config.model.architecture].split(":")
        restored = getattr(importlib.import_module(module), name)(config, artifacts, task)
        return cls(config, task, cast(Trained, restored))

    def answers(self, rows: pd.DataFrame) -> Iterator[Answer]:
        """Of rows as `tasks.new_rows` checks them, in their order. Raises ConfigError before the first."""
        return answers(self.config.task.type, self.task, chain.from_iterable(self.trained.predict(rows)))


@dataclass(frozen=True)
class Neural:
    """See `Trained`."""

    objective: Objective[Any]
    config: RunConfig
    task: Task

    def predict(self, rows: pd.DataFrame) -> Iterator[list[Prediction]]:
        data: Any = self.objective.prepare(self.config, self.task, {Part.TEST: rows})
        whole = data.parts[Part.TEST]
        for start in range(0, len(whole.examples), BATCH):
            piece = dataclasses.replace(whole, examples=whole.examples[start : start + BATCH])
            part = dataclasses.replace(data, parts={Part.TEST: piece})
            yield from self.objective.predict([0], [part], Part.TEST)


def neural(config: RunConfig, artifacts: Path, task: Task) -> Neural:
    base, method = restore(config, artifacts)
    return Neural(objective_for(base, method, memory_share=1.0), config, task)
