from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from analysis.load import Run
from analysis.render import print_text, render
from analysis.tables import Table
from tests.made_up_runs import column, run, sweep, table

NOTE = (
    "† Read from a longer run on its way, {}: its training seconds are those up to its own end, and no additional cost."
)


def of_epochs(epochs: int, **changes: object) -> Run:
    cell = {"task.train_size": 100, "train.epochs": epochs}
    return run(cell=cell, seed=epochs, **{"metrics": {"train/epoch": epochs, "perf/train_s": 10.0 * epochs}, **changes})


@pytest.fixture
def shared() -> Table:
    """1, 10 and 50 epochs; the shorter two read from the longest."""
    runs = [*(of_epochs(epochs, shared_with="long-run") for epochs in (1, 10)), of_epochs(50)]
    return table(runs, sweep(*(found.cell for found in runs)))


def test_rows_of_other_epochs_are_rows_of_their_own_and_shared_ones_are_marked(shared: Table) -> None:
    assert column(shared, "train.epochs") == ["1", "10", "50"]
    assert column(shared, "Examples (epochs)") == ["100 (1) †", "100 (10) †", "100 (50)"]
    assert [note for note in shared.notes if "†" in note] == [NOTE.format("long-run")]


def test_every_format_has_the_mark(shared: Table) -> None:
    console = Console(width=200, file=io.StringIO())
    print_text(shared, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "100 (10) †" in text
    assert NOTE.format("long-run") in text
    assert "| 100 (10) † |" in render(shared, "markdown")
    latex = render(shared, "latex")
    assert r"& 100 (10) $\dagger$ &" in latex
    assert r"$\dagger$ Read from a longer run" in latex
    records = list(csv.DictReader(io.StringIO(render(shared, "csv"))))
    assert [(record["shared_with"], record["train_s"]) for record in records] == [
        ('["long-run"]', "10.0"), ('["long-run"]', "100.0"), ("[]", "500.0"),
    ]  # fmt: skip
    assert [row["shared_with"] for row in json.loads(render(shared, "json"))["rows"]] == [["long-run"]] * 2 + [[]]


def test_a_note_names_few_runs() -> None:
    runs = [of_epochs(1, shared_with=f"run-{number}") for number in range(5)]
    (note,) = [note for note in table(runs).notes if "†" in note]
    assert note == NOTE.format("run-0, run-1, run-2 and 2 more (csv and json name them)")


def test_nothing_is_said_where_nothing_is_shared() -> None:
    assert not any("†" in note for note in table([run()]).notes)
