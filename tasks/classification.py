"""One label per text: written as an answer by a causal model, or read off a classification head."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeper.config import TaskConfig
from tasks import template
from tasks.encoded import Encoded, Limits
from tasks.prompting import encode, encode_texts
from tasks.splits import LABEL
from tasks.task import Prediction, Prompt

# SST-2, a row and what becomes of it:
#   sentence "a gorgeous , witty , seductive movie .", label 1
#   system   "You are a helpful ... sentiment analysis assistant. ..."
#   user     "Sentence: a gorgeous , witty , seductive movie . \nSentiment:"
#   answer   " positive"


class ClassificationTask:
    """See `tasks.task.Task`."""

    def __init__(self, config: TaskConfig) -> None:
        self.labels = list(config.labels)
        self.columns = template.columns(config)
        self.text_column = config.data.text
        self._system = template.parse("task.prompt.system", config.prompt.system)
        self._user = template.parse("task.prompt.user", config.prompt.user)
        self.candidates = template.candidates(config)
        self._stripped = [answer.strip() for answer in self.candidates]

    def encode(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        return encode(self, rows, tokenizer, limits)

    def encode_for_head(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        return encode_texts(self, rows, tokenizer, limits)

    def prompts(self, rows: pd.DataFrame) -> list[Prompt]:
        values = {column: rows[column].tolist() for column in self.columns}
        values["text"] = values[self.text_column]
        systems = template.fill(self._system, values, len(rows))
        users = template.fill(self._user, values, len(rows))
        return [Prompt(system, user) for system, user in zip(systems, users, strict=True)]

    def golds(self, rows: pd.DataFrame) -> list[int | None]:
        return list(rows[LABEL].tolist()) if LABEL in rows else [None] * len(rows)

    def texts(self, rows: pd.DataFrame) -> list[str]:
        return list(rows[self.text_column].tolist())

    def parse(self, text: str) -> int | None:
        stripped = text.strip()
        return self._stripped.index(stripped) if stripped in self._stripped else None

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Accuracy, precision, recall, F1, likelihoods and irregular outputs.

        A prediction of None is a class of its own that is never gold: wrong for its gold label's recall, and
        no label's precision. A label that is neither gold nor predicted counts 0 in the macro means.
        """
        from tasks.text_metrics import LabelScores

        none = len(self.labels)
        gold, predicted = self._indices(predictions)
        scores = dict(LabelScores().compute(predictions=predicted, references=gold, num_labels=none))
        irregular = int((predicted == none).sum())
        scores |= {"irregular": irregular, "irregular_share": irregular / len(predictions)}
        likelihoods = np.array([prediction.log_likelihoods for prediction in predictions])  # [examples, labels]
        if likelihoods.size:  # a support vector machine has none
            scores["loss"] = -likelihoods[np.arange(len(gold)), gold].mean()
            scores["likelihood_accuracy"] = (likelihoods.argmax(axis=1) == gold).mean()
        return {name: float(value) for name, value in scores.items()}

    def table(self, predictions: Sequence[Prediction]) -> pd.DataFrame:
        """id, gold and predicted (label names), text, log_likelihood_<label> where there are any; null for None."""
        frame = pd.DataFrame(
            {
                "id": [prediction.id for prediction in predictions],
                "gold": [self._name(prediction.gold) for prediction in predictions],
                "predicted": [self._name(prediction.predicted) for prediction in predictions],
                "text": [prediction.text for prediction in predictions],
            },
            dtype="str",
        )
        likelihoods = [prediction.log_likelihoods for prediction in predictions]
        for index, label in enumerate(self.labels if likelihoods and likelihoods[0] else ()):
            frame[f"log_likelihood_{label}"] = [own[index] for own in likelihoods]
        return frame

    def leave(self, predictions: Sequence[Prediction], artifacts: Path) -> None:
        """irregular.json: generated texts that are not exactly a label, counted."""
        irregular = dict(self.irregular(predictions).most_common())
        (artifacts / "irregular.json").write_text(json.dumps(irregular, ensure_ascii=False), encoding="utf-8")

    def confusion(self, predictions: Sequence[Prediction]) -> np.ndarray:
        counts = np.zeros((len(self.labels), len(self.labels) + 1), dtype=np.int64)
        np.add.at(counts, self._indices(predictions), 1)
        return counts

    def irregular(self, predictions: Sequence[Prediction]) -> Counter[str]:
        return Counter((prediction.text or "").strip() for prediction in predictions if prediction.predicted is None)

    def _indices(self, predictions: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
        """Gold and predicted labels, None as the index after the last label."""
        none = len(self.labels)
        assert predictions, "nothing to score"
        gold = np.array([prediction.gold for prediction in predictions], dtype=np.int64)
        predicted = [none if prediction.predicted is None else prediction.predicted for prediction in predictions]
        return gold, np.array(predicted, dtype=np.int64)

    def _name(self, label: int | None) -> str | None:
        return None if label is None else self.labels[label]
