"""Templates of prompts: fixed text with `{column}` placeholders, filled without evaluating anything.

`{text}` is the column that `task.data.text` names, in question answering `{question}` the one that
`task.data.question` names; any other placeholder is a column of that name. Unlike `str.format`, a template reaches
no attribute, no index and no format code of a value.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from sweeper.checks import ConfigError
from sweeper.config import TaskConfig

Part = tuple[str, str | None]  # literal text, then the field after it
QUESTION_ANSWERING = "question_answering"


def parse(key: str, template: str) -> list[Part]:
    """Raises ConfigError where the template is no template; `key` names it there."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(key, template, str(error), "write {{ and }} for braces that are meant as text") from None
    for _, field, code, conversion in parsed:
        if field is not None and (not field or code or conversion or set(field) & set(".[]")):
            raise ConfigError(key, template, "a placeholder must be a column's name alone", "such as {text}")
    return [(literal, field) for literal, field, _, _ in parsed]


def fill(parts: Sequence[Part], values: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """`count` texts, each with its own value for every field."""
    pieces: list[Sequence[str]] = []
    for literal, field in parts:
        pieces.append([literal] * count)
        if field is not None:
            pieces.append(values[field])
    return ["".join(row) for row in zip(*pieces, strict=True)] if pieces else [""] * count


def columns(task: TaskConfig) -> list[str]:
    """The text columns that the task reads: `task.data.text` and those that its prompt names."""
    return list(named_columns(task))


def named_columns(task: TaskConfig) -> dict[str, str]:
    """The same, each with the first key of the config that names it."""
    names, aliases = {task.data.text: "task.data.text"}, {"text"}
    if task.type == QUESTION_ANSWERING:
        names.setdefault(task.data.question, "task.data.question")
        aliases.add("question")
    for key in ("task.prompt.system", "task.prompt.user"):
        for _, field in parse(key, getattr(task.prompt, key.rpartition(".")[2])):
            if field is not None and field not in aliases:
                names.setdefault(field, key)
    return names


def wanted_columns(task: TaskConfig) -> dict[str, str]:
    """Every column that a source must have, each with the first key of the config that names it."""
    names = named_columns(task)
    has_gold = task.labels or task.type == QUESTION_ANSWERING
    asked = {"task.data.label": task.data.label if has_gold else None, "task.data.id": task.data.id,
             "task.data.split_by": task.data.split_by}  # fmt: skip
    for key, column in asked.items():
        if column is not None:
            names.setdefault(column, key)
    return names


def candidates(task: TaskConfig) -> list[str]:
    """The answer text of each label. Raises ConfigError for a template that can't tell labels apart."""
    parts = parse("task.prompt.answer", task.prompt.answer)
    if {field for _, field in parts if field is not None} != {"label"}:
        raise ConfigError("task.prompt.answer", task.prompt.answer, "a label's answer holds {label} and no other field")
    answers = fill(parts, {"label": task.labels}, len(task.labels))
    if len({answer.strip() for answer in answers}) < len(answers):
        raise ConfigError("task.labels", task.labels, "two labels differ in nothing but white space")
    return answers


def answer_parts(task: TaskConfig) -> list[Part]:
    """The template of a question's answer.

    Raises:
        ConfigError: it does not hold `{answer}` once and alone, or the form of no answer is empty.
    """
    if task.prompt.no_answer is not None and not task.prompt.no_answer.strip():
        raise ConfigError("task.prompt.no_answer", repr(task.prompt.no_answer), "must not be empty",
                          "unanswerable, say; null where every question has an answer")  # fmt: skip
    parts = parse("task.prompt.answer", task.prompt.answer)
    if [field for _, field in parts if field is not None] != ["answer"]:
        raise ConfigError("task.prompt.answer", task.prompt.answer, "a question's answer holds {answer} once and no "
                          "other field", "' {answer}', say")  # fmt: skip
    return parts
