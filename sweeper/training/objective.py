"""What the loop asks of a kind of model, and nothing else: prepare, weigh, lose, predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd
from torch import Tensor

from sweeper.config import RunConfig
from tasks.task import Prediction, Task

__all__ = ["Batch", "Data", "Forwarded", "Objective", "Part", "Splits", "Task"]


class Part(StrEnum):
    TRAIN = "train"
    EVAL = "eval"  # the selection split
    TEST = "test"  # the reporting split
    FIT = "fit"  # the training rows again, to be judged on


Splits = Mapping[Part, pd.DataFrame]


class Data(Protocol):
    """One run's tokenised examples; each objective has its own kind."""

    @property
    def task(self) -> Task: ...

    @property
    def parts(self) -> Mapping[Part, Any]: ...

    @property
    def num_train(self) -> int: ...

    @property
    def truncated(self) -> int: ...


DataT = TypeVar("DataT")


@dataclass(frozen=True)
class Batch(Generic[DataT]):
    """What one run brings to a forward."""

    index: int  # the run's place in the group
    data: DataT
    indices: Sequence[int]  # of training examples
    dropout_key: tuple[int, ...]


@dataclass(frozen=True)
class Forwarded:
    sums: Tensor  # [K] summed loss over each run's targets
    num_tokens: list[int]  # [K] without padding


class Objective(Protocol[DataT]):
    def prepare(self, config: RunConfig, task: Task, splits: Splits) -> DataT: ...

    def weight(self, data: DataT, indices: Sequence[int]) -> float:
        """By what the summed loss of these examples is divided to be a mean."""

    def loss_sums(self, batches: Sequence[Batch[DataT]]) -> Forwarded: ...

    def predict(self, indices: Sequence[int], datas: Sequence[DataT], part: Part) -> list[list[Prediction]]: ...
