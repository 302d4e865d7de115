"""From a source's raw columns to rows that a task can use: every value checked, white space and labels settled.

White space around a text is stripped: SST-2's sentences all end in a space, which says nothing and would double
the template's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.checks import ConfigError, suggestion
from tasks.splits import ID, LABEL


@dataclass(frozen=True)
class Origin:
    """How messages name a source."""

    key: str
    value: object
    split: str

    def error(self, rule: str, fix: str = "") -> ConfigError:
        return ConfigError(self.key, self.value, rule, fix)


def checked(
    raw: pd.DataFrame, *, columns: Sequence[str], label: str, labels: Sequence[str], origin: Origin
) -> pd.DataFrame:
    """The columns `id`, `columns` and, where there are `labels`, `label` as class numbers.

    An id is the split and the row's number in its source, from 1, as messages count rows.

    Raises:
        ConfigError: a column is missing, there are no rows, a text is empty or no text, a label is none of `labels`.
    """
    for key, column in [("task.data.text", column) for column in columns] + [("task.data.label", label)] * bool(labels):
        if column not in raw:
            names = [str(name) for name in raw.columns]
            near = suggestion(column, names)
            raise origin.error(
                f"has no column {column!r}, only {', '.join(names)}", f"set {key}" + f" ({near})" * bool(near)
            )
    if not len(raw):
        raise origin.error("has no rows")
    frame = {ID: [f"{origin.split}-{row:06d}" for row in range(1, len(raw) + 1)]}
    frame |= {column: _texts(raw[column].tolist(), column, origin) for column in columns}
    checked_rows = pd.DataFrame(frame, dtype="str")
    if labels:
        checked_rows[LABEL] = pd.Series(_labels(raw[label].tolist(), label, labels, origin), dtype="int64")
    return checked_rows


def _texts(values: Sequence[Any], column: str, origin: Origin) -> list[str]:
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise origin.error(f"row {row}: column {column!r} holds {value!r}, which is no text")
        if not value.strip():
            raise origin.error(f"row {row}: column {column!r} is empty", "give it a text or delete the row")
    return [value.strip() for value in values]


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


def _written(value: Any) -> str:
    """`1` for 1, "1", " 1", 1.0 and True."""
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return str(int(value) if whole else value).strip()
