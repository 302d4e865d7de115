"""Importances of a search's hyperparameters: what they are worked out from, and when they are not."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis import importances
from analysis.choosing import Criterion
from analysis.layout import Layout, spelled
from analysis.load import NothingToShow, Run
from analysis.ped_anova import MIN_TRIALS, distribution
from analysis.ped_anova import importances as importances_of
from analysis.selection import Results
from tests.made_up_runs import run

RATE, RANK = "train.learning_rate", "peft.r"
NUM_TRIALS = 30


def tried(number: int, size: int = 100, **changes: object) -> Run:
    """A trial that is the better, the larger its rate; its rank means nothing."""
    rate, rank = 10.0 ** -(1 + number % 6), 2 ** (number % 5)
    fields = {"rate": str(rate), "eval": 0.5 - 0.05 * (number % 6), "trial": number, "params": {RANK: str(rank)}}
    return run(size, **{**fields, **changes})  # type: ignore[arg-type]


def laid_out(*runs: Run, criterion: Criterion | None = None) -> Layout:
    return importances.laid_out(Results("sst2", None, list(runs)), criterion or Criterion())


def test_what_decides_is_told_from_what_does_not() -> None:
    layout = laid_out(*map(tried, range(NUM_TRIALS)))
    assert layout.title == "sst2: all runs, importances"
    assert layout.headings == ["Model", "Method", "Examples (epochs)", "Trials", f"{RATE} %", f"{RANK} %"]
    (row,) = layout.rows
    assert row[:4] == ["mini", "lora", "100 (2)", str(NUM_TRIALS)]
    assert float(row[4]) > 90
    assert float(row[4]) + float(row[5]) == pytest.approx(100, abs=0.1)


def test_each_cell_has_a_row_and_all_together_one_in_which_the_design_axes_count() -> None:
    """The size decides nearly everything; the fewer trials of the second cell are too few."""
    first = [tried(number) for number in range(NUM_TRIALS)]
    second = [tried(number, 1000, eval=0.9 + 0.001 * (number % 3)) for number in range(MIN_TRIALS - 1)]
    layout = laid_out(*first, *second)
    assert [row[:1] + row[3:4] for row in layout.rows] == [["mini", "30"], ["mini", "9"], ["all cells", "39"]]
    assert layout.headings[4] == "task.train_size %"
    assert layout.rows[0][4] == "–"
    assert layout.rows[1][4:] == ["–", "–", "–"]
    assert float(layout.rows[2][4]) > 50
    assert any(note.startswith("– of a row: fewer than 10 trials") for note in layout.notes)
    assert any("a rough guess" in note for note in layout.notes)


def test_programs_read_shares_of_one() -> None:
    layout = laid_out(*map(tried, range(NUM_TRIALS)))
    (record,) = json.loads(spelled(layout, "json"))["rows"]
    assert (record["trials"], record["objective"]) == (NUM_TRIALS, "eval/accuracy")
    assert sum(record["importances"].values()) == pytest.approx(1)
    (line,) = csv.DictReader(io.StringIO(spelled(layout, "csv")))
    assert json.loads(line["importances"]) == record["importances"]


def test_pruned_points_fresh_seeds_and_replicates_are_not_trials_of_their_own() -> None:
    runs = [tried(number, seed=seed) for number in range(NUM_TRIALS) for seed in (0, 1)]
    pruned = tried(3, rate="0.7", state="PRUNED", accuracy=None)
    partial = tried(3, rate="0.8")
    fresh = tried(0, seed=100, confirms=0)
    layout = laid_out(*runs, pruned, partial, fresh, criterion=Criterion(replicates=2))
    assert [row[3] for row in layout.rows] == [str(NUM_TRIALS)]


@pytest.mark.parametrize(
    "runs",
    [
        [tried(number) for number in range(MIN_TRIALS - 1)],
        [tried(number, eval=0.5) for number in range(NUM_TRIALS)],
        [],
    ],
)
def test_too_few_or_equal_trials_are_one_line(runs: list[Run]) -> None:
    number = len({tuple(run.hyperparameters.items()) for run in runs})
    message = (
        "sst2: all runs: importances need 10 complete trials, different in hyperparameters and in eval/accuracy; "
        f"here are {number}"
    )
    with pytest.raises(NothingToShow) as caught:
        laid_out(*runs)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0.1", "0.0001"], FloatDistribution(0.0001, 0.1, log=True)),
        (["0.1", "0.5"], FloatDistribution(0.1, 0.5)),
        (["0.0", "100.0"], FloatDistribution(0, 100)),
        (["4", "64", "8"], IntDistribution(4, 64, log=True)),
        (["4", "8"], IntDistribution(4, 8)),
        (["4", "0.5"], FloatDistribution(0.5, 4)),
        (["-1", "100"], IntDistribution(-1, 100)),
        (["adamw", "sgd"], CategoricalDistribution(["adamw", "sgd"])),
        (["true", "false"], CategoricalDistribution(["false", "true"])),
        (["8", "null"], CategoricalDistribution(["8", "null"])),
        (["1.0", "nan"], CategoricalDistribution(["1.0", "nan"])),
    ],
)
def test_numbers_are_numbers_and_the_rest_are_categories(values: list[str], expected: object) -> None:
    assert distribution(values) == expected


VALUES = {"a": ["0.1", "0.001", "0.5"], "b": ["2", "4", "300"], "c": ["x", "y"], "d": ["true", "null", "7"]}
PARAMS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


@pytest.mark.filterwarnings("ignore:Some regimes for parameter")  # Optuna's: a condition that one trial alone met
@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(PARAMS, st.floats(-1, 1)), max_size=25))
def test_shares_add_up_to_one_whatever_was_tried(trials: list[tuple[dict[str, str], float]]) -> None:
    """With conditions, under which a trial lacks some, and values that are numbers here and words there."""
    shares = importances_of(trials)
    varied = {name for name in VALUES if len({params[name] for params, _ in trials if name in params}) > 1}
    enough = len(trials) >= MIN_TRIALS and len({value for _, value in trials}) > 1
    assert shares.keys() == (varied if enough else set())
    if shares:
        assert sum(shares.values()) == pytest.approx(1)
        assert min(shares.values()) >= 0
        assert list(shares.values()) == sorted(shares.values(), reverse=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "objective=test/accuracy",
            "objective=test/accuracy: the reporting split must not choose anything; use eval/accuracy",
        ),
        ("objective=eval/acuracy", "objective=eval/acuracy: not a metric; did you mean 'eval/accuracy'?"),
        ("objective=train/epoch", "objective=train/epoch: has no direction that is better"),
        ("objective=eval/loss,eval/accuracy", "objective=eval/loss,eval/accuracy: one at a time"),
        ("plot=x.png", "plot=x.png: unknown argument; python -m analysis.importances --help shows them all"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_line(capsys: pytest.CaptureFixture[str], argument: str, message: str) -> None:
    assert importances.main([argument]) == 2
    assert capsys.readouterr() == ("", f"{message}\n")
