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
from tasks import squad_scores, template
from tasks.chat import renderer
from tasks.encoded import Encoded, EncodedExample, Limits
from tasks.prompting import BATCH, PromptTokens, check_tokenizer, token_ids, too_long_error
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
        self.columns = template.columns(config)
        self.text_column, self.question_column = config.data.text, config.data.question
        self.no_answer, self.metrics = config.prompt.no_answer, config.metrics
        self._system = template.parse("task.prompt.system", config.prompt.system)
        self._user = template.parse("task.prompt.user", config.prompt.user)
        self._answer = template.answer_parts(config)

    def encode(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        """Candidates are the first accepted answer, where the rows have answers, and the no-answer form, where the
        task has one.

        Every prompt leaves room for `max_new_tokens` and the end-of-sequence token, whatever its gold answer is. An
        answer that is longer, and does not fit either, is an error or loses its end as a context does: that end could
        never be written.
        """
        eos = check_tokenizer(limits.max_length, tokenizer)
        prompts = PromptTokens(self, tokenizer, renderer(tokenizer, limits.style))
        ids, candidates = self._tokens(rows, prompts)
        references = _references(rows)
        self._check_no_answer(candidates, tokenizer, limits.max_new_tokens)
        self._check_references(rows, references)
        cut = prompts.cut(rows, ids, limits.max_length, limits.max_new_tokens + 1, limits.too_long)
        answers = [[*own[0], eos] for own in candidates] if ANSWERS in rows else [[] for _ in ids]
        cut |= _long_answers(rows, ids, answers, limits)
        rooms = [limits.max_length - len(prompt) for prompt in ids]
        examples = [
            EncodedExample(name, prompt, answer[:room], None, [tokens[:room] for tokens in own], accepted, question)
            for name, prompt, answer, room, own, accepted, question in zip(
                rows[ID].tolist(), ids, answers, rooms, candidates, references,
                rows[self.question_column].tolist(), strict=True,
            )
        ]  # fmt: skip
        return Encoded(examples, len(cut), eos)

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
        """What was answered, without the template around it; empty for the no-answer form, which is compared as
        answers are: without case, punctuation and articles."""
        if prediction.span is not None:
            return prediction.text or ""
        text = self._inside(prediction.text or "")
        return "" if self._declines(text) else text

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """SQuAD 2.0's official scores, the loss, and those of `task.metrics`.

        The latter hold a question without an answer to the no-answer form that should have been written.
        """
        from tasks.text_metrics import SquadV2, text_scores

        answers = [self.answer(prediction) for prediction in predictions]
        references = [list(prediction.references) for prediction in predictions]
        declining = {} if self.no_answer is None else {
            "no_answer_scores": [self._no_answer_score(prediction) for prediction in predictions],
            "spans": [prediction.span for prediction in predictions],
        }  # fmt: skip
        found = dict(SquadV2().compute(predictions=answers, references=references, **declining))
        none = self.no_answer or ""
        found |= text_scores(
            self.metrics, [answer or none for answer in answers], [own or [none] for own in references]
        )
        if self.no_answer is not None:
            found["no_answer_share"] = sum(not answer for answer in answers) / len(answers)
        losses = [-prediction.log_likelihoods[0] for prediction in predictions]
        return {name: float(value) for name, value in found.items()} | {"loss": math.fsum(losses) / len(losses)}

    def table(self, predictions: Sequence[Prediction]) -> pd.DataFrame:
        """id, question, gold (the first accepted answer) and predicted (both empty for no answer), text as written,
        exact_match and f1, log_likelihood of gold; where the task has a no-answer form no_answer_score, and span where
        a head has one: what it would predict without that score."""
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
            if any(prediction.span is not None for prediction in predictions):
                frame["span"] = pd.Series([prediction.span for prediction in predictions], dtype="str")
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

    def _check_no_answer(self, candidates: Sequence[Sequence[Tokens]], tokenizer: Any, max_new_tokens: int) -> None:
        if self.no_answer is None or not candidates:
            return
        tokens = candidates[0][-1]
        written = tokenizer.decode(tokens, skip_special_tokens=True)
        if not self._declines(self._inside(written)):
            rule = f"this model's tokenizer writes it as {written!r}"
            raise ConfigError("task.prompt.no_answer", self.no_answer, rule, "choose one that it can write")
        if len(tokens) > max_new_tokens:
            rule = f"the no-answer form {self.no_answer!r} has {len(tokens)} tokens"
            raise ConfigError("task.max_new_tokens", max_new_tokens, rule, "raise it, or choose a shorter form")

    def _check_references(self, rows: pd.DataFrame, references: Sequence[Sequence[str]]) -> None:
        """An answer that reads as the no-answer form could never be counted right."""
        for name, own in zip(rows[ID], references, strict=True):
            if refused := next(filter(self._declines, own), None):
                rule = f"{name} has it as an accepted answer ({refused!r})"
                raise ConfigError("task.prompt.no_answer", self.no_answer, rule, "choose another form")

    def _inside(self, written: str) -> str:
        """What the template of an answer was filled with."""
        (before, _), *rest = self._answer
        text = written.strip().removeprefix(before.strip())
        return text.removesuffix("".join(literal for literal, _ in rest).strip()).strip()

    def _declines(self, answer: str) -> bool:
        form = self.no_answer
        return form is not None and squad_scores.normalized(answer) == squad_scores.normalized(form)

    def _tokens(self, rows: pd.DataFrame, prompts: PromptTokens) -> tuple[list[Tokens], list[list[Tokens]]]:
        """Of every row its whole prompt and its candidates."""
        ids: list[Tokens] = []
        candidates: list[list[Tokens]] = []
        for first in range(0, len(rows), BATCH):
            some = rows.iloc[first : first + BATCH]
            texts = prompts.texts(some)
            own = prompts.of_texts(some, texts)
            candidates += _continuations(prompts.tokenizer, some[ID].tolist(), texts, self._forms(some),
                                         [tokens[len(prompts.render.start) :] for tokens in own])  # fmt: skip
            ids += own
        return ids, candidates

    def _forms(self, rows: pd.DataFrame) -> list[list[str]]:
        """Each row's candidates as they are written."""
        none = [] if self.no_answer is None else [self.no_answer]
        golds = [list(own[:1]) or none for own in _references(rows)] if ANSWERS in rows else [[]] * len(rows)
        return [template.fill(self._answer, {"answer": [*gold, *none]}, len(gold) + len(none)) for gold in golds]


def _references(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The texts of each row's accepted answers."""
    if ANSWERS not in rows:
        return [()] * len(rows)
    return [tuple(answer["text"] for answer in json.loads(value)) for value in rows[ANSWERS]]


def _long_answers(rows: pd.DataFrame, prompts: Sequence[Tokens], answers: Sequence[Tokens], limits: Limits) -> set[int]:
    """Numbers of the rows whose answer ends beyond `max_length`. Raises ConfigError unless it may be cut."""
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    long = [number for number, length in enumerate(lengths) if length > limits.max_length]
    if long and limits.too_long == "error":
        raise too_long_error(rows[ID].iloc[long[0]], lengths[long[0]], limits.max_length, len(long))
    return set(long)


def _continuations(
    tokenizer: Any, names: Sequence[str], texts: Sequence[str], answers: Sequence[Sequence[str]], ids: Sequence[Tokens]
) -> list[list[Tokens]]:
    """The tokens of each row's answers after its prompt's, whose `ids` must be the start of those of the two together.

    A prompt that loses the end of its context keeps what stands between that and the answer.
    """
    pairs = list(dict.fromkeys((number, answer) for number, own in enumerate(answers) for answer in own))
    wholes = token_ids([texts[number] + answer for number, answer in pairs], tokenizer)
    rest: dict[tuple[int, str], Tokens] = {}
    for (number, answer), whole in zip(pairs, wholes, strict=True):
        prompt = ids[number]
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            rule = f"the last tokens of the prompt of {names[number]} melt into those of its answer"
            raise ConfigError("task.prompt.answer", "...", rule,
                              "let task.prompt.user end in fixed text, and task.prompt.answer begin with a space "
                              "or a line break")  # fmt: skip
        rest[number, answer] = whole[len(prompt) :]
    return [[rest[number, answer] for answer in own] for number, own in enumerate(answers)]
