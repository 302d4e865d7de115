"""Published figures below ours: which of them belongs to which row, and what is to be said of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.columns import Column
from analysis.load import FULL, Report
from analysis.rows import Row

WHEN, SOURCE = "when", "source"  # of an entry; everything else there is a metric
Entry = Mapping[str, Any]


def place(rows: Sequence[Row], report: Report) -> list[Entry]:
    """Gives each row the entry whose `when` holds there, the one that says most and of equals the first.

    Returns the entries that no row took.
    """
    taken: list[Entry] = []
    for row in rows:
        holding = [entry for entry in report.published if _holds(entry.get(WHEN, {}), row)]
        if holding:
            row.published = max(holding, key=lambda entry: len(entry.get(WHEN, {})))
            taken.append(row.published)
    return [entry for entry in report.published if not any(entry is other for other in taken)]


def further_columns(columns: Sequence[Column], report: Report) -> list[Column]:
    """Those of published metrics that the table would not show otherwise."""
    known = {column.name for column in columns}
    names = dict.fromkeys(name for entry in report.published for name in metrics(entry))
    return [Column(name, columns[0].split) for name in names if name not in known]


def metrics(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in (WHEN, SOURCE)}


def notes(report: Report, left_over: Sequence[Entry], columns: Sequence[Column]) -> list[str]:
    sources = dict.fromkeys(str(entry[SOURCE]) for entry in report.published if entry.get(SOURCE))
    lines = [f"Published: {source}" for source in sources]
    for entry in left_over:
        where = ", ".join(f"{key}={_text(value)}" for key, value in entry.get(WHEN, {}).items()) or "without `when`"
        shown = [column for column in columns if column.name in entry]
        figures = ", ".join(f"{column.heading} {column.published(entry[column.name])}" for column in shown)
        lines.append(f"Published, of no row here: {where}: {figures}.")
    return lines


def scale_notes(report: Report, *, is_compared: bool) -> list[str]:
    if report.scale == FULL:
        return []
    so = ": its numbers compare with no published ones" if is_compared else ""
    return [f"Scaled down: the experiment was run at scale={report.scale}, not at its full size{so}."]


def _holds(when: Mapping[str, Any], row: Row) -> bool:
    return all(_text(value) in _values(key, row) for key, value in when.items())


def _values(key: str, row: Row) -> set[str]:
    """What the row has under the key: a file under `conf/` and its model have different names, and both will do."""
    named = {"model": row.model, "peft": row.method, "task.train_size": row.train_size}
    found = (place[key] for place in (row.cell, row.params, named) if key in place)
    return {_text(value) for value in found}


def _text(value: Any) -> str:
    """As parameters are spelled in MLflow."""
    return value if isinstance(value, str) else json.dumps(value)
