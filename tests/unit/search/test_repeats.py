"""A sampler that suggests a finished point again: the value comes from the study, nothing is trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeper.search.study import RunResult, Sweep, TrialRuns
from tests.unit.search.test_study import done, failed, finish, stored

MakeSweep = Callable[..., Sweep]
# Two points of a grid of three, eight times over.
SPACE = ("peft.r=range(1,10)", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=8")


def rank(trial: TrialRuns) -> int:
    return int(trial.params["peft.r"])


def train(sweep: Sweep) -> list[TrialRuns]:
    trials = []
    while (trial := sweep.ask()) is not None:
        sweep.tell(trial, done(trial, rank(trial) / 10))
        trials.append(trial)
    return trials


def test_a_repeated_point_has_the_value_of_the_first_and_counts(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE) as sweep:
        trials = train(sweep)
        assert len(trials) < 8, "nothing was repeated: the test shows nothing"
        assert len({rank(trial) for trial in trials}) == len(trials)
        assert (sweep.num_finished, sweep.num_runs_left, sweep.missing()) == (8, 0, {})
        number = 8 - len(trials)
        assert sweep.notes_so_far()[0].startswith(f"{number} suggestion")
    kept = stored(sweep)
    assert [state for state, *_ in kept] == ["COMPLETE"] * 8
    repeats = [(value, noted) for _, value, noted in kept if "repeats" in noted]
    assert len(repeats) == number
    for value, noted in repeats:
        first = kept[int(str(noted["repeats"]))]
        assert (value, noted["runs"]) == (first[1], first[2]["runs"])
        assert "repeats" not in first[2]


def test_a_repeat_is_answered_by_a_later_process_too(make_sweep: MakeSweep) -> None:
    asked = []
    for _ in range(20):
        with make_sweep(*SPACE) as sweep:
            if (trial := sweep.ask()) is None:
                break
            sweep.tell(trial, done(trial, rank(trial) / 10))
            asked.append(rank(trial))
    assert len(set(asked)) == len(asked) < 8
    assert sweep.num_finished == 8


def test_a_point_that_still_trains_is_handed_out_again(make_sweep: MakeSweep) -> None:
    """Its run is one run: the coordinator trains it once."""
    with make_sweep(*SPACE) as sweep:
        trials = [trial for _ in range(8) if (trial := sweep.ask())]
        assert len(trials) == 8 > len({rank(trial) for trial in trials})
        for trial in trials:
            sweep.tell(trial, done(trial, rank(trial) / 10))
        assert (sweep.num_finished, sweep.notes_so_far()) == (8, [])


@pytest.mark.parametrize(("result", "state"), [(RunResult("r", "FAILED", reason="diverged"), "FAIL"),
                                               (RunResult("r", "PRUNED"), "PRUNED")])  # fmt: skip
def test_whatever_became_of_the_first_becomes_of_its_repeats(
    make_sweep: MakeSweep, result: RunResult, state: str
) -> None:
    with make_sweep(*SPACE) as sweep:
        while (trial := sweep.ask()) is not None:
            sweep.tell(trial, [result])
    assert [found for found, *_ in stored(sweep)] == [state] * 8
    assert any("repeats" in noted for *_, noted in stored(sweep))


def test_a_failed_point_that_runs_again_answers_its_repeats(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE) as first:
        while (trial := first.ask()) is not None:
            first.tell(trial, failed(trial))
        assert first.num_failed == 8
    points = {str(noted["repeats"]) if "repeats" in noted else str(number)
              for number, (*_, noted) in enumerate(stored(first))}  # fmt: skip
    with make_sweep(*SPACE, "retry_failed=true") as second:
        assert len(train(second)) == len(points)
        assert (second.num_failed, second.num_finished) == (0, 8)


def test_a_finite_space_that_was_sampled_with_repeats_can_be_completed(make_sweep: MakeSweep) -> None:
    with make_sweep(*SPACE) as some:
        sampled = train(some)
    with make_sweep(*SPACE[:2]) as every:
        assert (every.num_trials, every.num_finished) == (9, len(sampled))
        rest = train(every)
        assert sorted(rank(trial) for trial in (*sampled, *rest)) == list(range(1, 10))
        assert every.num_finished == 9


def test_steps_of_a_range_are_the_same_point_however_they_were_reached(make_sweep: MakeSweep) -> None:
    """0.1 + 0.2 is not 0.3: the sampler's values and those that are listed differ in the last bit."""
    space = ("peft.lora_dropout=range(0.0,0.75,0.1)", "hydra.sweeper.sampler=random")
    with make_sweep(*space, "hydra.sweeper.n_trials=7") as some:
        sampled = finish(some)
    with make_sweep(*space) as every:
        rest = finish(every)
        assert len(sampled) + len(rest) == every.num_trials == 8


def test_cells_do_not_answer_for_one_another(make_sweep: MakeSweep) -> None:
    with make_sweep("task.train_size=10,20", "peft.r=2,4") as sweep:
        assert len(finish(sweep)) == 4
