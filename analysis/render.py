"""The published table laid out: what a person reads of a row, and what a program does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from analysis import layout
from analysis.layout import NOTHING, Layout
from analysis.notes import SHARED, UNCONFIRMED
from analysis.rows import ACCURACY, EPOCHS, EXAMPLES, F1, IRREGULAR, LOSS_FIRST, LOSS_LAST, TRAIN_SECONDS, Row, mean_of
from analysis.tables import Table

MAX_TEXTS = 3  # irregular outputs are spelled out up to so many different texts
MAX_TEXT_LENGTH = 20
HEADINGS = ("Model", "Method", "Examples (epochs)", "Accuracy %", "F1 %", "Training loss", "Irregular")
NUM_LEFT = 2  # of them are words, the rest numbers


def render(table: Table, format_name: str) -> str:
    """Of every format but text, which `print_text` writes."""
    return layout.spelled(laid_out(table), format_name)


def print_text(table: Table, console: Console) -> None:
    layout.print_text(laid_out(table), console)


def laid_out(table: Table) -> Layout:
    headings, rows = cells(table)
    records = [_record(row, table) for row in table.rows]
    return Layout(table.title, headings, rows, NUM_LEFT, table.warnings, table.notes, {"data": table.data}, records)


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, as read by a person."""
    axes = list(dict.fromkeys(axis for row in table.rows for axis in row.further_axes))
    searched = any(row.chosen for row in table.rows)
    headings = [*HEADINGS, *axes, *(["Best hyperparameters"] if searched else [])]
    return headings, [_cells(row, axes, searched=searched) for row in table.rows]


def _cells(row: Row, axes: Sequence[str], *, searched: bool) -> list[str]:
    further = [row.further_axes.get(axis, NOTHING) for axis in axes]
    chosen = [hyperparameters(row)] if searched else []
    if row.problem:
        numbers = [examples(row), row.problem, NOTHING, NOTHING, NOTHING]
    else:
        few = f" (n = {len(row.runs)} of {row.expected})" if len(row.runs) < row.expected else ""
        mark = f" {UNCONFIRMED}" if row.unconfirmed else ""
        accuracy = percent(row, ACCURACY) + few + mark
        numbers = [examples(row), accuracy, percent(row, F1), _loss(row), _irregular(row)]
    return [row.model, row.method, *numbers, *further, *chosen]


def hyperparameters(row: Row) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in row.chosen.items()) or NOTHING


def examples(row: Row) -> str:
    """Marked where the numbers were read from a longer run."""
    rows, epochs = row.mean(EXAMPLES), row.mean(EPOCHS)
    if rows is None:
        return f"{row.train_size:,}" if isinstance(row.train_size, int) else str(row.train_size)
    if rows == 0:
        return "0 (zero-shot)"
    mark = f" {SHARED}" if row.shared_with else ""
    return f"{rows:,.0f}" + (f" ({round(epochs, 1):g})" if epochs is not None else "") + mark


def percent(row: Row, name: str) -> str:
    mean, deviation = row.mean(name), row.deviation(name)
    if mean is None:
        return NOTHING
    return f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")


def _loss(row: Row) -> str:
    first, last = row.mean(LOSS_FIRST), row.mean(LOSS_LAST)
    return NOTHING if first is None or last is None else f"{first:.3f} → {last:.3f}"


def _irregular(row: Row) -> str:
    """`0`, `3: i ×3`, `all`; of several replicates one after another."""
    if row.all_irregular:
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
    texts: dict[str, int] = {}
    for _, counts in row.irregular:
        for text, count in counts.items():
            texts[text] = texts.get(text, 0) + count
    return {
        "model": row.model, "method": row.method, "train_size": row.train_size, **row.further_axes,
        "train_examples": row.mean(EXAMPLES), "epochs": row.mean(EPOCHS),
        "accuracy": row.mean(ACCURACY), "accuracy_std": row.deviation(ACCURACY),
        "f1": row.mean(F1), "f1_std": row.deviation(F1),
        "loss_first": row.mean(LOSS_FIRST), "loss_last": row.mean(LOSS_LAST),
        "irregular": row.mean(IRREGULAR), "irregular_texts": texts,
        "n": len(row.runs), "n_expected": row.expected, "problem": row.problem, "hyperparameters": row.chosen,
        "run_ids": [run.run_id for run in row.runs],
        "points": row.num_points, "points_pruned": row.num_pruned,
        "fresh_seeds": bool(row.searched), "search_accuracy": mean_of(row.searched, ACCURACY),
        "unconfirmed": row.unconfirmed, "train_s": row.mean(TRAIN_SECONDS), "shared_with": row.shared_with,
        "data": "; ".join(f"{entry['source']} sha256:{entry['digest']}" for entry in table.data),
        "warning": "; ".join(table.warnings),
    }  # fmt: skip
