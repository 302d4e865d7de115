"""New rows that a finished run is asked about: their texts alone, without anything that is to be predicted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sweeper.checks import ConfigError
from tasks.splits import ID


def checked(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The columns that are read, stripped as training strips them, and an id by which messages name the row.

    Raises ConfigError for a column or a text that is missing.
    """
    for column in columns:
        if column not in rows:
            names = ", ".join(map(str, rows.columns))
            raise ConfigError("input", names, f"has no column {column!r}", f"it needs {', '.join(columns)}")
        for number, value in enumerate(rows[column].tolist(), start=1):
            if not isinstance(value, str) or not value.strip():
                raise ConfigError("input", f"row {number}", f"column {column!r} holds {value!r}, which is no text")
    texts = {column: [value.strip() for value in rows[column].tolist()] for column in columns}
    return pd.DataFrame({ID: [f"row {number}" for number in range(1, len(rows) + 1)], **texts}, dtype="str")
