from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from analysis.load import Run
from analysis.render import cells, print_text, render
from analysis.tables import Table, View
from tests.made_up_runs import column, run, sweep, table

NOTE = "† Read from a longer run on its way, {}."


def of_epochs(epochs: int, **changes: object) -> Run:
    cell = {"task.train_size": 100, "train.epochs": epochs}
    return run(cell=cell, seed=epochs, **{"metrics": {"train/epoch": epochs, "perf/train_s": 10.0 * epochs}, **changes})


@pytest.fixture
def shared() -> Table:
    """1, 10 and 50 epochs; the shorter two read from the longest."""
    runs = [*(of_epochs(epochs, shared_with="long-run") for epochs in (1, 10)), of_epochs(50)]
    return table(runs, sweep(*(found.cell for found in runs)))


def test_rows_of_other_epochs_are_rows_of_their_own_and_shared_ones_are_marked(shared: Table) -> None:
    assert "train.epochs" not in cells(shared)[0]  # the next column says it
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


def test_what_their_seconds_are_is_said_where_they_are_shown() -> None:
    (note,) = [note for note in table([of_epochs(1, shared_with="x")], view=View(columns=["perf/train_s"])).notes
               if "†" in note]  # fmt: skip
    seconds = ": its training seconds are those up to its own end, and no additional cost."
    assert note == NOTE.format("x").removesuffix(".") + seconds


@pytest.mark.parametrize(
    ("ended", "state", "is_shown"), [(10, "COMPLETE", False), (7, "COMPLETE", True), (10, "FAILED", True)]
)
def test_epochs_have_a_column_unless_every_row_says_them_beside_its_examples(
    ended: int, state: str, is_shown: bool
) -> None:
    """Other than the design's after an early end; none where there is no result."""
    fixed = run(500, cell={"task.train_size": 500}, metrics={"train/epoch": 1})
    ten = of_epochs(10, metrics={"train/epoch": ended}, state=state)
    result = table([fixed, of_epochs(1), ten], sweep(fixed.cell, *(found.cell for found in (of_epochs(1), ten))))
    assert ("train.epochs" in cells(result)[0]) is is_shown


def test_nothing_is_said_where_nothing_is_shared() -> None:
    assert not any("†" in note for note in table([run()]).notes)
