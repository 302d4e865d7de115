"""Predictions as a person or a program reads them: plain JSON values, one object per row, by the type of the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tasks.task import Prediction, Task

Answer = dict[str, Any]


def answers(task_type: str, task: Task, predictions: Iterable[Prediction]) -> Iterator[Answer]:
    """In the order of the rows; a long running text is several predictions, `row#0`, `row#1` and so on."""
    for _, group in groupby(predictions, lambda prediction: prediction.id.partition("#")[0]):
        yield ANSWERS[task_type](task, list(group))


def _label(task: Task, predictions: Sequence[Prediction]) -> Answer:
    """`label` is what was written, null where that is none of the labels; `probabilities` weigh the labels alone."""
    (prediction,) = predictions
    label = None if prediction.predicted is None else task.labels[prediction.predicted]
    answer = {"label": label, "probabilities": dict(zip(task.labels, softmax(prediction.log_likelihoods), strict=True))}
    if prediction.text is not None:
        answer |= {"text": prediction.text.strip(), "irregular": label is None}
    return answer


def _written(task: Task, predictions: Sequence[Prediction]) -> Answer:
    (prediction,) = predictions
    return {"answer": (prediction.text or "").strip()}


def _measured(task: Task, predictions: Sequence[Prediction]) -> Answer:
    return {**task.score(predictions), "num_tokens": sum(prediction.num_tokens for prediction in predictions)}


ANSWERS: Mapping[str, Callable[[Task, Sequence[Prediction]], Answer]] = {
    "classification": _label,
    "question_answering": _written,
    "language_modeling": _measured,
}


def softmax(log_likelihoods: Sequence[float]) -> list[float]:
    highest = max(log_likelihoods)
    weights = [math.exp(value - highest) for value in log_likelihoods]
    return [weight / sum(weights) for weight in weights]
