"""Pruners by name: each with a trial that it ends and one that goes on, cell by cell, and over a resume."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.search.study import RunResult, Sweep, TrialRuns
from tests.unit.search.test_study import TUNED, done, finish, stored

MakeSweep = Callable[..., Sweep]
STEPWISE = (*TUNED, "hydra.sweeper.n_trials=6", "train.eval_every=epoch")


def pruner(name: str, arguments: str = "{}") -> tuple[str, ...]:
    return f"hydra.sweeper.pruner={name}", f"hydra.sweeper.pruner_args={arguments}"


def ask(sweep: Sweep) -> TrialRuns:
    trial = sweep.ask()
    assert trial
    return trial


def curve(sweep: Sweep, trial: TrialRuns, values: Sequence[float]) -> str | None:
    """Reports the values at steps 1, 2, ... of every run until the pruner ends the trial; tells what became of it."""
    for step, value in enumerate(values, 1):
        for replicate in range(len(trial.runs)):
            reason = sweep.report(trial, replicate, step, value)
        if reason is not None:
            sweep.tell(trial, [RunResult(f"run-{number}", "PRUNED") for number in range(len(trial.runs))])
            return reason
    sweep.tell(trial, done(trial, *[values[-1]] * len(trial.runs)))
    return None


CASES = [  # name, arguments, the values of a first trial, of one that is pruned and of one that is not, the reason
    ("median", "{n_startup_trials: 1}",
     ([0.5, 0.6, 0.7], [0.4, 0.9], [0.6, 0.7]), "median pruner at step 1"),
    ("percentile", "{percentile: 50.0, n_startup_trials: 1, n_warmup_steps: 2}",
     ([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.4, 0.7]), "percentile pruner at step 2"),
    ("asha", "{min_resource: 2, reduction_factor: 2}",
     ([0.5, 0.6, 0.7], [0.4, 0.5, 0.9], [0.4, 0.7]), "asha pruner at step 2"),
    ("hyperband", "{min_resource: 2, max_resource: 3, reduction_factor: 2}",
     ([0.5, 0.6, 0.7], [0.4, 0.5], [0.4, 0.7]), "hyperband pruner at step 2"),
    ("threshold", "{lower: 0.3}",
     ([0.5, 0.6], [0.4, 0.2], [0.4, 0.3]), "threshold pruner at step 2"),
    ("patient", "{wrapped: median, wrapped_args: {n_startup_trials: 1}, patience: 1}",
     ([0.5, 0.6, 0.7], [0.4, 0.3, 0.3], [0.4, 0.3, 0.41]), "patient pruner at step 3"),
    ("patient", "{wrapped: none, patience: 1}",
     ([0.9], [0.4, 0.3, 0.3], [0.4, 0.3, 0.4]), "patient pruner at step 3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "curves", "reason"), CASES)
def test_a_stepwise_pruner_ends_the_bad_trial_and_leaves_the_good_one(
    make_sweep: MakeSweep, name: str, arguments: str, curves: tuple[list[float], ...], reason: str
) -> None:
    first, bad, good = curves
    with make_sweep(*STEPWISE, *pruner(name, arguments)) as sweep:
        assert sweep.prunes_by == "step"
        assert curve(sweep, ask(sweep), first) is None
        assert curve(sweep, ask(sweep), good) is None
        assert curve(sweep, ask(sweep), bad) == reason
        assert (sweep.num_finished, sweep.num_failed) == (3, 0)
    state, _, noted = stored(sweep)[2]
    assert (state, noted["reason"], noted["pruner"]) == ("PRUNED", reason, name)
    assert [trial[0] for trial in stored(sweep)] == ["COMPLETE", "COMPLETE", "PRUNED"]


WILCOXON = (*TUNED, "hydra.sweeper.n_trials=6", "replicates=5", *pruner("wilcoxon"))


def replicates(sweep: Sweep, trial: TrialRuns, values: Sequence[float]) -> str | None:
    for replicate, value in enumerate(values):
        if (reason := sweep.report(trial, replicate, 400, value)) is not None:
            complete = done(trial, *values[: replicate + 1])
            pruned = [RunResult(f"run-{number}", "PRUNED") for number in range(replicate + 1, len(trial.runs))]
            sweep.tell(trial, [*complete, *pruned])
            return reason
    sweep.tell(trial, done(trial, *values))
    return None


def test_wilcoxon_compares_replicates_and_stops_after_those_that_tell(make_sweep: MakeSweep) -> None:
    with make_sweep(*WILCOXON) as sweep:
        assert sweep.prunes_by == "replicate"
        assert replicates(sweep, ask(sweep), [0.7, 0.71, 0.72, 0.73, 0.74]) is None
        assert replicates(sweep, ask(sweep), [0.71, 0.7, 0.73, 0.72, 0.75]) is None
        assert replicates(sweep, ask(sweep), [0.5, 0.51, 0.52, 0.53, 0.54]) == "wilcoxon pruner after 4 replicates"
    with make_sweep(*WILCOXON) as resumed:
        assert replicates(resumed, ask(resumed), [0.4, 0.41, 0.42, 0.43, 0.44]) == "wilcoxon pruner after 4 replicates"
        assert replicates(resumed, ask(resumed), [0.8, 0.81, 0.82, 0.83, 0.84]) is None
    assert [state for state, *_ in stored(resumed)] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "COMPLETE"]


@pytest.mark.parametrize("per_cell", ["true", "false"])
def test_a_trial_is_compared_with_those_of_its_own_cell_only(make_sweep: MakeSweep, per_cell: str) -> None:
    space = (*STEPWISE, "task.train_size=10,20", f"hydra.sweeper.tune_per_cell={per_cell}")
    with make_sweep(*space, *pruner("median", "{n_startup_trials: 1}")) as sweep:
        large, small = ([0.8, 0.9], [0.3, 0.4])
        for _ in range(3):  # the cells take turns
            assert curve(sweep, ask(sweep), small) is None
            assert curve(sweep, ask(sweep), large) is None
        worse_than_its_cell = ask(sweep)
        assert worse_than_its_cell.cell == {"task.train_size": 10}
        assert curve(sweep, worse_than_its_cell, [0.2]) is not None
        assert curve(sweep, ask(sweep), [0.5]) is not None, "better than anything in the other cell"


@pytest.mark.parametrize("arguments", [("median", "{n_startup_trials: 1}"), ("asha", "{min_resource: 1}"),
                                       ("hyperband", "{min_resource: 1, max_resource: 3}")])  # fmt: skip
def test_a_resumed_sweep_prunes_as_it_would_have(make_sweep: MakeSweep, arguments: tuple[str, str]) -> None:
    curves = [[0.5, 0.6, 0.7], [0.45, 0.65, 0.7], [0.55, 0.5, 0.4], [0.3, 0.8, 0.9], [0.6, 0.7, 0.8], [0.1, 0.1, 0.1]]
    space = (*STEPWISE, *pruner(*arguments))
    with make_sweep(*space) as whole:
        expected = [curve(whole, ask(whole), values) for values in curves]
    assert None in expected
    assert any(expected)
    found, other = [], "task.test_size=3"  # another sweep
    for values in curves:
        with make_sweep(*space, other) as part:
            found.append(curve(part, ask(part), values))
    assert found == expected
    with make_sweep(*space, other) as again:
        assert again.ask() is None
        assert again.num_finished == 6


def test_a_trial_left_open_goes_on_with_the_values_that_it_had(make_sweep: MakeSweep) -> None:
    space = (*STEPWISE, *pruner("patient", "{wrapped: none, patience: 1}"))
    with make_sweep(*space) as first:
        left = ask(first)
        assert [first.report(left, 0, step, value) for step, value in ((10, 0.5), (20, 0.4))] == [None, None]
    with make_sweep(*space) as second:
        again = ask(second)
        assert again.number == left.number
        assert second.report(again, 0, 20, 0.4) is None, "known already"
        assert second.report(again, 0, 30, 0.3) == "patient pruner at step 30"
        assert second.report(again, 0, 40, 0.9) == "patient pruner at step 30", "once said it stays so"
        second.tell(again, [RunResult("run", "PRUNED")])
    assert intermediate(second) == [{10: 0.5, 20: 0.4, 30: 0.3}]


def test_a_pruned_trial_that_a_killed_process_left_open_is_pruned_on_resume(make_sweep: MakeSweep) -> None:
    """Whatever the runs that had not left would measure by then."""
    space = (*STEPWISE, "replicates=2", *pruner("threshold", "{lower: 0.5}"))
    with make_sweep(*space) as first:
        left = ask(first)
        assert [first.report(left, replicate, 10, 0.4) for replicate in (0, 1)] == [None, "threshold pruner at step 10"]
    with make_sweep(*space) as second:
        again = ask(second)
        assert again.number == left.number
        assert second.report(again, 1, 20, 0.9) == "threshold pruner at step 10"
    with make_sweep(*space[:-2], *pruner("percentile", "{percentile: 50.0}")) as other:
        assert other.report(ask(other), 1, 20, 0.9) is None, "what another pruner says does not count"


def test_a_pruner_without_anything_to_look_at_is_said(make_sweep: MakeSweep) -> None:
    with make_sweep(*STEPWISE[:-1], "train.eval_every=50", *pruner("threshold", "{lower: 0.5}")) as sweep:
        assert sweep.notes_so_far() == []
        sweep.tell(trial := ask(sweep), done(trial))
        (note,) = sweep.notes_so_far()
        assert note.startswith("the threshold pruner had nothing to compare")
        assert note.endswith("(train.eval_every=50)")
        assert curve(sweep, ask(sweep), [0.9, 0.9]) is None
        assert sweep.notes_so_far() == []


def test_repeated_points_do_not_move_the_brackets_of_hyperband(make_sweep: MakeSweep) -> None:
    """A trial's bracket follows from its place among those that were judged: the same now and after a resume."""
    space = ("peft.r=range(1,10)", "hydra.sweeper.n_trials=8", "hydra.sweeper.sampler=random", "train.eval_every=epoch")
    bands = pruner("hyperband", "{min_resource: 1, max_resource: 9}")
    places = []
    with make_sweep(*space, *bands) as sweep:
        trials = []
        while (trial := sweep.ask()) is not None:
            assert curve(sweep, trial, [0.5]) is None
            trials.append(trial)
        places.append(judged(sweep))
    with make_sweep(*space, *bands) as again:
        places.append(judged(again))
    assert places == [len(trials)] * 2
    assert len(trials) < 8, "nothing was repeated: the test shows nothing"


def judged(sweep: Sweep) -> int:
    assert sweep._trials
    return sum(len(pruner.study.trials) for pruner in sweep._trials._pruners.values())


def intermediate(sweep: Sweep) -> list[dict[int, float]]:
    from sweeper.search.storage import open_storage

    kept = open_storage(Path(sweep.base.output_dir))
    trials = [trial for study in kept.get_all_studies() for trial in kept.get_all_trials(study._study_id)]
    return [trial.intermediate_values for trial in trials]


def test_a_step_counts_once_every_replicate_has_come_so_far(make_sweep: MakeSweep) -> None:
    space = (*STEPWISE, "replicates=2", "hydra.sweeper.objective_std=1", *pruner("threshold", "{lower: 0.5}"))
    with make_sweep(*space) as sweep:
        trial = ask(sweep)
        assert sweep.report(trial, 0, 10, 0.1) is None
        assert sweep.report(trial, 0, 20, 0.7) is None
        assert sweep.report(trial, 1, 10, 0.9) == "threshold pruner at step 10"
        assert sweep.report(trial, 1, 20, 0.9) == "threshold pruner at step 10"
    assert intermediate(sweep) == [{10: pytest.approx(0.5 - 0.32**0.5)}]


def test_what_is_not_finite_is_left_to_the_end_of_the_run(make_sweep: MakeSweep) -> None:
    with make_sweep(*STEPWISE, *pruner("threshold", "{lower: 0.5}")) as sweep:
        assert sweep.report(ask(sweep), 0, 1, float("nan")) is None
    assert intermediate(sweep) == [{}]


def test_without_a_pruner_a_report_changes_nothing(make_sweep: MakeSweep) -> None:
    with make_sweep(*STEPWISE) as sweep:
        assert sweep.prunes_by is None
        assert sweep.report(ask(sweep), 0, 1, 0.0) is None


def test_one_pruned_run_makes_the_trial_pruned_and_its_values_stay(make_sweep: MakeSweep) -> None:
    with make_sweep(*STEPWISE, "replicates=2", *pruner("threshold", "{lower: 0.5}")) as sweep:
        trial = ask(sweep)
        for replicate in range(2):
            sweep.report(trial, replicate, 7, 0.4)
        sweep.tell(trial, [RunResult("a", "FAILED", reason="diverged"), RunResult("b", "PRUNED")])
    state, _, noted = stored(sweep)[0]
    assert (state, noted["reason"], noted["runs"]) == ("PRUNED", "threshold pruner at step 7", ["a", "b"])
    assert intermediate(sweep) == [{7: 0.4}]


def test_a_single_run_is_never_pruned(make_sweep: MakeSweep) -> None:
    with make_sweep(*pruner("threshold", "{lower: 0.5}"), is_sweep=False) as sweep:
        assert sweep.prunes_by is None
        assert len(finish(sweep)) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra.sweeper.pruner=mediun"], "pruner=mediun: not one of asha, hyperband, median"),
        (["hydra.sweeper.pruner=mediun"], "did you mean 'median'?"),
        (["hydra.sweeper.pruner_args={patience: 3}"], "pruner_args={'patience': 3}: there is no pruner to take them"),
        (
            [*pruner("median", "{n_startup: 3}")],
            "pruner_args.n_startup=3: unknown to MedianPruner; did you mean 'n_star",
        ),
        ([*pruner("percentile")], "pruner_args.percentile=None: PercentilePruner needs it"),
        ([*pruner("percentile", "{percentile: 120}")], "PercentilePruner refuses them (Percentile must be between"),
        ([*pruner("threshold")], "ThresholdPruner refuses them (Either lower or upper must be specified"),
        ([*pruner("patient", "{patience: 3}")], "pruner_args.wrapped=None: patient wraps another pruner; one of asha"),
        ([*pruner("patient", "{wrapped: median}")], "pruner_args.patience=None: PatientPruner needs it"),
        ([*pruner("patient", "{wrapped: medan, patience: 3}")], "pruner_args.wrapped=medan: not one of"),
        ([*pruner("patient", "{wrapped: wilcoxon, patience: 3}")], "pruner_args.wrapped=wilcoxon: not one of"),
        (
            [*pruner("patient", "{wrapped: median, wrapped_args: {x: 1}, patience: 3}")],
            "pruner_args.wrapped_args.x=1: ",
        ),
        ([*pruner("patient", "{wrapped: median, wrapped_args: 3, patience: 3}")], "must be a dictionary"),
        ([*pruner("median", "{n_startup_trials: x}")], "MedianPruner refuses them"),
        ([*pruner("hyperband", "{min_resource: x, max_resource: 9}")], "HyperbandPruner cannot compare with them"),
        ([*pruner("wilcoxon")], "it compares replicates, and there is one a point; set replicates=5"),
        (
            [*pruner("median"), "train.eval_every=end"],
            "pruning needs evaluations during training; train.eval_every=epoch",
        ),
        ([*pruner("median"), "train.eval_every=1,end"], "pruning needs evaluations during training"),
        ([*pruner("median"), "hydra.sweeper.objective=[eval/accuracy,perf/train_s]"], "compares by one objective"),
    ],
)
def test_a_pruner_that_cannot_work_is_refused(make_sweep: MakeSweep, overrides: list[str], message: str) -> None:
    keys = {line.partition("=")[0] for line in overrides}
    space = [line for line in STEPWISE if line.partition("=")[0] not in keys]
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep(*space, *overrides)


def test_wilcoxon_needs_no_evaluations_during_training(make_sweep: MakeSweep) -> None:
    assert make_sweep(*WILCOXON, "train.eval_every=end").prunes_by == "replicate"


def test_values_of_another_kind_of_pruner_are_no_measure(make_sweep: MakeSweep) -> None:
    """Evaluations of a run are not replicates; a trial that was never judged has nothing to compare with."""
    space = (*STEPWISE, "replicates=5")
    with make_sweep(*space, *pruner("threshold", "{lower: 0.1}")) as first:
        assert curve(first, ask(first), [0.9, 0.9]) is None
    with make_sweep(*space) as second:
        assert curve(second, ask(second), [0.99]) is None
    with make_sweep(*space, *pruner("wilcoxon")) as third:
        assert replicates(third, ask(third), [0.5, 0.51, 0.52, 0.53, 0.54]) is None


def test_arguments_may_be_given_one_by_one(make_sweep: Callable[..., Sweep]) -> None:
    given = ("peft.r=2,4", "train.eval_every=5", "hydra.sweeper.pruner=percentile")
    sweep = make_sweep(*given, "hydra.sweeper.pruner_args.percentile=25")
    assert sweep.search.pruner_args == {"percentile": 25}
