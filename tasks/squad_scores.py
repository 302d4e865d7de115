"""SQuAD 2.0's official evaluation, from its documented protocol: exact match, F1, and both at their best threshold.

Answers are compared without case, punctuation, articles and white space; a prediction counts by its nearest accepted
answer that has a word then. "" is the prediction that there is no answer, and the right one where none is accepted (or
none with a word). Scores are shares of the questions. https://rajpurkar.github.io/SQuAD-explorer/
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(predicted: str, accepted: Sequence[str]) -> float:
    return _best(lambda answer: float(normalized(predicted) == normalized(answer)), accepted)


def f1(predicted: str, accepted: Sequence[str]) -> float:
    """Overlap of the words as bags; where one side has no words, 1 for two empty sides and 0 else."""
    return _best(lambda answer: _overlap(normalized(predicted).split(), normalized(answer).split()), accepted)


def _best(score: Callable[[str], float], accepted: Sequence[str]) -> float:
    return max(map(score, [answer for answer in accepted if normalized(answer)] or [""]))


def _overlap(predicted: Sequence[str], gold: Sequence[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    shared = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * shared / (len(predicted) + len(gold))


@dataclass(frozen=True)
class Question:
    predicted: str  # "" for no answer
    accepted: Sequence[str]  # empty where there is none
    no_answer_score: float | None = None  # the higher, the surer that there is none
    span: str | None = None  # what would be predicted if it had to be something; None where that was not asked

    @property
    def undeclined(self) -> str:
        """What a threshold of the no-answer score lets stand or takes back."""
        return self.predicted if self.span is None else self.span


def scores(questions: Sequence[Question]) -> dict[str, float]:
    """exact_match, f1, and the same of the questions with and without an answer, where there are such; best_* where
    every question has a no-answer score."""
    assert questions, "nothing to score"
    measures: Mapping[str, Callable[[str, Sequence[str]], float]] = {"exact_match": exact_match, "f1": f1}
    has_answer = [bool(question.accepted) for question in questions]
    found: dict[str, float] = {}
    for name, measure in measures.items():
        found |= _means(name, [measure(question.predicted, question.accepted) for question in questions], has_answer)
        if all(question.no_answer_score is not None for question in questions):
            values = [measure(question.undeclined, question.accepted) for question in questions]
            found |= _at_best_threshold(name, values, questions, has_answer)
    return found


def _means(name: str, values: Sequence[float], has_answer: Sequence[bool]) -> dict[str, float]:
    parts = {
        name: list(values),
        f"has_answer_{name}": [value for value, has in zip(values, has_answer, strict=True) if has],
        f"no_answer_{name}": [value for value, has in zip(values, has_answer, strict=True) if not has],
    }
    return {part: math.fsum(own) / len(own) for part, own in parts.items() if own}


def _at_best_threshold(
    name: str, values: Sequence[float], questions: Sequence[Question], has_answer: Sequence[bool]
) -> dict[str, float]:
    """The threshold up to which predictions stand; a question of a higher no-answer score counts as one without.

    From "no question has an answer" on, questions are let in by their score, as the official script does, which
    goes through questions of equal score in their order.
    """
    order = sorted(range(len(questions)), key=lambda number: questions[number].no_answer_score or 0.0)
    lowest = questions[order[0]].no_answer_score
    assert lowest is not None, "only asked where every question has a score"
    best = score = float(has_answer.count(False))
    threshold = math.nextafter(lowest, -math.inf)
    for number in order:
        question = questions[number]
        score += values[number] if has_answer[number] else -float(bool(question.undeclined))
        if score > best and question.no_answer_score is not None:
            best, threshold = score, question.no_answer_score
    return {f"best_{name}": best / len(questions), f"best_{name}_threshold": threshold}
