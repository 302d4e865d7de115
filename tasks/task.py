"""What the training engine and the tracker ask of a task; the tasks themselves are in the files beside this one.

Owns the vocabulary (prompt, prediction) and the table from `task.type` to its class. Knows nothing of tokens.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from sweeper.checks import one_of
from sweeper.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.encoded import Encoded, Limits

# task.type -> module:class, imported when asked for
TASKS = {
    "classification": "tasks.classification:ClassificationTask",
    "question_answering": "tasks.question_answering:QuestionAnsweringTask",
    "language_modeling": "tasks.language_modeling:LanguageModelingTask",
}


@dataclass(frozen=True)
class Prompt:
    system: str  # "" where the task has none
    user: str


@dataclass(frozen=True)
class Prediction:
    """One example's outcome."""

    id: str
    text: str | None  # as generated; None where nothing was (a classification head, running text)
    log_likelihoods: tuple[float, ...] = ()  # nats, one per candidate answer of the example, or per label of a head
    gold: int | None = None  # label index; None where it is not known, or the task has no labels
    predicted: int | None = None  # label index; None for an irregular output, and where the task has no labels
    span: str | None = None  # what a span head would cut out if it had to: `text` is empty where it declines
    references: tuple[str, ...] = ()  # accepted answers of a question; empty where it has none
    question: str = ""  # as a person asked it
    num_tokens: int = 0  # of the first candidate
    block: str = ""  # of running text, as it stands there


class Task(Protocol):
    """Rows are frames of `Splits`; every list is in the order of the rows."""

    @property
    def labels(self) -> Sequence[str]:
        """Index = class number; empty for a task without labels."""

    def encode(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        """For a model that writes. Rows may lack what is to be predicted. Raises ConfigError."""

    def encode_for_head(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        """For a model with a head in place of words. Raises ConfigError, also where the task is none for a head."""

    def parse(self, text: str) -> int | None:
        """The label that a generated text is, whitespace around it aside; None for anything else."""

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metric names without their split, all of `metrics.TASK_METRICS` of the task's type that apply."""

    def table(self, predictions: Sequence[Prediction]) -> pd.DataFrame:
        """One row per prediction, as predictions.parquet keeps it."""

    def confusion(self, predictions: Sequence[Prediction]) -> np.ndarray | None:
        """Counts [gold, predicted], the last column for predictions of None; None for a task without labels."""

    def leave(self, predictions: Sequence[Prediction], artifacts: Path) -> None:
        """Writes what a person wants to look at of the reporting split."""


def load_task(config: TaskConfig) -> Task:
    """The task that `config.type` names. Raises ConfigError for an unknown type or a template that does not fit."""
    one_of("task.type", config.type, TASKS)
    module, name = TASKS[config.type].split(":")
    return cast(Task, getattr(importlib.import_module(module), name)(config))
