"""Predictions as a person or a program reads them: plain JSON values, one object per row, by the type of the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tasks.question_answering import QuestionAnsweringTask
from tasks.task import Prediction, Task

Answer = dict[str, Any]


def answers(task_type: str, task: Task, predictions: Iterable[Prediction]) -> Iterator[Answer]:
    """In the order of the rows; a long running text is several predictions, `row#0`, `row#1` and so on."""
    for _, group in groupby(predictions, lambda prediction: prediction.id.partition("#")[0]):
        yield ANSWERS[task_type](task, list(group))


def _label(task: Task, predictions: Sequence[Prediction]) -> Answer:
    """`label` is what was written, null where that is none of the labels; `probabilities` weigh the labels alone, and
    are left out where the model has none."""
    (prediction,) = predictions
    label = None if prediction.predicted is None else task.labels[prediction.predicted]
    answer: Answer = {"label": label}
    if prediction.log_likelihoods:
        answer["probabilities"] = dict(zip(task.labels, softmax(prediction.log_likelihoods), strict=True))
    if prediction.text is not None:
        answer |= {"text": prediction.text.strip(), "irregular": label is None}
    return answer


def _written(task: Task, predictions: Sequence[Prediction]) -> Answer:
    """`answer` is empty where there is none; `no_answer_score`, in nats, is the likelihood that there is none, or by
    how much a span head prefers it. It is left out of a task whose questions all have one."""
    (prediction,) = predictions
    assert isinstance(task, QuestionAnsweringTask)
    answer: Answer = {"answer": task.answer(prediction)}
    if prediction.log_likelihoods:
        answer["no_answer_score"] = prediction.log_likelihoods[-1]
    return answer


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
