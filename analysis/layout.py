"""Headings and rows in five spellings: for a terminal, Markdown, LaTeX, CSV and JSON.

CSV and JSON carry plain numbers (shares, not per cent) for a program; the others are for reading.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

FORMATS = ("text", "markdown", "csv", "latex", "json")
NOTHING = "–"
PLAIN_WIDTH = 200  # where there is no terminal: a file or a pipe shall not be cut at 80 columns


@dataclass(frozen=True)
class Layout:
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_left: int  # of the columns: words; the rest are numbers
    warnings: Sequence[str]  # above the rows
    notes: Sequence[str]  # below them
    facts: dict[str, Any]  # what JSON has besides
    records: Sequence[dict[str, Any]]  # the rows for a program


def show(layout: Layout, format_name: str, console: Console | None = None) -> None:
    """Prints it."""
    if format_name == "text":
        plain = console or Console()
        print_text(layout, plain if plain.is_terminal or console else Console(width=PLAIN_WIDTH))
    else:
        print(spelled(layout, format_name))


def spelled(layout: Layout, format_name: str) -> str:
    """Of every format but text, which `print_text` writes."""
    return {"markdown": _markdown, "csv": _csv, "latex": _latex, "json": as_json}[format_name](layout)


def print_text(layout: Layout, console: Console) -> None:
    for warning in layout.warnings:
        console.print(Text(warning, style="bold yellow"), soft_wrap=True)
    grid = RichTable(title=Text(layout.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(layout.headings):
        grid.add_column(heading, justify="left" if number < layout.num_left else "right", overflow="fold")
    for row in layout.rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)
    for note in (*layout.notes, *layout.warnings):
        console.print(Text(note, style="dim" if note in layout.notes else "bold yellow"), soft_wrap=True)


def _markdown(layout: Layout) -> str:
    rule = ["---" if number < layout.num_left else "---:" for number in range(len(layout.headings))]
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in layout.rows]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in (layout.headings, rule, *escaped))
    warnings = [f"**{warning}**" for warning in layout.warnings]
    return "\n\n".join([*warnings, f"**{layout.title}**", grid, "\n".join(f"- {note}" for note in layout.notes)])


_LATEX = {
    "\\": r"\textbackslash{}", "±": r"$\pm$", "→": r"$\to$", "×": r"$\times$", "–": "--", "…": r"\ldots{}",
    "†": r"$\dagger$", "‡": r"$\ddagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def _latex(layout: Layout) -> str:
    """A `booktabs` tabular in a table environment; warnings stand in the caption."""

    def line(row: Sequence[str]) -> str:
        return " & ".join(_escape(cell) for cell in row) + r" \\"

    caption = " ".join(f"{sentence.rstrip('.')}." for sentence in (*layout.warnings, layout.title, *layout.notes))
    columns = "l" * layout.num_left + "r" * (len(layout.headings) - layout.num_left)
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(layout.headings),
        r"\midrule", *map(line, layout.rows), r"\bottomrule", r"\end{tabular}",
        rf"\caption{{{_escape(caption)}}}", r"\end{table}",
    ])  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def as_json(layout: Layout) -> str:
    content = {"title": layout.title, "warnings": layout.warnings, **layout.facts, "notes": layout.notes,
               "rows": layout.records}  # fmt: skip
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has no other word for it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(layout: Layout) -> str:
    """Every row with its warning: a column gets lost less easily than a line above."""
    output = io.StringIO()
    names = dict.fromkeys(key for record in layout.records for key in record)
    writer = csv.DictWriter(output, list(names), lineterminator="\n")
    writer.writeheader()
    for record in layout.records:
        writer.writerow({
            key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            for key, value in record.items()
        })  # fmt: skip
    return output.getvalue().rstrip("\n")
