"""The best point of a cell on fresh seeds: when it is asked, once, and over any number of resumes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sweeper.checks import ConfigError
from sweeper.search.study import RunResult, Sweep, TrialRuns
from tests.unit.search.test_study import TUNED, done, failed, finish

MakeSweep = Callable[..., Sweep]
AUTO = "hydra.sweeper.confirm_seeds=auto"
SPACE = ("peft.r=range(1,5)", "replicates=2", AUTO)


def accuracy_of(trial: TrialRuns) -> float:
    """Rank 3 is the best."""
    return {1: 0.5, 2: 0.6, 3: 0.9, 4: 0.7}[trial.params["peft.r"]]


def search(sweep: Sweep, limit: int = 100) -> list[TrialRuns]:
    """Trains until the sweep has no more, or so many times."""
    trials: list[TrialRuns] = []
    while len(trials) < limit and (trial := sweep.ask()) is not None:
        sweep.tell(trial, done(trial, *[accuracy_of(trial)] * len(trial.runs)))
        trials.append(trial)
    return trials


def test_the_best_point_runs_again_on_the_seeds_after_the_largest(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE, "seed=7") as sweep:
        assert sweep.num_runs_left == 4 * 2 + 2
        *searched, fresh = search(sweep)
        assert (sweep.num_trials, sweep.num_finished, sweep.num_runs_left) == (4, 4, 0)
    best = next(trial for trial in searched if trial.params["peft.r"] == 3)
    assert (fresh.confirms, fresh.params, fresh.cell) == (best.number, best.params, best.cell)
    assert fresh.study == f"{sweep.sweep_id} confirmed"
    assert [run.seed for run in fresh.runs] == [9, 10]
    assert [run.peft["r"] for run in fresh.runs] == [3, 3]
    assert all(trial.confirms is None and trial.study == sweep.sweep_id for trial in searched)


def test_ties_go_to_the_lower_loss(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=range(1,5)", AUTO) as sweep:
        for loss in (0.5, 0.3, 0.2, 0.4):
            trial = sweep.ask()
            assert trial
            sweep.tell(trial, [RunResult("run", "COMPLETE", {"eval/accuracy": 0.5}, loss=loss)])
        fresh = sweep.ask()
    assert fresh
    assert fresh.params == {"peft.r": 3}


def test_a_whole_point_goes_before_a_better_one_with_a_failed_replicate(make_sweep: MakeSweep) -> None:
    """As the table chooses."""
    with make_sweep("peft.r=range(1,4)", "replicates=2", AUTO) as sweep:
        for values in ((0.9,), (0.6, 0.7), (0.5, 0.5)):
            trial = sweep.ask()
            assert trial
            sweep.tell(trial, [*done(trial, *values), *failed(trial)[len(values) :]])
        fresh = sweep.ask()
    assert fresh
    assert fresh.params == {"peft.r": 2}


def test_a_smaller_loss_is_the_better_objective(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=range(1,5)", AUTO, "hydra.sweeper.objective=eval/loss") as sweep:
        for loss in (0.5, 0.3, 0.2, 0.4):
            trial = sweep.ask()
            assert trial
            sweep.tell(trial, [RunResult("run", "COMPLETE", {"eval/loss": loss}, loss=loss)])
        fresh = sweep.ask()
    assert fresh
    assert fresh.params == {"peft.r": 3}


def test_a_cell_is_confirmed_once_its_own_trials_are_told(make_sweep: MakeSweep) -> None:
    with make_sweep("task.train_size=10,20", "peft.r=2,4", AUTO) as sweep:
        trials = [trial for _ in range(4) if (trial := sweep.ask())]
        assert sweep.ask() is None, "nothing is told yet"
        for trial in trials:
            if trial.cell == {"task.train_size": 20}:
                sweep.tell(trial, done(trial))
        fresh = sweep.ask()
        assert fresh
        assert (fresh.cell, fresh.confirms) == ({"task.train_size": 20}, 1)
        assert sweep.ask() is None
        assert sweep.missing() == {"task.train_size=10": 3, "task.train_size=20": 1}
        assert sweep.num_runs_left == 1, "of the other cell"


def test_what_has_one_point_or_no_value_has_no_best_point(make_sweep: MakeSweep) -> None:
    with make_sweep("task.train_size=10,20", AUTO) as single:
        assert single.num_runs_left == 2
        assert [trial.confirms for trial in finish(single)] == [None, None]
    with make_sweep("peft.r=2,4", AUTO) as hopeless:
        while (trial := hopeless.ask()) is not None:
            assert trial.confirms is None
            hopeless.tell(trial, failed(trial))
        assert (hopeless.num_runs_left, hopeless.missing()) == (0, {})


@pytest.mark.parametrize(("number", "seeds"), [(0, None), (1, [2]), (3, [2, 3, 4])])
def test_the_number_of_fresh_seeds_is_a_key(make_sweep: MakeSweep, number: int, seeds: list[int] | None) -> None:
    with make_sweep("peft.r=2,4", "seed=0,1", f"hydra.sweeper.confirm_seeds={number}") as sweep:
        fresh = finish(sweep)[2:]
    assert [[run.seed for run in trial.runs] for trial in fresh] == ([] if seeds is None else [seeds])


def test_a_confirmation_survives_any_number_of_resumes(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE) as first:
        search(first, limit=4)
        left = first.ask()
        assert left
        assert left.confirms == 2
    for _ in range(3):
        with make_sweep(*SPACE) as killed:
            assert (killed.num_runs_left, killed.missing()) == (2, {killed.name: 1})
            assert killed.ask() == left
    with make_sweep(*SPACE) as last:
        (again,) = search(last)
        assert again == left
    for _ in range(3):
        with make_sweep(*SPACE) as over:
            assert (over.ask(), over.num_runs_left, over.num_finished) == (None, 0, 4)


def test_a_failed_confirmation_is_final_unless_it_shall_run_again(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE) as first:
        search(first, limit=4)
        fresh = first.ask()
        assert fresh
        first.tell(fresh, failed(fresh))
        assert first.num_failed == 1
    with make_sweep(*SPACE) as second:
        assert (second.ask(), second.num_left_failed) == (None, 1)
    with make_sweep(*SPACE, "retry_failed=true") as third:
        assert third.num_runs_left == 2
        (again,) = search(third)
        assert (again.confirms, again.params) == (fresh.confirms, fresh.params)
        assert [run.content_hash() for run in again.runs] == [run.content_hash() for run in fresh.runs]
    with make_sweep(*SPACE) as fourth:
        assert (fourth.ask(), fourth.num_failed) == (None, 0)


def test_more_trials_confirm_again_only_where_the_best_point_has_changed(make_sweep: MakeSweep) -> None:
    space = (*TUNED, AUTO)
    confirmed = []
    values = iter([0.5, 0.9, 0.8, 0.7, 0.95])
    for n_trials in (2, 3, 4, 5):
        with make_sweep(*space, f"hydra.sweeper.n_trials={n_trials}") as sweep:
            while (trial := sweep.ask()) is not None:
                sweep.tell(trial, done(trial, 0.1 if trial.confirms is not None else next(values)))
                confirmed += [] if trial.confirms is None else [(n_trials, trial.confirms)]
    assert confirmed == [(2, 1), (5, 4)]


def test_more_fresh_seeds_run_the_same_point_again(make_sweep: MakeSweep) -> None:
    for number, expected in ((2, 1), (1, 0), (3, 1), (3, 0)):
        with make_sweep("peft.r=2,4", f"hydra.sweeper.confirm_seeds={number}") as sweep:
            assert len([trial for trial in finish(sweep) if trial.confirms is not None]) == expected


def test_the_sampler_does_not_hear_of_fresh_seeds(make_sweep: MakeSweep) -> None:
    """A seventh trial after a confirmation is what it would have been without."""
    space = (*TUNED[:1], "hydra.sweeper.sampler_args={n_startup_trials: 2}")
    points = []
    for how in (AUTO, "hydra.sweeper.confirm_seeds=0"):
        with make_sweep(*space, how, "hydra.sweeper.n_trials=6", f"task.test_size={len(points) + 2}") as some:
            finish(some)
        with make_sweep(*space, how, "hydra.sweeper.n_trials=7", f"task.test_size={len(points) + 2}") as more:
            points.append([trial.params for trial in finish(more) if trial.confirms is None])
    assert points[0] == points[1]


def test_too_many_failures_leave_nothing_to_ask(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE, "hydra.sweeper.max_failures=0") as sweep:
        trial = sweep.ask()
        assert trial
        sweep.tell(trial, failed(trial))
        assert (sweep.ask(), sweep.num_runs_left) == (None, 0)
        assert sweep.missing() == {sweep.name: 4}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra.sweeper.confirm_seeds=-1"], "confirm_seeds=-1: must be auto or a whole number of seeds; 0 switches"),
        (["hydra.sweeper.confirm_seeds=some"], "must be auto or a whole number of seeds"),
        (["hydra.sweeper.confirm_seeds=1.5"], "must be auto or a whole number of seeds"),
        ([f"seed={2**32 - 1}", AUTO], "no 1 fresh seeds below 2**32"),
    ],
)
def test_seeds_that_cannot_be_are_refused(make_sweep: MakeSweep, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep("peft.r=2,4", *overrides)
