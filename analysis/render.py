"""A table in five spellings: for a terminal, Markdown, LaTeX, CSV and JSON.

CSV and JSON carry plain numbers (shares, not per cent) for a program; the others are for reading.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from analysis.tables import (
    ACCURACY,
    EPOCHS,
    EXAMPLES,
    F1,
    IRREGULAR,
    LOSS_FIRST,
    LOSS_LAST,
    Row,
    Table,
)

FORMATS = ("text", "markdown", "csv", "latex", "json")
NOTHING = "–"
MAX_TEXTS = 3  # irregular outputs are spelled out up to so many different texts
MAX_TEXT_LENGTH = 20
HEADINGS = ("Model", "Method", "Examples (epochs)", "Accuracy %", "F1 %", "Training loss", "Irregular")
NUM_LEFT = 2  # of them are words, the rest numbers


def render(table: Table, format_name: str) -> str:
    """Of every format but text, which `print_text` writes."""
    return {"markdown": _markdown, "csv": _csv, "latex": _latex, "json": _json}[format_name](table)


def print_text(table: Table, console: Console) -> None:
    for warning in table.warnings:
        console.print(Text(warning, style="bold yellow"), soft_wrap=True)
    grid = RichTable(title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    headings, rows = cells(table)
    for number, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if number < NUM_LEFT else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)
    for note in (*table.notes, *table.warnings):
        console.print(Text(note, style="dim" if note in table.notes else "bold yellow"), soft_wrap=True)


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, as read by a person."""
    axes = list(dict.fromkeys(axis for row in table.rows for axis in row.further_axes))
    searched = any(row.chosen for row in table.rows)
    headings = [*HEADINGS, *axes, *(["Best hyperparameters"] if searched else [])]
    return headings, [_cells(row, axes, searched=searched) for row in table.rows]


def _cells(row: Row, axes: Sequence[str], *, searched: bool) -> list[str]:
    further = [row.further_axes.get(axis, NOTHING) for axis in axes]
    chosen = [", ".join(f"{_short(key)}={value}" for key, value in row.chosen.items()) or NOTHING] if searched else []
    if row.problem:
        numbers = [_examples(row), row.problem, NOTHING, NOTHING, NOTHING]
    else:
        few = f" (n = {len(row.runs)} of {row.expected})" if len(row.runs) < row.expected else ""
        numbers = [_examples(row), _percent(row, ACCURACY) + few, _percent(row, F1), _loss(row), _irregular(row)]
    return [row.model, row.method, *numbers, *further, *chosen]


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _examples(row: Row) -> str:
    examples, epochs = row.mean(EXAMPLES), row.mean(EPOCHS)
    if examples is None:
        return f"{row.train_size:,}" if isinstance(row.train_size, int) else str(row.train_size)
    if examples == 0:
        return "0 (zero-shot)"
    return f"{examples:,.0f}" + (f" ({round(epochs, 1):g})" if epochs is not None else "")


def _percent(row: Row, name: str) -> str:
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


def _markdown(table: Table) -> str:
    headings, rows = cells(table)
    rule = ["---" if number < NUM_LEFT else "---:" for number in range(len(headings))]
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *escaped))
    warnings = [f"**{warning}**" for warning in table.warnings]
    return "\n\n".join([*warnings, f"**{table.title}**", grid, "\n".join(f"- {note}" for note in table.notes)])


_LATEX = {
    "\\": r"\textbackslash{}", "±": r"$\pm$", "→": r"$\to$", "×": r"$\times$", "–": "--", "…": r"\ldots{}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def _latex(table: Table) -> str:
    """A `booktabs` tabular in a table environment; warnings stand in the caption."""
    headings, rows = cells(table)

    def line(row: Sequence[str]) -> str:
        return " & ".join(_escape(cell) for cell in row) + r" \\"

    caption = " ".join(f"{sentence.rstrip('.')}." for sentence in (*table.warnings, table.title, *table.notes))
    return "\n".join([
        r"\begin{table}", r"\centering",
        rf"\begin{{tabular}}{{{'l' * NUM_LEFT}{'r' * (len(headings) - NUM_LEFT)}}}", r"\toprule", line(headings),
        r"\midrule", *map(line, rows), r"\bottomrule", r"\end{tabular}",
        rf"\caption{{{_escape(caption)}}}", r"\end{table}",
    ])  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


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
        "data": "; ".join(f"{entry['source']} sha256:{entry['digest']}" for entry in table.data),
        "warning": "; ".join(table.warnings),
    }  # fmt: skip


def _json(table: Table) -> str:
    content = {"title": table.title, "warnings": table.warnings, "data": table.data, "notes": table.notes,
               "rows": [_record(row, table) for row in table.rows]}  # fmt: skip
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has no other word for it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(table: Table) -> str:
    """Every row with its warning: a column gets lost less easily than a line above."""
    records = [_record(row, table) for row in table.rows]
    output = io.StringIO()
    writer = csv.DictWriter(
        output, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n"
    )
    writer.writeheader()
    for record in records:
        writer.writerow({
            key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            for key, value in record.items()
        })  # fmt: skip
    return output.getvalue().rstrip("\n")
