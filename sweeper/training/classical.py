"""Runs of a classical model: fitted in one go, then judged, finished and kept as every other run is.

There is nothing to share and nothing to go on from: a run takes seconds, and begins again after an interruption.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import nn

from sweeper.config import RunConfig, run_config
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training import cost, linear_text
from sweeper.training.control import Assignment, Control
from sweeper.training.data import run_splits
from sweeper.training.failure import described, is_disk_full, is_out_of_memory
from sweeper.training.linear_text import FOLDER, LinearText, Texts
from sweeper.training.objective import Part
from sweeper.training.results import Finisher
from sweeper.training.run import Run
from sweeper.training.weight_updates import WeightUpdate
from tasks.classification import ClassificationTask
from tasks.splits import ID
from tasks.task import Prediction, Task, load_task

BATCH = 4096  # texts between two answers that are handed on


def train_group(assignments: Sequence[Assignment], *, control: Control) -> None:
    """See `sweeper.training.loop.train_group`; none of these runs is read as another one."""
    cost.reset_peak_memory()
    for folder in (assignment.folder for assignment in assignments):
        folder.progress(0, 0, 0.0, "loading")
        with _alone(folder):
            folder.started(control.slot)
            baseline, run = _fitted(folder)
            Finisher(baseline, baseline, baseline)([run])


def restore(config: RunConfig, artifacts: Path, task: Task) -> Restored:
    """A finished run, ready to be asked: `sweeper.training.predictor`. Raises ConfigError."""
    return Restored(Baseline(linear_text.load(artifacts / FOLDER)), cast(ClassificationTask, task))


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """What goes wrong inside fails this run; want of memory or disk concerns all, and is raised."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        folder.finish(RunState.FAILED, *described(error))


@dataclass(frozen=True)
class Row:
    id: str
    text: str
    gold: int | None


@dataclass(frozen=True)
class Rows:
    examples: Sequence[Row]

    @classmethod
    def of(cls, task: ClassificationTask, rows: pd.DataFrame) -> Rows:
        columns = rows[ID].tolist(), task.texts(rows), task.golds(rows)
        return cls([Row(*row) for row in zip(*columns, strict=True)])


@dataclass(frozen=True)
class ClassicalData:
    task: Task
    parts: Mapping[Part, Rows]
    truncated: int = 0

    @property
    def num_train(self) -> int:
        return len(self.parts[Part.TRAIN].examples)


@dataclass(frozen=True)
class Baseline:
    """What `Finisher` asks of a base model, a method and an objective."""

    model: LinearText

    @property
    def num_parameters(self) -> int:
        return int(self.model.weight.size + self.model.bias.size)

    @property
    def num_matrix_weights(self) -> int:
        return len(self.model.bias)  # a term is multiplied by one weight for each score

    def num_reached_weights(self, trained: Iterable[nn.Parameter]) -> int:
        return self.num_matrix_weights

    @property
    def is_trained(self) -> bool:
        return True

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        weights = {"weight": self.model.weight, "bias": self.model.bias}
        return {name: nn.Parameter(torch.from_numpy(weight), requires_grad=False) for name, weight in weights.items()}

    def updates(self, index: int) -> list[WeightUpdate]:
        """There was nothing to begin from."""
        return []

    def save(self, index: int, artifacts: Path) -> None:
        self.model.save(artifacts / FOLDER)

    def predict(self, indices: Sequence[int], datas: Sequence[ClassicalData], part: Part) -> list[list[Prediction]]:
        return [self.predictions(data.parts[part].examples) for data in datas]

    def predictions(self, rows: Sequence[Row]) -> list[Prediction]:
        scores = self.model.scores([row.text for row in rows])
        likelihoods, best = self.model.log_likelihoods(scores), scores.argmax(axis=1).tolist()
        return [
            Prediction(row.id, None, own, gold=row.gold, predicted=label)
            for row, own, label in zip(rows, likelihoods, best, strict=True)
        ]


@dataclass(frozen=True)
class Restored:
    """See `sweeper.training.predictor.Trained`."""

    baseline: Baseline
    task: ClassificationTask

    def predict(self, rows: pd.DataFrame) -> Iterator[list[Prediction]]:
        asked = Rows.of(self.task, rows).examples
        for start in range(0, len(asked), BATCH):
            yield self.baseline.predictions(asked[start : start + BATCH])


def _fitted(folder: RunFolder) -> tuple[Baseline, Run]:
    config = run_config(folder.identity.config)
    task = cast(ClassificationTask, load_task(config.task))
    splits = run_splits(config, digest=folder.identity.data["digest"])
    data = ClassicalData(task, {part: Rows.of(task, rows) for part, rows in splits.items()})
    train = data.parts[Part.TRAIN].examples
    texts = Texts([row.text for row in train], [row.gold for row in train if row.gold is not None])
    folder.progress(0, 0, 0.0, "training")
    started = time.perf_counter()
    model, terms = linear_text.fit(config.model, texts, num_labels=len(task.labels), seed=config.seed)
    seconds = time.perf_counter() - started
    baseline = Baseline(model)
    run = Run(folder, config, 0, data, baseline.parameters)
    run.progress.train_s, run.progress.tokens = seconds, terms
    return baseline, run
