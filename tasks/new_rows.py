"""New rows that a finished run is asked about: their texts alone, without anything that is to be predicted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tasks.rows import Origin, texts
from tasks.splits import ID


def checked(rows: pd.DataFrame, columns: Sequence[str], source: str) -> pd.DataFrame:
    """The columns that are read, as training reads them, and an id by which messages name the row.

    Raises ConfigError for a column or a text that is missing; `source` says where, in words.
    """
    origin = Origin("input", source, "")
    for column in columns:
        if column not in rows:
            names = ", ".join(map(str, rows.columns))
            raise origin.error(f"has no column {column!r}, only {names}", f"it needs {', '.join(columns)}")
    read = {column: texts(rows[column].tolist(), column, origin) for column in columns}
    return pd.DataFrame({ID: [f"row {number}" for number in range(1, len(rows) + 1)], **read}, dtype="str")
