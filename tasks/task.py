"""What the training engine and the tracker ask of a task; the tasks themselves are in the files beside this one.

Owns the vocabulary (prompt, prediction) and the table from `task.type` to its class. Knows nothing of tokens.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from sweeper.checks import one_of
from sweeper.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TASKS = {
    "classification": "tasks.classification:ClassificationTask"
}  # task.type -> module:class, imported when asked for


@dataclass(frozen=True)
class Prompt:
    system: str  # "" where the task has none
    user: str


@dataclass(frozen=True)
class Prediction:
    """One example's outcome."""

    id: str
    gold: int | None  # label index; None where the task has no labels
    predicted: int | None  # label index; None for an irregular output, and where the task has no labels
    text: str | None  # as generated; None where nothing was (a classification head)
    log_likelihoods: tuple[float, ...]  # nats, one per candidate answer, of the answer as given


class Task(Protocol):
    """Rows are frames of `Splits`; every list is in the order of the rows."""

    @property
    def columns(self) -> Sequence[str]:
        """The text columns that `prompts` and `texts` read."""

    @property
    def text_column(self) -> str:
        """The one of them that loses its end where an example is too long."""

    @property
    def labels(self) -> Sequence[str]:
        """Index = class number; empty for a task without labels."""

    @property
    def candidates(self) -> Sequence[str]:
        """The answer text of each label; empty where answers are open."""

    def prompts(self, rows: pd.DataFrame) -> list[Prompt]: ...

    def answers(self, rows: pd.DataFrame) -> list[str]: ...

    def golds(self, rows: pd.DataFrame) -> list[int | None]:
        """The label index of each row; None where the task has no labels."""

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """What a classification head reads: the text alone."""

    def parse(self, text: str) -> int | None:
        """The label that a generated text is, whitespace around it aside; None for anything else."""

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metric names without their `eval/` or `test/`."""

    def table(self, predictions: Sequence[Prediction]) -> pd.DataFrame:
        """One row per prediction, as predictions.parquet keeps it."""

    def confusion(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """Counts [gold, predicted], the last column for predictions of None."""

    def irregular(self, predictions: Sequence[Prediction]) -> Counter[str]:
        """Generated texts that are not exactly a label, counted."""


def load_task(config: TaskConfig) -> Task:
    """The task that `config.type` names. Raises ConfigError for an unknown type or a template that does not fit."""
    one_of("task.type", config.type, TASKS)
    module, name = TASKS[config.type].split(":")
    return cast(Task, getattr(importlib.import_module(module), name)(config))
