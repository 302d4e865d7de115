from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import front_plot, pareto
from analysis.choosing import Criterion
from analysis.front import front_of, non_dominated
from analysis.front_table import laid_out
from analysis.layout import Layout, spelled
from analysis.load import Run
from tests.made_up_runs import run

ACCURACY, SIZE, SECONDS = "eval/accuracy", "perf/trainable_parameters", "perf/train_s"
# Few values, so that ties and equal points are frequent; infinities order like any other number.
NUMBERS = st.sampled_from([-float("inf"), -1.0, 0.0, 0.5, 1.0, 2.0, float("inf")])
POINTS = st.integers(1, 4).flatmap(lambda length: st.lists(st.tuples(*[NUMBERS] * length), max_size=30))


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


@given(POINTS)
def test_a_point_is_on_the_front_when_no_other_beats_it(points: list[tuple[float, ...]]) -> None:
    brute_force = [n for n, point in enumerate(points) if not any(beats(other, point) for other in points)]
    assert non_dominated(points) == brute_force


def test_equal_points_and_ties_stay() -> None:
    assert non_dominated([(1, 1), (1, 1), (0, 2), (1, 0), (0, 2)]) == [0, 1, 2, 4]
    assert non_dominated([]) == []


def point(rate: str, accuracy: float, size: float, **changes: object) -> Run:
    """Larger in accuracy is better, smaller in size."""
    return run(rate=rate, **{"accuracy": 0.5, "eval": accuracy, "metrics": {SIZE: size, SECONDS: 1.5}, **changes})


def table(*runs: Run, objectives: tuple[str, ...] = (ACCURACY, SIZE), std: float = 0, replicates: int = 1) -> Layout:
    return laid_out("sst2", front_of(runs, Criterion(objectives, std, replicates)), ["test/accuracy"], runs)


def test_each_objective_has_its_own_direction() -> None:
    layout = table(point("1", 0.8, 1000), point("2", 0.7, 10), point("3", 0.7, 2000), point("4", 0.9, 5000))
    assert [heading for heading in layout.headings if "eval" in heading or "perf" in heading] == [
        "eval/accuracy % ↑", "perf/trainable_parameters ↓",
    ]  # fmt: skip
    assert [(row[0], *row[4:]) for row in layout.rows] == [
        ("*", "90.0", "5,000", "50.0", "learning_rate=4"),
        ("*", "80.0", "1,000", "50.0", "learning_rate=1"),
        ("*", "70.0", "10", "50.0", "learning_rate=2"),
        ("", "70.0", "2,000", "50.0", "learning_rate=3"),
    ]


def test_replicates_are_one_point_and_equal_means_are_a_tie() -> None:
    even = [point("1", 0.57, 5, seed=seed) for seed in (0, 1)]
    spread = [point("2", value, 5, seed=seed) for seed, value in enumerate((0.55, 0.59))]  # their mean is not 0.57
    layout = table(*even, *spread, replicates=2)
    assert sorted(row[:1] + row[4:5] for row in layout.rows) == [["*", "57.0 ± 0.0"], ["*", "57.0 ± 2.8"]]
    assert any(note.endswith("Means over seeds, ± their standard deviation.") for note in layout.notes)
    against = table(*even, *spread, replicates=2, std=1)
    assert [row[:1] + row[4:5] for row in against.rows] == [["*", "57.0 ± 0.0"], ["", "57.0 ± 2.8"]]
    assert any(note.endswith("standard deviation, 1 of which count against each mean.") for note in against.notes)


def test_cells_that_are_searches_of_their_own_have_a_front_each(tmp_path: Path) -> None:
    runs = [run(size, rate=rate, eval=accuracy, metrics={SIZE: cost}) for size, rate, accuracy, cost in (
        (100, "1", 0.6, 10), (100, "2", 0.5, 20), (1000, "1", 0.9, 10), (1000, "2", 0.8, 5))]  # fmt: skip
    together, apart = (front_of(runs, Criterion((ACCURACY, SIZE)), per_cell=per_cell) for per_cell in (False, True))
    assert together.on_front == [True, True, False, False]
    assert [len(points) for points in together.fronts()] == [2]
    assert apart.on_front == [True, False, True, True]
    assert [[point.train_size for point in points] for points in apart.fronts()] == [[100], [1000, 1000]]
    assert len(apart.only().points) == 3
    assert any("no other point of its cell" in note for note in laid_out("sst2", apart, [], runs).notes)
    front_plot.draw(apart, tmp_path / "front.png", title="sst2")
    assert (tmp_path / "front.png").is_file()


def test_what_does_not_count_is_said() -> None:
    layout = table(
        *(point("1", 0.8, 5, seed=seed) for seed in (0, 1)),
        point("2", 0.9, 5),  # its second replicate never started
        *(point("3", 0.9, 5, seed=seed, state=state) for seed, state in enumerate(("COMPLETE", "PRUNED"))),
        *(point("4", value, 5, seed=seed) for seed, value in enumerate((0.9, float("nan")))),
        *(run(rate="5", seed=seed) for seed in (0, 1)),
        point("1", 0.99, 5, seed=100, confirms=0),
        replicates=2,
    )
    assert [row[4] for row in layout.rows] == ["80.0 ± 0.0"]
    left = "1 point not complete, 1 point pruned, 1 point without a finite eval/accuracy, 1 point without a finite"
    assert f"Left out: {left} perf/trainable_parameters." in layout.notes
    assert "Runs on fresh seeds are not among these." in layout.notes


def test_time_of_a_group_and_of_a_longer_run_is_said_to_be_so() -> None:
    grouped = point("1", 0.8, 5, shared_with="long-run", metrics={SECONDS: 1.5, "perf/group_size": 4})
    notes = table(grouped, objectives=(ACCURACY, SECONDS)).notes
    assert "perf/train_s is the wall clock of a run's whole group, here of up to 4 runs." in notes
    assert any(note.startswith("† Read from a longer run on its way, long-run") for note in notes)


def test_csv_and_json_carry_plain_numbers_and_the_warning() -> None:
    layout = table(point("1", 0.8, 1000, demo="true"), point("2", 0.7, 2000, demo="true"))
    first, second = csv.DictReader(io.StringIO(spelled(layout, "csv")))
    assert (first["front"], first[ACCURACY], first[SIZE], second["front"]) == ("True", "0.8", "1000.0", "False")
    assert first["warning"] == "DEMO DATA, not SST-2: files: a.tsv"
    content = json.loads(spelled(layout, "json"), parse_constant=pytest.fail)
    assert content["objectives"][1] == {"name": SIZE, "direction": "minimize", "unit": "1"}
    assert [row["front"] for row in content["rows"]] == [True, False]
    assert r"perf/trainable\_parameters $\downarrow$" in spelled(layout, "latex")


@pytest.mark.parametrize("objectives", [(ACCURACY, SIZE), (ACCURACY, SIZE, SECONDS)])
@pytest.mark.parametrize("num_points", [1, 4])
def test_the_picture_is_a_png(tmp_path: Path, objectives: tuple[str, ...], num_points: int) -> None:
    runs = [point(str(n), 0.5 + 0.1 * n * (n < 3), 10.0 ** (n + 1)) for n in range(num_points)]
    front_plot.draw(front_of(runs, Criterion(objectives)), tmp_path / "front.png", title="sst2")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_arguments_are_those_of_the_table_and_a_few_more() -> None:
    words = ["task=sst2", f"objectives={ACCURACY},{SIZE}", "--front", "--plot", "a.png", "--format=csv", "sweep=all"]
    request = pareto.parse(words)
    assert (request.task, request.sweep, request.format_name) == ("sst2", "all", "csv")
    assert (request.objectives, request.only_front, request.plot) == (f"{ACCURACY},{SIZE}", True, Path("a.png"))
    assert not pareto.parse([]).only_front


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "objectives=eval/acuracy,perf/train_s",
            "objectives=eval/acuracy: not a metric; did you mean 'eval/accuracy'?",
        ),
        ("objectives=zzz,perf/train_s", "objectives=zzz: not a metric; sweeper/metrics.py has them all"),
        (
            "objectives=test/accuracy,perf/train_s",
            "objectives=test/accuracy: the reporting split must not choose anything; use eval/accuracy, "
            "and show=test/accuracy to read it beside",
        ),
        (
            "objectives=eval/accuracy",
            "objectives=eval/accuracy: a front needs two or more; "
            "for example objectives=eval/accuracy,perf/trainable_parameters",
        ),
        ("objectives=eval/loss,eval/loss", "objectives=eval/loss,eval/loss: eval/loss stands there twice"),
        ("objectives=eval/loss,perf/group_size", "objectives=perf/group_size: has no direction that is better"),
        ("show=test/acc", "show=test/acc: not a metric; did you mean 'test/accuracy'?"),
        ("objective=eval/loss", "objective=eval/loss: unknown argument; did you mean 'objectives'?"),
        ("--frnt", "--frnt: unknown argument; did you mean '--front'?"),
        ("--front=yes", "--front=yes: --front takes no value"),
        ("--plot", "--plot: needs a value, --plot <value>"),
        ("--plot=front.jpg", "--plot front.jpg: must end with .png"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    assert pareto.main([argument]) == 2
    assert capsys.readouterr() == ("", f"{message}\n")


def test_help_names_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert pareto.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name}" in shown for name in (*pareto.KEYS, *pareto.OPTIONS))
