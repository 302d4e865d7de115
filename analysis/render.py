"""The published table laid out: what a person reads of a row, and what a program does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from analysis import layout
from analysis.columns import Column
from analysis.layout import NOTHING, Layout
from analysis.notes import SHARED, UNCONFIRMED
from analysis.rows import EPOCHS, EPOCHS_AXIS, EXAMPLES, IRREGULAR, TRAIN_SECONDS, Row, mean_of
from analysis.tables import Table

MAX_TEXTS = 3  # irregular outputs are spelled out up to so many different texts
MAX_TEXT_LENGTH = 20
HEADINGS = ("Model", "Method", "Examples (epochs)")
PUBLISHED = "  published"
NUM_LEFT = 2  # of them are words, the rest numbers


def render(table: Table, format_name: str) -> str:
    """Of every format but text, which `print_text` writes."""
    return layout.spelled(laid_out(table), format_name)


def print_text(table: Table, console: Console) -> None:
    layout.print_text(laid_out(table), console)


def laid_out(table: Table) -> Layout:
    headings, rows = cells(table)
    facts: dict[str, Any] = {"data": table.data, "split": table.lead.split}
    if table.left_over:
        facts["published_of_no_row"] = [dict(entry) for entry in table.left_over]
    records = [_record(row, table) for row in table.rows]
    return Layout(table.title, headings, rows, NUM_LEFT, table.warnings, table.notes, facts, records)


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, as read by a person. Published figures have a row of their own below ours."""
    axes = axes_of(table.rows)
    searched = any(row.chosen for row in table.rows)
    headings = [*HEADINGS, *(column.heading for column in table.columns), *axes,
                *(["Best hyperparameters"] if searched else [])]  # fmt: skip
    rows = []
    for row in table.rows:
        numbers = [_ours(row, column, is_lead=column is table.lead) for column in table.columns]
        further = [row.further_axes.get(axis, NOTHING) for axis in axes]
        chosen = [hyperparameters(row)] if searched else []
        rows.append([row.model, row.method, examples(row), *numbers, *further, *chosen])
        if row.published:
            rows.append(_published(row, table, len(headings)))
    return headings, rows


def _published(row: Row, table: Table, num_cells: int) -> list[str]:
    figures = [column.published(row.published[column.name]) if column.name in row.published else NOTHING
               for column in table.columns]  # fmt: skip
    below = [PUBLISHED, "", "", *figures]
    return below + [""] * (num_cells - len(below))


def _ours(row: Row, column: Column, *, is_lead: bool) -> str:
    """The first column says why a row has no numbers, or only some of them."""
    if row.problem:
        return row.problem if is_lead else NOTHING
    text = _irregular(row, column.split) if column.name == IRREGULAR else column.text(row)
    if not is_lead:
        return text
    few = f" (n = {len(row.runs)} of {row.expected})" if len(row.runs) < row.expected else ""
    return text + few + (f" {UNCONFIRMED}" if row.unconfirmed else "")


def axes_of(rows: Sequence[Row]) -> list[str]:
    """The design axes that need a column: not the epochs, where `examples` has those of every row."""
    axes = dict.fromkeys(axis for row in rows for axis in row.further_axes)
    if all(_epochs(row) == row.cell[EPOCHS_AXIS] for row in rows if EPOCHS_AXIS in row.cell):
        axes.pop(EPOCHS_AXIS, None)
    return list(axes)


def hyperparameters(row: Row) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in row.chosen.items()) or NOTHING


def _short(value: str) -> str:
    """A number to four digits, a whole one with all of its own; anything else as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    return f"{number:.0f}" if number.is_integer() else f"{number:.4g}"


def examples(row: Row) -> str:
    """Marked where the numbers were read from a longer run."""
    rows, epochs = row.mean(EXAMPLES), _epochs(row)
    if rows is None:
        return f"{row.train_size:,}" if isinstance(row.train_size, int) else str(row.train_size)
    if rows == 0:
        return "0 (zero-shot)"
    mark = f" {SHARED}" if row.shared_with else ""
    return f"{rows:,.0f}" + (f" ({epochs:g})" if epochs is not None else "") + mark


def _epochs(row: Row) -> float | None:
    """As they are shown."""
    epochs = row.mean(EPOCHS)
    return None if epochs is None else round(epochs, 1)


def _irregular(row: Row, split: str) -> str:
    """`0`, `3: i ×3`, `all`; of several replicates one after another."""
    if row.all_irregular(split):
        return "all"
    return " / ".join(_irregular_of(count, texts) for count, texts in row.irregular) or NOTHING


def _irregular_of(count: float, texts: dict[str, int]) -> str:
    if not texts or len(texts) > MAX_TEXTS:
        return f"{count:.0f}" + (f" ({len(texts)} texts)" if texts else "")
    ordered = sorted(texts.items(), key=lambda item: (-item[1], item[0]))
    return f"{count:.0f}: " + ", ".join(f"{_visible(text)} ×{number}" for text, number in ordered)


def _visible(text: str) -> str:
    """One short line, with what can't be seen made visible."""
    line = json.dumps(text, ensure_ascii=False)[1:-1] if text.strip() == text and text else repr(text)
    return line if len(line) <= MAX_TEXT_LENGTH else f"{line[:MAX_TEXT_LENGTH]}…"


def _record(row: Row, table: Table) -> dict[str, Any]:
    numbers = {key: value for column in table.columns for key, value in column.record(row).items()}
    compared = [column for column in table.columns if any(column.name in other.published for other in table.rows)]
    published = {f"{column.key}_published": row.published.get(column.name) for column in compared}
    return {
        "model": row.model, "method": row.method, "train_size": row.train_size, **row.further_axes,
        "train_examples": row.mean(EXAMPLES), "epochs": row.mean(EPOCHS), **numbers, **published,
        "n": len(row.runs), "n_expected": row.expected, "problem": row.problem, "hyperparameters": row.chosen,
        "run_ids": [run.run_id for run in row.runs],
        "points": row.num_points, "points_pruned": row.num_pruned,
        "fresh_seeds": bool(row.searched), f"search_{table.lead.key}": mean_of(row.searched, table.lead.metric),
        "unconfirmed": row.unconfirmed, "train_s": row.mean(TRAIN_SECONDS), "shared_with": row.shared_with,
        "data": "; ".join(f"{entry['source']} sha256:{entry['digest']}" for entry in table.data),
        "warning": "; ".join(table.warnings),
    }  # fmt: skip
