"""One curve for each row of a table, from the history of a metric."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import curve_plot, curves
from analysis.curves import Curve, Dot, dots, laid_out
from analysis.layout import spelled
from analysis.rows import Row
from analysis.selection import Results
from tests.made_up_runs import run

HISTORIES = st.lists(
    st.dictionaries(st.integers(0, 6), st.floats(-1e6, 1e6)).map(lambda values: sorted(values.items())), max_size=3
)


@given(HISTORIES)
def test_a_point_stands_where_every_replicate_has_one_and_is_their_mean(
    histories: list[list[tuple[int, float]]],
) -> None:
    found = dots(histories)
    steps = set.intersection(*({step for step, _ in history} for history in histories)) if histories else set()
    assert [dot.step for dot in found] == sorted(steps)
    for dot in found:
        values = [dict(history)[dot.step] for history in histories]
        assert dot.mean == statistics.fmean(values)
        assert dot.deviation == (statistics.stdev(values) if len(values) > 1 else None)


def curve(*values: float, problem: str = "", **changes: object) -> Curve:
    row = Row.like(run(**changes))  # type: ignore[arg-type]
    row.runs, row.problem = [] if problem else [run(**changes)], problem  # type: ignore[arg-type]
    return Curve(row, [Dot(10 * number, value, None) for number, value in enumerate(values)])


def test_the_table_has_first_best_and_last_of_each_row() -> None:
    found = [curve(0.7, 0.9, 0.8), curve(size=1000, problem="failed: diverged"), curve(0.5, size="full")]
    results = Results("sst2", None, [])
    layout = laid_out(results, found, "eval/accuracy")
    assert layout.title == "sst2: all runs, eval/accuracy"
    assert layout.headings[3:] == ["Points", "Last step", "First %", "Best %", "Last %"]
    assert [row[3:] for row in layout.rows] == [
        ["3", "20", "70.0", "90.0", "80.0"],
        ["failed: diverged", "–", "–", "–", "–"],
        ["1", "0", "50.0", "50.0", "50.0"],
    ]
    assert [row[5] for row in laid_out(results, [curve(0.7, math.nan, 0.2, 0.4)], "train/loss").rows] == ["0.7"]
    assert [row[6] for row in laid_out(results, [curve(0.7, math.nan, 0.2, 0.4)], "train/loss").rows] == ["0.2"]
    assert "Best" not in laid_out(results, found, "train/learning_rate").headings


def test_programs_have_every_point_and_nan_is_null() -> None:
    layout = laid_out(Results("sst2", None, []), [curve(0.7, math.nan)], "train/loss")
    assert json.loads(spelled(layout, "json"))["rows"][0]["points"] == [[0, 0.7, None], [10, None, None]]


@pytest.mark.parametrize(
    "lines",
    [
        [("mini lora 100", [(0, 9.0, 0.1), (10, 0.002, 0.0)]), ("mini lora 100", [(0, 1.0, None)])],
        [("all of them not a number", [(0, math.nan, None), (1, math.nan, None)])],
        [("negative", [(0, -1.0, None), (1, 5.0, None)])],
    ],
)
def test_a_picture_of_any_lines(lines: list[tuple[str, curve_plot.Line]], tmp_path: Path) -> None:
    curve_plot.draw(lines, tmp_path / "curves.png", metric="train/loss", title="sst2\nDEMO DATA")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["metric=train/los"], "metric=train/los: not a metric; did you mean 'train/loss'?"),
        (["metric=train/loss,eval/loss"], "metric=train/loss,eval/loss: one at a time"),
        (["--plot", "curves.pdf"], "--plot curves.pdf: must end with .png"),
        (["--plot"], "--plot: needs a value, --plot <value>"),
    ],
)
def test_a_bad_argument_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert curves.main(arguments) == 2
    assert capsys.readouterr() == ("", f"{message}\n")
