"""`retry_failed=true`: failed trials of a resumed sweep run again, under new numbers, in their old places."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeper.search.study import RunResult, Sweep, TrialRuns
from tests.unit.search.test_study import TUNED, done, failed, finish, stored

MakeSweep = Callable[..., Sweep]
SPACES = [("task.train_size=10,20", "peft.r=2,4"), (*TUNED, "hydra.sweeper.n_trials=4"),
          ("peft.target_modules=[q_proj],[v_proj],[q_proj,v_proj],null",)]  # fmt: skip


def with_a_failure(sweep: Sweep, number: int = 1) -> TrialRuns:
    """Asks and tells all; the trial of that number fails."""
    wrong = None
    while (trial := sweep.ask()) is not None:
        sweep.tell(trial, failed(trial) if trial.number == number else done(trial))
        wrong = trial if trial.number == number else wrong
    assert wrong
    return wrong


@pytest.mark.parametrize("space", SPACES)
def test_a_failure_is_final_and_counted(make_sweep: MakeSweep, space: tuple[str, ...]) -> None:
    with make_sweep(*space) as first:
        with_a_failure(first)
    with make_sweep(*space) as second:
        assert (second.num_left_failed, second.num_failed, second.num_finished) == (1, 1, 4)
        assert second.ask() is None


@pytest.mark.parametrize("space", SPACES)
def test_failed_trials_run_again_when_asked_to(make_sweep: MakeSweep, space: tuple[str, ...]) -> None:
    with make_sweep(*space) as first:
        wrong = with_a_failure(first)
    with make_sweep(*space, "retry_failed=true") as second:
        assert second.sweep_id == first.sweep_id
        assert (second.num_left_failed, second.num_failed, second.num_finished) == (0, 0, 3)
        (again,) = finish(second)
        assert (again.cell, again.params) == (wrong.cell, wrong.params)
        assert [run.content_hash() for run in again.runs] == [run.content_hash() for run in wrong.runs]
        assert (second.num_finished, second.num_trials) == (4, 4)
    assert sorted(state for state, _, _ in stored(second)) == ["COMPLETE"] * 4 + ["FAIL"]
    for switch in ("retry_failed=true", "retry_failed=false"):
        with make_sweep(*space, switch) as third:
            assert (third.num_finished, third.num_left_failed, third.ask()) == (4, 0, None)


def test_what_fails_again_can_be_retried_again(make_sweep: MakeSweep) -> None:
    space = ("peft.r=2,4", "retry_failed=true")
    for number in (1, 2, 3):  # each retry is a trial with a number of its own
        with make_sweep(*space) as sweep:
            with_a_failure(sweep, number)
            assert (sweep.num_finished, sweep.num_failed) == (2, 1)
    with make_sweep("peft.r=2,4") as last:
        assert (last.num_finished, last.num_left_failed) == (2, 1)


@pytest.mark.parametrize("space", SPACES)
def test_a_retry_that_is_killed_goes_on_with_or_without_the_switch(
    make_sweep: MakeSweep, space: tuple[str, ...]
) -> None:
    with make_sweep(*space) as first:
        wrong = with_a_failure(first)
    with make_sweep(*space, "retry_failed=true") as second:
        left = second.ask()
    with make_sweep(*space) as third:
        assert (third.num_finished, third.num_left_failed) == (3, 0)
        (again,) = finish(third)
    assert left
    assert (again.number, again.params, again.cell) == (left.number, wrong.params, wrong.cell)


def test_a_trial_of_which_a_replicate_failed_is_retried_whole(make_sweep: MakeSweep) -> None:
    space = ("seed=1,2", "peft.r=2,4")
    with make_sweep(*space) as first:
        trial = first.ask()
        assert trial
        first.tell(trial, [done(trial)[0], failed(trial)[1]])
        finish(first)
    with make_sweep(*space) as second:
        assert (second.num_left_failed, second.num_failed) == (1, 0)
    with make_sweep(*space, "retry_failed=true") as third:
        (again,) = finish(third)
    assert (again.params, len(again.runs)) == (trial.params, 2)


def test_a_pruned_trial_has_not_failed(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4") as first:
        trial = first.ask()
        assert trial
        first.tell(trial, [RunResult("run", "PRUNED")])
        finish(first)
    with make_sweep("peft.r=2,4", "retry_failed=true") as second:
        assert (second.num_finished, second.num_left_failed, second.ask()) == (2, 0, None)


def test_retried_failures_do_not_count_towards_the_limit(make_sweep: MakeSweep) -> None:
    space = ("peft.r=range(1,4)", "hydra.sweeper.max_failures=0")
    with make_sweep(*space) as first:
        trial = first.ask()
        assert trial
        first.tell(trial, failed(trial))
        assert first.ask() is None
    with make_sweep(*space) as second:
        assert second.ask() is None
    with make_sweep(*space, "retry_failed=true") as third:
        assert len(finish(third)) == 3
