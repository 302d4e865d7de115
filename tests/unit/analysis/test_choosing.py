from __future__ import annotations

import pytest

from analysis.load import Run
from tests.made_up_runs import column, run, sweep, table

BEST, WORSE = "0.01", "0.001"


def searched() -> list[Run]:
    """Two points under two seeds each: the best by the selection metric has 70 % on the reporting split."""
    best = [run(rate=BEST, seed=seed, eval=0.9, accuracy=0.7, trial=4) for seed in (0, 1)]
    worse = [run(rate=WORSE, seed=seed, eval=0.8, accuracy=0.6, trial=3) for seed in (0, 1)]
    return worse + best


def fresh(seed: int, accuracy: float | None = 0.65, **changes: object) -> Run:
    return run(seed=seed, accuracy=accuracy, **{"rate": BEST, "trial": 9, "confirms": 4, **changes})


def confirmed(*runs: Run) -> tuple[str, list[str]]:
    """The accuracy shown, and the notes, of a search that confirms on 3 fresh seeds."""
    result = table([*searched(), *runs], sweep(replicates=2, confirm_seeds=3))
    assert column(result, "Best hyperparameters") == [f"learning_rate={BEST}"]
    return column(result, "Accuracy %")[0], result.notes


def test_the_best_point_is_reported_on_its_fresh_seeds() -> None:
    shown, notes = confirmed(fresh(100, 0.64), fresh(101, 0.66), fresh(102, 0.65))
    assert shown == "65.0 ± 1.0"
    assert ("Reported on fresh seeds; during the search the same point had 70.0 (mean of its search seeds).") in notes


def test_fresh_seeds_never_choose() -> None:
    """Theirs are the worst of all numbers, and those of the worse point the best."""
    lucky = [fresh(seed, 0.99, eval=1.0, rate=WORSE, confirms=3) for seed in (100, 101, 102)]
    shown, _ = confirmed(*(fresh(seed, 0.1, eval=0.0) for seed in (100, 101, 102)), *lucky)
    assert shown == "10.0 ± 0.0"


def test_fresh_seeds_find_their_point_though_its_trial_has_another_number() -> None:
    """As after a retry, or where the sampler asked for the same point twice."""
    assert confirmed(*(fresh(seed, confirms=7) for seed in (100, 101, 102)))[0] == "65.0 ± 0.0"


def test_fresh_seeds_without_a_result_are_counted() -> None:
    lost = [fresh(102, None, state="FAILED", reason="timeout")]
    shown, notes = confirmed(fresh(100), fresh(101), *lost)
    assert shown == "65.0 ± 0.0 (n = 2 of 3)"
    assert any(note.endswith("s102-0.01: failed: timeout") for note in notes)
    assert confirmed(fresh(100), fresh(101))[0] == "65.0 ± 0.0 (n = 2 of 3)"


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([fresh(seed, None, state="FAILED", reason="diverged") for seed in (100, 101)], "2 failed: diverged"),
        ([fresh(100, None, state="UNFINISHED")], "unfinished"),
        ([], "missing"),
        ([fresh(seed, rate=WORSE, confirms=3) for seed in (100, 101, 102)], "missing"),  # of the best one when it ran
    ],
)
def test_a_point_without_its_fresh_seeds_is_marked(runs: list[Run], why: str) -> None:
    shown, notes = confirmed(*runs)
    assert shown == "70.0 ± 0.0 ‡"
    assert f"‡ Not on fresh seeds ({why}) but on the search's own, which chose the point." in notes
    assert not any("Reported on fresh seeds" in note for note in notes)


def test_without_fresh_seeds_nothing_is_marked() -> None:
    result = table(searched(), sweep(replicates=2))
    assert column(result, "Accuracy %") == ["70.0 ± 0.0"]
    assert not any("fresh" in note for note in result.notes)
    assert "‡" not in column(table([run()], sweep(confirm_seeds=3)), "Accuracy %")[0]  # nothing was chosen


def test_the_notes_of_several_cells_name_their_rows() -> None:
    design = [{"task.train_size": size} for size in (100, 1000)]
    runs = [run(size, rate=rate, eval=float(rate)) for size in (100, 1000) for rate in (BEST, WORSE)]
    result = table([*runs, fresh(100)], sweep(*design, confirm_seeds=1))
    assert column(result, "Accuracy %")[0] == "65.0"
    assert column(result, "Accuracy %")[1].endswith(" ‡")
    assert any("search seeds) mini lora 100: 80.0." in note for note in result.notes)
    assert any("fresh seeds (mini lora 1,000: missing) but" in note for note in result.notes)


def test_the_first_of_several_objectives_chooses() -> None:
    points = [run(rate="1", eval=0.9, metrics={"eval/loss": 0.5}), run(rate="2", eval=0.8, metrics={"eval/loss": 0.1})]
    for objectives, rate in ((("eval/accuracy", "eval/loss"), "1"), (("eval/loss", "eval/accuracy"), "2")):
        assert column(table(points, sweep(objectives=objectives)), "Best hyperparameters") == [f"learning_rate={rate}"]


def test_of_points_equal_in_the_first_objective_the_next_decides_before_the_loss() -> None:
    costs = ((5, 0.5), (4, 0.9))
    points = [run(rate=str(size), metrics={"perf/train_s": size, "eval/loss": loss}) for size, loss in costs]
    for objectives, rate in ((("eval/accuracy", "perf/train_s"), "4"), (("eval/accuracy",), "5")):
        assert column(table(points, sweep(objectives=objectives)), "Best hyperparameters") == [f"learning_rate={rate}"]


def replicated(name: str, rate: str, *values: float) -> list[Run]:
    return [run(rate=rate, seed=seed, metrics={name: value}) for seed, value in enumerate(values)]


@pytest.mark.parametrize(("objective_std", "rate"), [(0.0, "1"), (1.0, "2")])
def test_a_deviation_counts_against_the_mean(objective_std: float, rate: str) -> None:
    higher = [*replicated("eval/accuracy", "1", 0.7, 0.9), *replicated("eval/accuracy", "2", 0.75, 0.75)]
    lower = [*replicated("eval/loss", "1", 0.1, 0.3), *replicated("eval/loss", "2", 0.25, 0.25)]
    for objective, runs in (("eval/accuracy", higher), ("eval/loss", lower)):
        result = table(runs, sweep(objective=objective, replicates=2, objective_std=objective_std))
        assert column(result, "Best hyperparameters") == [f"learning_rate={rate}"]
        assert any("(the mean, 1 standard deviation to the worse side)" in note for note in result.notes) is bool(
            objective_std
        )


def pruned(rate: str, seed: int = 0, size: int = 100) -> Run:
    return run(size, accuracy=None, rate=rate, seed=seed, state="PRUNED")


def test_pruned_points_are_counted_below() -> None:
    result = table([run(rate=str(rate)) for rate in range(5)] + [pruned(str(rate)) for rate in range(5, 8)])
    assert column(result, "Accuracy %") == ["80.0"]
    assert "3 of 8 points pruned." in result.notes


def test_pruned_points_are_counted_by_cell_where_there_are_few() -> None:
    sizes = range(100, 1000, 100)
    runs = [one for size in sizes for one in (run(size, rate="1"), pruned("2", size=size))]
    assert "Points pruned: mini lora 100: 1 of 2; mini lora 200: 1 of 2." in table(runs[:4]).notes
    assert "9 of 18 points pruned, in 9 cells (csv and json say which)." in table(runs).notes


def test_a_cell_of_pruned_points_only_is_pruned() -> None:
    """Also where a replicate had ended before its trial was pruned."""
    runs = [pruned("1"), pruned("2"), run(rate="3", seed=0), pruned("3", seed=1)]
    assert column(table(runs), "Accuracy %") == ["pruned"]


def test_a_point_with_pruned_replicates_is_not_chosen() -> None:
    half = [run(rate="1", seed=0, eval=0.99), pruned("1", seed=1)]
    failed = [run(rate="2", seed=0, eval=0.5), run(rate="2", seed=1, accuracy=None, state="FAILED", reason="diverged")]
    result = table(half + failed, sweep(replicates=2))
    assert column(result, "Best hyperparameters") == ["learning_rate=2"]
    assert "1 of 2 points pruned." in result.notes


def test_a_point_is_whole_with_the_replicates_that_the_sweep_wants() -> None:
    """Not with those that happened to start."""
    runs = [run(rate="1", eval=0.9), *(run(rate="2", seed=seed, eval=0.8) for seed in (0, 1))]
    assert column(table(runs, sweep(replicates=2)), "Best hyperparameters") == ["learning_rate=2"]


def test_a_replicate_with_a_number_that_is_not_finite_does_not_count() -> None:
    """Be it only its loss: so the search has it, and a point with fewer replicates stands behind whole ones."""
    nan = {"eval/loss": float("nan")}
    broken = [run(rate="1", seed=0, eval=0.9), run(rate="1", seed=1, eval=0.99, metrics=nan)]
    whole = [run(rate="2", seed=seed, eval=0.8) for seed in (0, 1)]
    chosen = column(table(broken + whole, sweep(replicates=2)), "Best hyperparameters")
    assert chosen == ["learning_rate=2"]
    lacking = [run(rate="3", eval=0.95), run(rate="4", eval=0.9, metrics={"perf/train_s": 1.0})]
    of = sweep(objectives=("eval/accuracy", "perf/train_s"))
    assert column(table(lacking, of), "Best hyperparameters") == ["learning_rate=4"]
