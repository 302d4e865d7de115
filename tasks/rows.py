"""From a source's raw columns to rows that a task can use: every value checked, white space and labels settled.

White space around a text is stripped: SST-2's sentences all end in a space, which says nothing and would double
the template's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.checks import ConfigError, suggestion
from sweeper.config import TaskConfig
from tasks import squad_layout, template
from tasks.splits import ANSWERS, GROUP, ID, LABEL


@dataclass(frozen=True)
class Origin:
    """How messages name a source."""

    key: str
    value: object
    split: str

    def error(self, rule: str, fix: str = "") -> ConfigError:
        return ConfigError(self.key, self.value, rule, fix)


def checked(raw: pd.DataFrame, task: TaskConfig, origin: Origin) -> pd.DataFrame:
    """The columns `id`, the task's text columns and, where it has them, `label` as class numbers, `split_by` and
    `answers`, the accepted answers of a question as JSON: a list of `{"text", "start"}`, empty where it has none.

    Unless `task.data.id` names a column, an id is the split and the row's number in its source, from 1, as messages
    count rows.

    Raises:
        ConfigError: a column is missing, there are no rows, a text is empty or no text, a label is none of the
            task's, two rows have one id, a question has no answer and the task no form for that.
    """
    for column, key in template.wanted_columns(task).items():
        if column not in raw:
            names = [str(name) for name in raw.columns]
            near = suggestion(column, names)
            raise origin.error(
                f"has no column {column!r}, only {', '.join(names)}", f"set {key}" + f" ({near})" * bool(near)
            )
    if not len(raw):
        raise origin.error("has no rows")
    frame = {ID: _ids(raw, task, origin)}
    frame |= {column: texts(raw[column].tolist(), column, origin) for column in template.columns(task)}
    if task.data.split_by is not None:
        frame[GROUP] = _names(raw, task.data.split_by, origin)
    checked_rows = pd.DataFrame(frame, dtype="str")
    if task.labels:
        label = task.data.label
        checked_rows[LABEL] = pd.Series(_labels(raw[label].tolist(), label, task.labels, origin), dtype="int64")
    if task.type == template.QUESTION_ANSWERING:
        checked_rows[ANSWERS] = pd.Series(_answers(raw, task, origin), dtype="str")
    return checked_rows


def _ids(raw: pd.DataFrame, task: TaskConfig, origin: Origin) -> list[str]:
    if task.data.id is None:
        return [f"{origin.split}-{row:06d}" for row in range(1, len(raw) + 1)]
    ids, first = _names(raw, task.data.id, origin), dict[str, int]()
    for row, name in enumerate(ids, start=1):
        if first.setdefault(name, row) != row:
            raise origin.error(f"row {row}: column {task.data.id!r} holds {name!r}, as row {first[name]} does",
                               "name a column of unique ids: task.data.id, or null to number the rows")  # fmt: skip
    return ids


def _names(raw: pd.DataFrame, column: str, origin: Origin) -> list[str]:
    """Of rows or of groups of rows."""
    for row, value in enumerate(raw[column].tolist(), start=1):
        if value is None or _written(value) == "" or (isinstance(value, float) and math.isnan(value)):
            raise origin.error(f"row {row}: column {column!r} is empty", "give it a value or delete the row")
    return _whole([_written(value) for value in raw[column].tolist()], column, origin)


def texts(values: Sequence[Any], column: str, origin: Origin) -> list[str]:
    """Stripped. Raises ConfigError for one that is empty, no text, or cut in the middle of a character."""
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise origin.error(f"row {row}: column {column!r} holds {value!r}, which is no text")
        if not value.strip():
            raise origin.error(f"row {row}: column {column!r} is empty", "give it a text or delete the row")
    return _whole([value.strip() for value in values], column, origin)


def _whole(written: list[str], column: str, origin: Origin) -> list[str]:
    """As they are. Raises ConfigError for one with half of a character that JSON writes as two, such as "\\ud800"."""
    for row, value in enumerate(written, start=1):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = value[error.start]
            raise origin.error(f"row {row}: column {column!r} holds half a character ({half!r})",
                               "correct it or delete the row") from None  # fmt: skip
    return written


def _labels(values: Sequence[Any], column: str, labels: Sequence[str], origin: Origin) -> list[int]:
    """Class numbers, from label names or from class numbers; a column holds one or the other, not both."""
    written = [_written(value) for value in values]
    by_name = {name: number for number, name in enumerate(labels)}
    by_number = {str(number): number for number in range(len(labels))}
    meaning = by_name if written[0] in by_name else by_number
    for row, value in enumerate(written, start=1):
        if value not in meaning:
            raise origin.error(f"row {row}: column {column!r} holds {value!r}, none of {', '.join(meaning)}",
                               "correct task.labels, or take a file that has labels")  # fmt: skip
    return [meaning[value] for value in written]


def _answers(raw: pd.DataFrame, task: TaskConfig, origin: Origin) -> list[str]:
    """JSON of each question's accepted answers, starts counted in the context as `texts` leaves it."""
    column, found = task.data.label, []
    for row, (value, context) in enumerate(zip(raw[column], raw[task.data.text], strict=True), start=1):
        try:
            answers = squad_layout.accepted(value)
        except ValueError as error:
            raise origin.error(f"row {row}: column {column!r} {error}") from None
        if not answers and task.prompt.no_answer is None:
            raise origin.error(f"row {row}: column {column!r} has no answer", "say what is to be written for such a "
                               "question: task.prompt.no_answer, or delete the row")  # fmt: skip
        before = len(context) - len(context.lstrip())
        for answer in answers:
            answer["start"] = None if answer["start"] is None else answer["start"] - before
        found.append(json.dumps(answers, ensure_ascii=False))
    return _whole(found, column, origin)


def _written(value: Any) -> str:
    """`1` for 1, "1", " 1", 1.0 and True."""
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return str(int(value) if whole else value).strip()
