"""Published figures below ours: each row takes those that are meant for it, and none is lost."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from analysis.load import Report
from analysis.published import place
from analysis.render import PUBLISHED, print_text, render
from analysis.rows import Row
from analysis.tables import Table, View
from tests.made_up_runs import answered, column, run, sweep, table

PAPER = "Somebody et al. 2024, table 3"
SST2: tuple[dict[str, Any], ...] = (
    {"when": {"task.train_size": 100, "train.epochs": 1}, "irregular": "all", "source": PAPER},
    {"when": {"task.train_size": 100, "train.epochs": 10}, "accuracy": 0.914, "f1_macro": 0.92, "source": PAPER},
    {"when": {"task.train_size": "full"}, "accuracy": 0.9656, "f1_macro": 0.97},
    {"when": {"task.train_size": 5000}, "accuracy": 0.9541, "f1_macro": 0.95},
)


def figures(shown: Table, heading: str) -> list[str]:
    """What was published, row by row."""
    models, numbers = column(shown, "Model"), column(shown, heading)
    return [number for model, number in zip(models, numbers, strict=True) if model == PUBLISHED]


def compared(*entries: dict[str, Any], runs: list[Any], scale: str = "full", design: Any = None) -> Table:
    return table(runs, design, view=View(report=Report(published=entries, scale=scale), published=True))


@pytest.fixture
def sst2() -> Table:
    cells = [{"task.train_size": size, "train.epochs": epochs} for size, epochs in ((100, 1), (100, 10), ("full", 10))]
    runs = [run(cell["task.train_size"], cell=cell) for cell in cells]
    return compared(*SST2, runs=runs, design=sweep(*cells))


def test_each_row_takes_its_figures_with_the_digits_that_were_published(sst2: Table) -> None:
    assert figures(sst2, "Accuracy %") == ["–", "91.4", "96.56"]
    assert figures(sst2, "F1 %") == ["–", "92", "97"]
    assert figures(sst2, "Irregular") == ["all", "–", "–"]
    assert column(sst2, "Accuracy %") == ["80.0", "–", "80.0", "91.4", "80.0", "96.56"]
    assert column(sst2, "Training loss")[1::2] == ["–"] * 3


def test_figures_of_no_row_and_their_source_stand_below(sst2: Table) -> None:
    assert sst2.notes[-2:] == [
        f"Published: {PAPER}",
        "Published, of no row here: task.train_size=5000: Accuracy % 95.41, F1 % 95.",
    ]


def test_every_format_has_them(sst2: Table) -> None:
    console = Console(width=250, file=io.StringIO())
    print_text(sst2, console)
    texts = [console.file.getvalue(), render(sst2, "markdown"), render(sst2, "latex")]  # type: ignore[attr-defined]
    for text in texts:
        assert "96.56" in text
        assert PAPER in text
        assert "95.41" in text
    records = list(csv.DictReader(io.StringIO(render(sst2, "csv"))))
    assert [record["accuracy_published"] for record in records] == ["", "0.914", "0.9656"]
    content = json.loads(render(sst2, "json"))
    assert [row["f1_published"] for row in content["rows"]] == [None, 0.92, 0.97]
    assert content["published_of_no_row"] == [SST2[3]]


def test_published_metrics_that_the_table_lacks_become_columns() -> None:
    entry = {"when": {"peft": "lora"}, "exact_match": 0.456, "meteor": 0.4279, "perf/trainable_parameters": 12_345_678}
    result = compared(entry, runs=[answered(0.4, metrics={"test/meteor": 0.4}), answered(method="none")])
    assert column(result, "METEOR %") == ["40.0", "42.79", "–"]
    assert column(result, "Trainable parameters")[1] == "12,345,678"


@pytest.mark.parametrize(
    "when",
    [
        {"model": "llama_file"},
        {"model": "Llama"},
        {"peft": "qlora", "task.train_size": 100},
        {"train.learning_rate": 0.0002, "train.packing": True, "peft.modules": ["q", "v"]},
        {"task.train_size": "100"},
        {},
    ],
)
def test_a_row_is_known_by_its_axes_its_names_and_its_parameters(when: dict[str, Any]) -> None:
    params = {"train.packing": "true", "peft.modules": '["q", "v"]'}
    found = run(model="Llama", method="qlora", rate="0.0002", cell={"model": "llama_file"}, params=params)
    result = compared({"when": when, "accuracy": 0.5}, runs=[found])
    assert figures(result, "Accuracy %") == ["50"]
    other = run(1000, model="Phi", method="lora", rate="0.1", cell={"model": "phi"})
    assert bool(when) is bool(compared({"when": when, "accuracy": 0.5}, runs=[other]).left_over)


def test_a_cell_that_failed_or_never_ran_has_its_figures_too() -> None:
    design = [{"task.train_size": size} for size in (100, 500)]
    entries = [{"when": cell, "accuracy": 0.9} for cell in design]
    failed = run(100, None, state="FAILED", reason="diverged")
    result = compared(*entries, runs=[failed], design=sweep(*design))
    assert column(result, "Accuracy %") == ["failed: diverged", "90", "missing", "90"]


def test_what_says_more_is_taken_first_and_what_gives_way_is_listed() -> None:
    entries = [
        {"when": {"peft": "lora"}, "accuracy": 0.1},
        {"when": {"peft": "lora", "model": "mini"}, "accuracy": 0.2},
    ]
    result = compared(*entries, runs=[run()])
    assert figures(result, "Accuracy %") == ["20"]
    assert result.notes[-1] == "Published, of no row here: peft=lora: Accuracy % 10."


def test_a_scaled_down_experiment_says_so() -> None:
    note = "Scaled down: the experiment was run at scale=small, not at its full size"
    assert compared(SST2[1], runs=[run()], scale="small").notes[-2] == f"Published: {PAPER}"
    assert f"{note}: its numbers compare with no published ones." in compared(runs=[run()], scale="small").notes
    assert f"{note}." in table([run()], view=View(report=Report(scale="small"))).notes
    assert not any("scale" in note.lower() for note in compared(runs=[run()]).notes)


def test_without_the_question_nothing_is_said_of_them() -> None:
    plain = table([run()], view=View(report=Report(published=SST2)))
    assert render(plain, "markdown") == render(table([run()]), "markdown")


WHENS = st.dictionaries(
    st.sampled_from(["model", "peft", "task.train_size", "train.epochs"]), st.sampled_from(["a", "b", 1, 2]), max_size=3
)


@given(st.lists(WHENS, max_size=4), st.lists(WHENS, max_size=6))
def test_every_entry_is_taken_or_left_over_and_none_is_taken_where_it_does_not_hold(
    places: list[dict[str, Any]], whens: list[dict[str, Any]]
) -> None:
    rows = [Row("?", "?", "?", cell) for cell in places]
    entries = [{"when": when, "accuracy": 0.5} for when in whens]
    left = place(rows, Report(published=tuple(entries)))
    for entry in entries:
        is_taken, is_left = (any(entry is one for one in those) for those in ([row.published for row in rows], left))
        assert is_taken is not is_left
    for row in rows:
        holding = [when for when in whens if when.items() <= row.cell.items()]
        if holding:
            assert row.published["when"] in holding
            assert len(row.published["when"]) == max(map(len, holding))
        else:
            assert not row.published
