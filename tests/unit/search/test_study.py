from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.checks import ConfigError
from sweeper.search.record import Command, SweepRecord
from sweeper.search.study import RunResult, Sweep, TrialRuns

MakeSweep = Callable[..., Sweep]
TUNED = ("train.learning_rate=tag(log,interval(1e-5,1e-3))", "hydra.sweeper.sampler=random")


def done(trial: TrialRuns, *values: float) -> list[RunResult]:
    values = values or (0.5,) * len(trial.runs)
    return [RunResult(f"run-{index}", "COMPLETE", {"eval/accuracy": value}) for index, value in enumerate(values)]


def failed(trial: TrialRuns, reason: str = "diverged") -> list[RunResult]:
    return [RunResult(f"run-{index}", "FAILED", reason=reason) for index in range(len(trial.runs))]


def finish(sweep: Sweep, limit: int = 1000) -> list[TrialRuns]:
    """Asks and tells until the sweep has no more, or so many times."""
    trials = []
    while len(trials) < limit and (trial := sweep.ask()) is not None:
        sweep.tell(trial, done(trial))
        trials.append(trial)
    return trials


def stored(sweep: Sweep) -> list[tuple[str, float | None, dict[str, object]]]:
    """State, value and user attributes of every trial, from the file."""
    from sweeper.search.storage import open_storage

    kept = open_storage(Path(sweep.base.output_dir))
    trials = [trial for study in kept.get_all_studies() for trial in kept.get_all_trials(study._study_id)]
    return [(trial.state.name, trial.values[0] if trial.values else None, trial.user_attrs) for trial in trials]


def test_every_cell_and_point_of_a_finite_space_is_asked_once(make_sweep: MakeSweep) -> None:
    with make_sweep("task.train_size=10,20,full", "peft.r=2,4") as sweep:
        trials = finish(sweep)
    asked = {(trial.cell["task.train_size"], trial.params["peft.r"]) for trial in trials}
    assert asked == set(itertools.product((10, 20, "full"), (2, 4)))
    assert len(trials) == sweep.num_trials == sweep.num_finished == 6


def test_a_trial_that_is_asked_and_not_told_is_left_to_the_next_process(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4", "seed=0,1", "hydra.sweeper.confirm_seeds=0") as sweep:
        first, second = sweep.ask(), sweep.ask()
        assert first is not None
        assert second is not None
        sweep.tell(first, done(first))
        assert (sweep.num_runs_left, sweep.num_open) == (0, 1)
        record = SweepRecord.of(sweep, Command(()))
        record.end(sweep, stopped=False)
        assert record.values["state"] == "KILLED", "not complete: the budget was spent"


def test_a_run_carries_the_values_of_its_cell_and_point(make_sweep: MakeSweep) -> None:
    with make_sweep("peft=lora,qlora", "task.train_size=10,20", "peft.r=2", "peft.lora_alpha=4,8") as sweep:
        for trial in finish(sweep):
            (config,) = trial.runs
            assert config.peft["name"] == trial.cell["peft"]
            assert config.task.train_size == trial.cell["task.train_size"]
            assert config.peft["lora_alpha"] == trial.params["peft.lora_alpha"]
            assert config.peft["r"] == 2


def test_an_unfinished_sweep_covers_the_table_first(make_sweep: MakeSweep) -> None:
    with make_sweep("task.train_size=10,20,full", *TUNED, "hydra.sweeper.n_trials=4") as sweep:
        assert [trial.cell["task.train_size"] for trial in finish(sweep, limit=6)] == [10, 20, "full"] * 2


def test_seeds_are_replicates_of_one_point(make_sweep: MakeSweep) -> None:
    with make_sweep("seed=3,1,2", *TUNED, "hydra.sweeper.n_trials=2") as sweep:
        trials = finish(sweep)
    assert [[run.seed for run in trial.runs] for trial in trials] == [[3, 1, 2]] * 2
    assert all("seed" not in trial.params and "seed" not in trial.cell for trial in trials)
    assert all(len({run.train.learning_rate for run in trial.runs}) == 1 for trial in trials)
    assert {run.replicates for trial in trials for run in trial.runs} == {3}


def test_replicates_count_on_from_the_seed(make_sweep: MakeSweep) -> None:
    with make_sweep("seed=7", "replicates=3", "peft.r=2,4") as sweep:
        assert [run.seed for run in finish(sweep)[0].runs] == [7, 8, 9]


def test_the_value_of_a_trial_is_the_mean_over_its_replicates(make_sweep: MakeSweep) -> None:
    with make_sweep("seed=1,2", "peft.r=2,4") as sweep:
        trial = sweep.ask()
        assert trial
        sweep.tell(trial, done(trial, 0.5, 0.75))
    assert stored(sweep)[0][:2] == ("COMPLETE", 0.625)


def test_a_failed_replicate_is_noted_and_the_others_count(make_sweep: MakeSweep) -> None:
    with make_sweep("seed=1,2", "peft.r=2,4") as sweep:
        trial = sweep.ask()
        assert trial
        sweep.tell(trial, [done(trial)[0], failed(trial, "out of memory")[1]])
    state, value, noted = stored(sweep)[0]
    assert (state, value, noted["reason"], noted["failed_replicates"]) == ("COMPLETE", 0.5, "out of memory", 1)
    assert noted["runs"] == ["run-0", "run-1"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (RunResult("r", "FAILED", {"eval/accuracy": 0.9}, "diverged"), "diverged"),
        (RunResult("r", "COMPLETE", {"eval/accuracy": float("nan")}), "eval/accuracy is not finite"),
        (RunResult("r", "COMPLETE", {"eval/accuracy": float("inf")}), "eval/accuracy is not finite"),
        (RunResult("r", "COMPLETE", {"eval/accuracy": 0.9}, loss=float("nan")), "eval/loss is not finite"),
        (RunResult("r", "COMPLETE"), "no eval/accuracy"),
    ],
)
@pytest.mark.parametrize("space", [("peft.r=2,4",), (*TUNED, "hydra.sweeper.n_trials=2")])
def test_a_trial_without_a_value_fails_with_its_reason_and_the_sweep_goes_on(
    make_sweep: MakeSweep, space: tuple[str, ...], result: RunResult, reason: str
) -> None:
    with make_sweep(*space) as sweep:
        trial = sweep.ask()
        assert trial
        sweep.tell(trial, [result])
        assert len(finish(sweep)) == 1
        assert (sweep.num_failed, sweep.num_finished) == (1, 2)
    state, value, noted = stored(sweep)[0]
    assert (state, value, noted["reason"]) == ("FAIL", None, reason)


def test_max_failures_ends_the_asking(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=range(1,9)", "hydra.sweeper.max_failures=1") as sweep:
        asked = 0
        while (trial := sweep.ask()) is not None:
            asked += 1
            sweep.tell(trial, failed(trial))
    assert asked == 2


@pytest.mark.parametrize("space", [("task.train_size=10,20", "peft.r=2,4"), (*TUNED, "hydra.sweeper.n_trials=4")])
def test_the_same_command_resumes_to_the_asked_total(make_sweep: MakeSweep, space: tuple[str, ...]) -> None:
    with make_sweep(*space) as first:
        before = finish(first, limit=1)
        trial = first.ask()
        assert trial
        first.tell(trial, failed(trial))
    with make_sweep(*space) as second:
        assert second.num_finished == 2
        after = finish(second)
    points = [json.dumps([t.cell, t.params], sort_keys=True) for t in (*before, trial, *after)]
    assert len(points) == len(set(points)) == second.num_trials == second.num_finished == 4
    with make_sweep(*space) as third:
        assert third.ask() is None


@pytest.mark.parametrize("space", [("task.train_size=10,20", "peft.r=2,4"), (*TUNED, "hydra.sweeper.n_trials=4")])
def test_a_trial_that_a_killed_process_left_open_is_asked_again(make_sweep: MakeSweep, space: tuple[str, ...]) -> None:
    with make_sweep(*space) as first:
        left = [first.ask(), first.ask()]
    with make_sweep(*space) as second:
        assert second.num_finished == 0
        again = [second.ask(), second.ask()]
        assert [(t.number, t.params, t.cell) for t in again if t] == [(t.number, t.params, t.cell) for t in left if t]
        for trial in again:
            assert trial
            second.tell(trial, done(trial))
        assert len(finish(second)) == 2
    assert [state for state, _, _ in stored(second)] == ["COMPLETE"] * 4


def test_more_trials_continue_the_same_sweep(make_sweep: MakeSweep) -> None:
    with make_sweep(*TUNED, "hydra.sweeper.n_trials=2") as small:
        rates = [trial.params["train.learning_rate"] for trial in finish(small)]
    with make_sweep(*TUNED, "hydra.sweeper.n_trials=4") as large:
        rates += [trial.params["train.learning_rate"] for trial in finish(large)]
    assert small.sweep_id == large.sweep_id
    assert len(set(rates)) == 4


def test_a_sampled_part_of_a_finite_space_can_be_completed(make_sweep: MakeSweep) -> None:
    space = ("peft.r=range(1,5)", "hydra.sweeper.sampler=random")
    with make_sweep(*space, "hydra.sweeper.n_trials=2") as some:
        finish(some)
        assert some.num_finished == 2
    with make_sweep(*space, "hydra.sweeper.n_trials=9") as every:
        finish(every)
        assert every.num_finished == every.num_trials == 4


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii"])  # the others load scipy or torch: integration
def test_samplers_by_name_stay_inside_the_space(make_sweep: MakeSweep, sampler: str) -> None:
    space = ("train.learning_rate=tag(log,interval(1e-5,1e-3))", "peft.r=range(2,9,2)", "peft.lora_dropout=0.0,0.1")
    with make_sweep(*space, f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.n_trials=5") as sweep:
        trials = finish(sweep)
    assert len(trials) == 5
    for trial in trials:
        assert 1e-5 <= trial.params["train.learning_rate"] <= 1e-3
        assert trial.params["peft.r"] in (2, 4, 6, 8)
        assert trial.params["peft.lora_dropout"] in (0.0, 0.1)


def test_tuning_per_cell_keeps_a_study_for_each(make_sweep: MakeSweep) -> None:
    space = ("task.train_size=10,20", *TUNED, "hydra.sweeper.n_trials=2", "hydra.sweeper.tune_per_cell=true")
    with make_sweep(*space) as sweep:
        trials = finish(sweep)
    assert len({trial.study for trial in trials}) == 2
    assert all(trial.number < 2 for trial in trials)


@given(asks=st.lists(st.integers(0, 3), max_size=3), n_trials=st.integers(1, 3))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_series_of_stops_and_resumes_asks_more_than_n_trials(
    make_sweep: MakeSweep, tmp_path_factory: pytest.TempPathFactory, empty_studies: Path, asks: list[int], n_trials: int
) -> None:
    folder = tmp_path_factory.mktemp("resumed")
    shutil.copy(empty_studies, folder)
    command = make_sweep(*TUNED, f"hydra.sweeper.n_trials={n_trials}", f"output_dir={folder}")
    finished: set[int] = set()
    for told in [*asks, 100]:
        with command as sweep:  # entered again, it knows only what is on disk
            finished |= {trial.number for trial in finish(sweep, limit=told)}
            sweep.ask()  # left open by a kill
            assert sweep.num_finished == len(finished) <= n_trials
    assert len(finished) == n_trials


def test_values_that_are_lists_come_back_as_lists(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.target_modules=[q_proj],[q_proj,v_proj]") as sweep:
        chosen = [trial.runs[0].peft["target_modules"] for trial in finish(sweep)]
    assert chosen == [["q_proj"], ["q_proj", "v_proj"]]


def test_the_sweep_id_does_not_depend_on_the_order_of_the_command(make_sweep: MakeSweep) -> None:
    parts = ("peft=lora,qlora", "task.train_size=10,20", "train.epochs=2", "peft.r=2,4")
    other = ("peft.r=4,2", "train.epochs=2", "task.train_size=20,10", "peft=qlora,lora")
    assert make_sweep(*parts).sweep_id == make_sweep(*other).sweep_id


@pytest.mark.parametrize("how", [(), (*TUNED, "hydra.sweeper.n_trials=2")])
def test_a_sweep_goes_on_when_its_values_are_written_in_another_order(
    make_sweep: MakeSweep, how: tuple[str, ...]
) -> None:
    with make_sweep("peft=lora,dora", "peft.r=2,4", *how) as first:
        finish(first, limit=1)
    with make_sweep("peft.r=4,2", "peft=dora,lora", *how) as second:
        assert len(finish(second)) == 3
        assert second.num_finished == 4


@pytest.mark.parametrize(
    "change", ["train.epochs=3", "peft.r=2,8", "replicates=2", "hydra.sweeper.objective=eval/loss"]
)
def test_the_sweep_id_changes_with_what_changes_the_table(make_sweep: MakeSweep, change: str) -> None:
    base = ("train.epochs=2", "peft.r=2,4")
    key = change.partition("=")[0]
    changed = [line for line in base if line.partition("=")[0] != key]
    assert make_sweep(*base).sweep_id != make_sweep(*changed, change).sweep_id


@pytest.mark.parametrize("change", ["plan=true", "hydra.sweeper.n_trials=1", "hydra.launcher.slots=2"])
def test_the_sweep_id_stays_with_what_does_not(make_sweep: MakeSweep, change: str) -> None:
    assert make_sweep("peft.r=2,4").sweep_id == make_sweep("peft.r=2,4", change).sweep_id


def test_other_data_is_another_sweep(make_sweep: MakeSweep, small_data: Path, tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv"):
        text = (small_data / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("number 1 ", "number one "), encoding="utf-8")
    assert make_sweep("peft.r=2,4").sweep_id != make_sweep("peft.r=2,4", f"data_dir={tmp_path}").sweep_id


def test_two_processes_cannot_run_the_same_sweep(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4"):
        with (
            pytest.raises(ConfigError, match=r"process \d+ on .+ runs this very sweep already"),
            make_sweep("peft.r=2,4"),
        ):
            pass
        with make_sweep("peft.r=2,8"):
            pass


def test_a_single_run_is_a_sweep_of_one_that_leaves_no_study(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft.r=2", is_sweep=False)
    with sweep:
        (trial,) = finish(sweep)
    assert (trial.cell, trial.params, len(trial.runs), sweep.is_single) == ({}, {}, 1, True)
    assert not Path(sweep.base.output_dir).exists()


def test_nothing_is_written_before_a_sweep_is_entered(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep("peft.r=2,4", f"output_dir={tmp_path / 'elsewhere'}")
    assert sweep.sweep_id
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_creates_its_study_and_another_process_opens_it(make_sweep: MakeSweep, tmp_path: Path) -> None:
    space = ("peft.r=2,4", f"output_dir={tmp_path / 'fresh'}")
    with make_sweep(*space) as first:
        finish(first, limit=1)
    assert (tmp_path / "fresh" / "optuna.db").is_file()
    with make_sweep(*space) as second:
        assert second.num_finished == 1
