"""What a trial is worth: one objective or several, over replicates; the Pareto front of a sweep."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.search.study import RunResult, Sweep, TrialRuns
from sweeper.search.value import aggregated
from tests.unit.search.test_study import TUNED, done, stored

MakeSweep = Callable[..., Sweep]
NAMES = ("eval/accuracy", "perf/train_s")
SEVERAL = f"hydra.sweeper.objective=[{','.join(NAMES)}]"


def result(accuracy: float, seconds: float) -> list[RunResult]:
    return [RunResult(f"run-{accuracy}", "COMPLETE", dict(zip(NAMES, (accuracy, seconds), strict=True)))]


def tell_all(sweep: Sweep, values: Sequence[tuple[float, float]]) -> list[TrialRuns]:
    trials = []
    for value in values:
        trial = sweep.ask()
        assert trial
        sweep.tell(trial, result(*value))
        trials.append(trial)
    return trials


@pytest.mark.parametrize(
    ("objective", "num_stds", "values", "expected"),
    [
        ("eval/accuracy", 0.0, [0.5, 0.75], 0.625),
        ("eval/accuracy", 1.0, [0.5, 0.7], 0.6 - 0.02**0.5),
        ("eval/loss", 2.0, [0.5, 0.7], 0.6 + 2 * 0.02**0.5),
        ("eval/accuracy", 1.0, [0.5], 0.5),
    ],
)
def test_replicates_count_by_their_mean_and_how_far_they_scatter(
    objective: str, num_stds: float, values: list[float], expected: float
) -> None:
    assert aggregated(values, objective, num_stds) == pytest.approx(expected)


def test_scattered_replicates_are_worth_less(make_sweep: MakeSweep) -> None:
    with make_sweep("replicates=2", "peft.r=2,4", "hydra.sweeper.objective_std=1") as sweep:
        for values in ((0.5, 0.9), (0.66, 0.68)):
            trial = sweep.ask()
            assert trial
            sweep.tell(trial, done(trial, *values))
    assert [value for _, value, _ in stored(sweep)] == pytest.approx([0.7 - 0.08**0.5, 0.67 - 0.0002**0.5])


def test_a_spread_makes_another_sweep(make_sweep: MakeSweep) -> None:
    space = ("replicates=2", "peft.r=2,4")
    assert make_sweep(*space).sweep_id != make_sweep(*space, "hydra.sweeper.objective_std=1").sweep_id
    assert make_sweep(*space).sweep_id != make_sweep(*space, SEVERAL).sweep_id


def test_several_objectives_are_told_and_resumed(make_sweep: MakeSweep) -> None:
    space = (*TUNED, "hydra.sweeper.n_trials=3", SEVERAL)
    with make_sweep(*space) as first:
        assert (first.objectives, first.objective) == (list(NAMES), "eval/accuracy")
        tell_all(first, [(0.5, 10.0)])
    with make_sweep(*space) as second:
        tell_all(second, [(0.75, 20.0), (0.6, 30.0)])
        assert second.ask() is None
        front = second.pareto()
    assert [trial["values"] for trial in front] == [{"eval/accuracy": 0.75, "perf/train_s": 20.0},
                                                    {"eval/accuracy": 0.5, "perf/train_s": 10.0}]  # fmt: skip
    assert [(trial["number"], trial["runs"]) for trial in front] == [(1, ["run-0.75"]), (0, ["run-0.5"])]


def test_the_front_is_written_beside_the_sweep(make_sweep: MakeSweep) -> None:
    with make_sweep("task.train_size=10,20", "peft.r=2,4", SEVERAL) as sweep:
        trials = tell_all(sweep, [(0.5, 1.0), (0.5, 2.0), (0.9, 3.0), (0.4, 4.0)])
        path = sweep.store_pareto()
    assert path == Path(sweep.base.output_dir) / "sweeps" / sweep.sweep_id / "pareto.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["objectives"] == {"eval/accuracy": "maximize", "perf/train_s": "minimize"}
    assert [(trial["cell"], trial["params"]) for trial in written["trials"]] == [
        (trials[2].cell, trials[2].params), (trials[0].cell, trials[0].params),
    ]  # fmt: skip


def test_a_study_per_cell_has_a_front_per_cell(make_sweep: MakeSweep) -> None:
    space = ("task.train_size=10,20", "peft.r=2,4", "hydra.sweeper.tune_per_cell=true", SEVERAL)
    with make_sweep(*space) as sweep:
        tell_all(sweep, [(0.5, 1.0), (0.9, 1.0), (0.6, 2.0), (0.8, 2.0)])
        found = [(trial["cell"]["task.train_size"], trial["values"]["eval/accuracy"]) for trial in sweep.pareto()]
    assert found == [(10, 0.6), (10, 0.5), (20, 0.9)]


def test_a_trial_with_a_failed_replicate_is_not_on_the_front(make_sweep: MakeSweep) -> None:
    """Nor does it beat any other, as its mean is over fewer."""
    with make_sweep("peft.r=2,4", "replicates=2", SEVERAL) as sweep:
        for values in ((0.9, 1.0), (0.6, 2.0)):
            trial = sweep.ask()
            assert trial
            lost = RunResult("lost", "FAILED", reason="diverged")
            sweep.tell(trial, [*result(*values), lost if values[0] == 0.9 else result(*values)[0]])
        assert [trial["values"]["eval/accuracy"] for trial in sweep.pareto()] == [0.6]


def test_one_objective_has_no_front_to_write(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4") as sweep:
        assert sweep.store_pareto() is None


def test_a_run_that_lacks_an_objective_fails(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4", SEVERAL) as sweep:
        trial = sweep.ask()
        assert trial
        sweep.tell(trial, [RunResult("run", "COMPLETE", {"eval/accuracy": 0.5})])
    state, value, noted = stored(sweep)[0]
    assert (state, value, noted["reason"]) == ("FAIL", None, "no perf/train_s")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra.sweeper.objective=[eval/accuracy,test/accuracy]"], "the reporting split must not choose anything"),
        (["hydra.sweeper.objective=[perf/train_s,eval/accuracy]"], "what a run costs chooses nothing alone; "),
        (["hydra.sweeper.objective=perf/train_s"], "hydra.sweeper.objective=[eval/accuracy,perf/train_s]"),
        (["hydra.sweeper.objective=[eval/accuracy,perf/group_size]"], "not a cost with a better direction"),
        (["hydra.sweeper.objective=[eval/accuracy,perf/train_sec]"], "did you mean 'perf/train_s'?"),
        (["hydra.sweeper.objective=[eval/accuracy,train/loss]"], "not a metric of the selection split"),
        (["hydra.sweeper.objective=[]"], "must be a metric or a list of metrics"),
        (["hydra.sweeper.objective=[eval/accuracy,3]"], "must be a metric or a list of metrics"),
        (["hydra.sweeper.objective=[eval/loss,eval/loss]"], "a metric appears twice"),
        (["hydra.sweeper.objective_std=-1"], "objective_std=-1.0: must be at least 0"),
        ([*TUNED[:1], "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=cmaes", SEVERAL],
         "hydra.sweeper.sampler=cmaes: cannot search for several objectives; tpe, gp and nsgaii can"),
    ],
)  # fmt: skip
def test_objectives_that_cannot_be_searched_for_are_refused(
    make_sweep: MakeSweep, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep("peft.r=2,4", *overrides)
