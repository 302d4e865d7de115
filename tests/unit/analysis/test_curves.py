"""One curve for each row of a table, from the history of a metric."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from analysis import curve_plot, curves
from analysis.curve_table import Curve, Dot, by_step, laid_out
from analysis.curves import dots
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


def of_metric(*points: list[tuple[int, float]], problem: str = "") -> list[Curve]:
    """Of rows of 100, 1,000 ... examples; the last has the problem."""
    curves = [curve(size=10 ** (2 + number)) for number in range(len(points))]
    for found, dots_of in zip(curves, points, strict=True):
        found.dots = [Dot(step, value, None) for step, value in dots_of]
    curves[-1].row.problem = problem
    return curves


def test_several_metrics_stand_side_by_side_step_by_step() -> None:
    curves = {
        "eval/rouge1": of_metric([(10, 0.3), (20, 0.41)], [(10, 0.5)], []),
        "train/loss": of_metric([(20, 1.25)], [(5, 2.5), (10, math.nan)], [], problem="failed: diverged"),
    }
    curves["eval/rouge1"][-1].row.problem = "failed: diverged"
    layout = by_step(Results("domain_qa", None, []), curves)
    assert layout.title == "domain_qa: all runs, eval/rouge1, train/loss"
    assert layout.headings == ["Model", "Method", "Examples (epochs)", "Step", "eval/rouge1 %", "train/loss"]
    assert [row[3:] for row in layout.rows] == [
        ["10", "30.0", "–"],
        ["20", "41.0", "1.25"],
        ["5", "–", "2.5"],
        ["10", "50.0", "nan"],
        ["failed: diverged", "–", "–"],
    ]
    records = list(csv.DictReader(io.StringIO(spelled(layout, "csv"))))
    assert [(row["step"], row["eval/rouge1"], row["train/loss"]) for row in records] == [
        ("10", "0.3", ""), ("20", "0.41", "1.25"), ("5", "", "2.5"), ("10", "0.5", "nan"), ("", "", ""),
    ]  # fmt: skip
    content = json.loads(spelled(layout, "json"), parse_constant=pytest.fail)
    assert (content["metrics"], content["rows"][3]["train/loss"]) == (["eval/rouge1", "train/loss"], None)
    assert content["rows"][4]["problem"] == "failed: diverged"
    for format_name in ("markdown", "latex"):
        assert "41.0" in spelled(layout, format_name)


@pytest.mark.parametrize(
    "lines",
    [
        [("mini lora 100", [(0, 9.0, 0.1), (10, 0.002, 0.0)]), ("mini lora 100", [(0, 1.0, None)])],
        [("all of them not a number", [(0, math.nan, None), (1, math.nan, None)])],
        [("negative", [(0, -1.0, None), (1, 5.0, None)])],
    ],
)
def test_a_picture_of_any_lines(lines: list[tuple[str, curve_plot.Line]], tmp_path: Path) -> None:
    heights = []
    for metrics in (("train/loss",), ("train/loss", "eval/rouge1", "eval/rouge2")):
        curve_plot.draw(dict.fromkeys(metrics, lines), tmp_path / "curves.png", title="sst2\nDEMO DATA")
        heights.append(imread(tmp_path / "curves.png").shape[0])
    assert heights[1] > 2 * heights[0]  # a panel for each


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["metric=train/los"], "metric=train/los: not a metric; did you mean 'train/loss'?"),
        (["metric=train/loss,eval/los"], "metric=eval/los: not a metric; did you mean 'eval/loss'?"),
        (["metric=eval/f1,eval/f1"], "metric=eval/f1,eval/f1: eval/f1 stands there twice"),
        (["--plot", "curves.pdf"], "--plot curves.pdf: must end with .png"),
        (["--plot"], "--plot: needs a value, --plot <value>"),
    ],
)
def test_a_bad_argument_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert curves.main(arguments) == 2
    assert capsys.readouterr() == ("", f"{message}\n")
