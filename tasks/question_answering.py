"""One answer per question, mostly about a context: written by a causal model, or a span that a head cuts out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.checks import ConfigError
from sweeper.config import TaskConfig
from tasks import squad_scores, template, wordnet
from tasks.chat import renderer
from tasks.encoded import Encoded, EncodedExample, Limits
from tasks.prompting import PromptTokens, check_tokenizer, token_ids
from tasks.span_windows import encode_spans
from tasks.splits import ANSWERS, ID
from tasks.task import Prediction, Prompt

# SQuAD 2.0, a row and what becomes of it:
#   context  "The Normans (Norman: Nourmands; ...", question "In what country is Normandy located?", answers
#            [{"text": "France", "start": 159}, ...]
#   user     "Context: The Normans (Norman: Nourmands; ...\nQuestion: In what country is Normandy located?\nAnswer:"
#   answer   " France", or " unanswerable" where there is none

SAMPLE = 50  # answers that a person is shown

Tokens = list[int]


class QuestionAnsweringTask:
    """See `tasks.task.Task`. A question without an answer has no references, and its prediction is the empty text."""

    labels: Sequence[str] = ()

    def __init__(self, config: TaskConfig) -> None:
        wordnet.check(config.metrics)
        self.columns = template.columns(config)
        self.text_column, self.question_column = config.data.text, config.data.question
        self.no_answer, self.metrics = config.prompt.no_answer, config.metrics
        self._system = template.parse("task.prompt.system", config.prompt.system)
        self._user = template.parse("task.prompt.user", config.prompt.user)
        self._answer = template.answer_parts(config)

    def encode(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        """Candidates are the first accepted answer, where the rows have answers, and the no-answer form, where the
        task has one."""
        eos = check_tokenizer(limits.max_length, tokenizer)
        prompts = PromptTokens(self, tokenizer, renderer(tokenizer, limits.style))
        ids, references, has_gold = prompts.encode(rows), _references(rows), ANSWERS in rows
        forms = [[own[0] if own else str(self.no_answer) for own in references]] if has_gold else []
        forms += [] if self.no_answer is None else [[self.no_answer] * len(rows)]
        columns = [_continuations(prompts, rows, ids, self._written(form)) for form in forms]
        candidates = [list(own) for own in zip(*columns, strict=True)] if columns else [[] for _ in ids]
        self._check_no_answer(candidates, tokenizer)
        longest = max((len(tokens) for own in candidates for tokens in own), default=0)
        reserved = max(limits.max_new_tokens, longest) + 1
        ids, truncated = prompts.cut(rows, ids, limits.max_length, reserved, limits.too_long)
        examples = [
            EncodedExample(name, prompt, [*own[0], eos] if has_gold else [], None, own, accepted, question=question)
            for name, prompt, own, accepted, question in zip(
                rows[ID].tolist(), ids, candidates, references, rows[self.question_column].tolist(), strict=True
            )
        ]
        return Encoded(examples, truncated, eos)

    def encode_for_head(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        return encode_spans(rows, (self.question_column, self.text_column), tokenizer, limits)

    def prompts(self, rows: pd.DataFrame) -> list[Prompt]:
        values = {column: rows[column].tolist() for column in self.columns}
        values |= {"text": values[self.text_column], "question": values[self.question_column]}
        systems = template.fill(self._system, values, len(rows))
        users = template.fill(self._user, values, len(rows))
        return [Prompt(system, user) for system, user in zip(systems, users, strict=True)]

    def parse(self, text: str) -> int | None:
        return None

    def answer(self, prediction: Prediction) -> str:
        """What was answered, without the template around it; empty for the no-answer form."""
        (before, _), *rest = self._answer
        text = (prediction.text or "").strip().removeprefix(before.strip())
        text = text.removesuffix("".join(literal for literal, _ in rest).strip()).strip()
        return "" if self.no_answer is not None and text == self.no_answer.strip() else text

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """SQuAD 2.0's official scores, the loss, and those of `task.metrics`.

        The latter hold a question without an answer to the no-answer form that should have been written.
        """
        from tasks.text_metrics import SquadV2, text_scores

        answers = [self.answer(prediction) for prediction in predictions]
        references = [list(prediction.references) for prediction in predictions]
        surenesses = [self._no_answer_score(prediction) for prediction in predictions]
        found = dict(SquadV2().compute(predictions=answers, references=references,
                                       no_answer_scores=None if self.no_answer is None else surenesses))  # fmt: skip
        none = self.no_answer or ""
        found |= text_scores(
            self.metrics, [answer or none for answer in answers], [own or [none] for own in references]
        )
        losses = [-prediction.log_likelihoods[0] for prediction in predictions]
        return {name: float(value) for name, value in found.items()} | {"loss": math.fsum(losses) / len(losses)}

    def table(self, predictions: Sequence[Prediction]) -> pd.DataFrame:
        """id, question, gold (the first accepted answer) and predicted (both empty for no answer), text as written,
        exact_match and f1, log_likelihood of gold, and no_answer_score where the task has a no-answer form."""
        answers = [self.answer(prediction) for prediction in predictions]
        pairs = [(answer, own.references) for answer, own in zip(answers, predictions, strict=True)]
        texts = {
            "id": [prediction.id for prediction in predictions],
            "question": [prediction.question for prediction in predictions],
            "gold": [(*prediction.references, "")[0] for prediction in predictions],
            "predicted": answers,
            "text": [prediction.text for prediction in predictions],
        }
        frame = pd.DataFrame(texts, dtype="str")
        frame["exact_match"] = [squad_scores.exact_match(*pair) for pair in pairs]
        frame["f1"] = [squad_scores.f1(*pair) for pair in pairs]
        frame["log_likelihood"] = [prediction.log_likelihoods[0] for prediction in predictions]
        if self.no_answer is not None:
            frame["no_answer_score"] = [self._no_answer_score(prediction) for prediction in predictions]
        return frame

    def confusion(self, predictions: Sequence[Prediction]) -> None:
        return None

    def leave(self, predictions: Sequence[Prediction], artifacts: Path) -> None:
        """answers.json, which SQuAD's evaluation script reads, and sample_answers.json, a table that MLflow shows."""
        answers = {prediction.id: self.answer(prediction) for prediction in predictions}
        (artifacts / "answers.json").write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
        shown = self.table(predictions[:: math.ceil(len(predictions) / SAMPLE)])
        shown = shown[["id", "question", "gold", "predicted", "exact_match", "f1"]]
        sample = {"columns": list(shown.columns), "data": shown.to_numpy(dtype=object).tolist()}
        (artifacts / "sample_answers.json").write_text(json.dumps(sample, ensure_ascii=False), encoding="utf-8")

    def _no_answer_score(self, prediction: Prediction) -> float:
        return prediction.log_likelihoods[-1]

    def _check_no_answer(self, candidates: Sequence[Sequence[Tokens]], tokenizer: Any) -> None:
        if self.no_answer is None or not candidates:
            return
        written = tokenizer.decode(candidates[0][-1], skip_special_tokens=True)
        if self.answer(Prediction("", written)):
            rule = f"this model's tokenizer writes it as {written!r}"
            raise ConfigError("task.prompt.no_answer", self.no_answer, rule, "choose one that it can write")

    def _written(self, answers: Sequence[str]) -> list[str]:
        return template.fill(self._answer, {"answer": answers}, len(answers))


def _references(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The texts of each row's accepted answers."""
    if ANSWERS not in rows:
        return [()] * len(rows)
    return [tuple(answer["text"] for answer in json.loads(value)) for value in rows[ANSWERS]]


def _continuations(
    prompts: PromptTokens, rows: pd.DataFrame, ids: Sequence[Tokens], answers: Sequence[str]
) -> list[Tokens]:
    """The tokens of each answer after its prompt's, whose tokens must be the start of those of the two together.

    A prompt that loses the end of its context keeps what stands between that and the answer.
    """
    texts = prompts.render.texts(prompts.task.prompts(rows))
    wholes = token_ids([text + answer for text, answer in zip(texts, answers, strict=True)], prompts.tokenizer)
    start, rest = prompts.render.start, []
    for name, prompt, whole in zip(rows[ID].tolist(), ids, wholes, strict=True):
        own = prompt[len(start) :]
        if whole[: len(own)] != own or len(whole) == len(own):
            rule = f"the last tokens of the prompt of {name} melt into those of its answer"
            raise ConfigError("task.prompt.answer", "...", rule,
                              "let task.prompt.user end in fixed text, and task.prompt.answer begin with a space "
                              "or a line break")  # fmt: skip
        rest.append(whole[len(own) :])
    return rest
