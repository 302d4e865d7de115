"""The project's metrics as modules of `evaluate`: SQuAD 2.0, BLEU, METEOR, ROUGE, and scores of labels.

They come with the code, not from the hub, and write nothing. All scores are shares. Importing this takes seconds, so
it is imported where something is scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import datasets
import evaluate

from tasks import squad_scores

TEXT = datasets.Value("string")
TEXTS = datasets.List(TEXT)
LABEL = datasets.Value("int64")


class InMemory(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """A metric that leaves no folder and no file behind."""

    description = ""
    predictions: Any = TEXT
    references: Any = TEXTS

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        """Where others would keep what they are given; `evaluate` makes that folder."""
        return str(self._data_dir_root)

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": self.predictions, "references": self.references})
        return evaluate.MetricInfo(description=self.description, citation="", inputs_description="", features=features)


class SquadV2(InMemory):
    description = "SQuAD 2.0's official evaluation; a question without an answer has no references."

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        no_answer_scores: Sequence[float] | None = None,
        spans: Sequence[str | None] | None = None,
    ) -> dict[str, float]:
        """Without `spans`, a threshold of the scores takes back or lets stand the predictions themselves."""
        unknown = [None] * len(predictions)
        asked = zip(predictions, references, no_answer_scores or unknown, spans or unknown, strict=True)
        return squad_scores.scores([squad_scores.Question(*question) for question in asked])


class Bleu(InMemory):
    description = "sacrebleu's corpus BLEU (13a tokens, exponential smoothing); predictions may have several references"

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        import sacrebleu

        most = max(map(len, references))
        streams = [[own[place] if place < len(own) else None for own in references] for place in range(most)]
        # `force` only silences a warning about texts that look tokenised.
        found = sacrebleu.corpus_bleu(predictions, streams, force=True)  # type: ignore[arg-type]  # it takes None
        return {"bleu": found.score / 100}


class Meteor(InMemory):
    description = "nltk's METEOR of Treebank tokens, with the nearest reference, mean over the predictions."

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        from nltk.tokenize import NLTKWordTokenizer
        from nltk.translate.meteor_score import meteor_score

        from tasks import score_packages

        tokens = NLTKWordTokenizer().tokenize
        synonyms = score_packages.wordnet()
        return {
            "meteor": _mean(
                meteor_score([tokens(reference) for reference in own], tokens(text), wordnet=synonyms)
                for text, own in zip(predictions, references, strict=True)
            )
        }


class Rouge(InMemory):
    description = "F of rouge-score without stemming, with the nearest reference, mean over the predictions."

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        from rouge_score.rouge_scorer import RougeScorer

        kinds = ["rouge1", "rouge2", "rougeL"]
        scorer = RougeScorer(kinds)
        found = [scorer.score_multi(own, text) for text, own in zip(predictions, references, strict=True)]
        return {kind: _mean(score[kind].fmeasure for score in found) for kind in kinds}


class LabelScores(InMemory):
    description = "Accuracy, precision, recall and F1 of class numbers, by scikit-learn."
    predictions, references = LABEL, LABEL

    def _compute(self, predictions: Sequence[int], references: Sequence[int], num_labels: int) -> dict[str, float]:
        """A prediction of `num_labels` is no label. A label neither gold nor predicted counts 0 in the macro means."""
        from sklearn.metrics import accuracy_score, precision_recall_fscore_support

        scores = {"accuracy": accuracy_score(references, predictions)}
        for average in ("macro", "weighted"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                references, predictions, labels=range(num_labels), average=average, zero_division=0
            )
            scores |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
        return {name: float(score) for name, score in scores.items()}


FAMILIES: dict[str, type[InMemory]] = {"bleu": Bleu, "meteor": Meteor, "rouge": Rouge}  # see task.metrics


def text_scores(
    families: Iterable[str], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Of every family, against one or more references for each prediction."""
    found: dict[str, float] = {}
    for family in families:
        found |= FAMILIES[family]().compute(predictions=predictions, references=references)
    return found


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)
