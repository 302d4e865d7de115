from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.__main__ import open_hydra
from sweeper.launch.planned import Fate, middle, middle_point, plan_runs
from sweeper.launch.runs import Runs
from sweeper.search.command import read_command
from sweeper.search.space import Cell, Dimension
from sweeper.search.study import Sweep
from sweeper.search.trial import RunResult

MakeSweep = Callable[..., Sweep]
CONSTANT = ("train.lr_scheduler_type=constant", "train.warmup_steps=0", "hydra.sweeper.confirm_seeds=0")


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    for split, number in (("train", 60), ("dev", 10)):
        rows = [f"sentence number {index} of {split}\t{index % 2}" for index in range(number)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    given = [f"data_dir={tmp_path}", f"output_dir={tmp_path / 'out'}", "task.selection_size=20", "task.train_size=20"]

    def make(*overrides: str) -> Sweep:
        keys = {override.partition("=")[0] for override in overrides}
        lines = [line for line in given if line.partition("=")[0] not in keys]
        return read_command([*lines, *overrides], open_hydra(config_dir=None).config_loader, is_sweep=True)

    return make


def train(sweep: Sweep, number: int, state: str = "COMPLETE") -> None:
    """What training leaves of the sweep's first trials: folders that are finished, and trials that are told."""
    runs = Runs(sweep)
    with sweep:
        for _ in range(number):
            trial = sweep.ask()
            assert trial is not None
            folders = [runs.folder(trial, replicate) for replicate in range(len(trial.runs))]
            for folder in folders:
                folder.started(slot=0)
                folder.finish(state)
            sweep.tell(trial, [RunResult(folder.run_id, state, {sweep.objective: 0.5}) for folder in folders])


def test_every_run_is_trained_the_first_time(make_sweep: MakeSweep) -> None:
    planned = plan_runs(make_sweep("peft.r=2,4", "task.train_size=10,20", "seed=1,2"))
    assert [len(trial) for trial in planned.trials] == [2] * 4 + [2] * 2  # and the best points on fresh seeds
    assert planned.count(Fate.TRAINED) == 12
    assert sum(run.is_confirmation for run in planned.runs) == 4
    assert not planned.has_unknown_points


def test_cells_take_turns(make_sweep: MakeSweep) -> None:
    planned = plan_runs(make_sweep("peft.r=2,4", "task.train_size=10,20"))
    asked = [(run.config.task.train_size, run.config.peft["r"]) for run in planned.runs if not run.is_confirmation]
    assert asked == [(10, 2), (20, 2), (10, 4), (20, 4)]


def test_the_order_is_that_in_which_the_sweep_asks(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2,4,8", "task.train_size=10,20", "train.epochs=1,3", *CONSTANT)
    planned = [trial[0].config.content_hash() for trial in plan_runs(make_sweep(*command)).trials]
    with make_sweep(*command) as sweep:
        asked = [trial.runs[0].content_hash() for trial in iter(sweep.ask, None)]
    assert planned == asked


def test_finished_trials_are_not_asked_again(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2,4,8", "hydra.sweeper.confirm_seeds=0")
    train(make_sweep(*command), 2)
    planned = plan_runs(make_sweep(*command))
    assert (planned.num_finished, [run.config.peft["r"] for run in planned.runs]) == (2, [8])


def test_runs_of_another_sweep_are_reused(make_sweep: MakeSweep) -> None:
    train(make_sweep("peft.r=2,4", "hydra.sweeper.confirm_seeds=0"), 2)
    planned = plan_runs(make_sweep("peft.r=2,4,8", "hydra.sweeper.confirm_seeds=0"))
    assert {run.config.peft["r"]: run.fate for run in planned.runs} == {
        2: Fate.REUSED, 4: Fate.REUSED, 8: Fate.TRAINED}  # fmt: skip
    assert planned.num_finished == 0


@pytest.mark.parametrize("change", ["train.learning_rate=0.5", "task.selection_size=10"])
def test_runs_of_another_config_are_not(make_sweep: MakeSweep, change: str) -> None:
    train(make_sweep("peft.r=2,4"), 2)
    assert plan_runs(make_sweep("peft.r=2,4", change)).count(Fate.REUSED) == 0


def test_runs_on_other_weights_of_the_same_folder_are_not(make_sweep: MakeSweep, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("one")
    train(make_sweep("peft.r=2,4", f"model.path={model}"), 2)
    again = ("peft.r=2,4,8", f"model.path={model}", "plan=true")
    assert plan_runs(make_sweep(*again)).count(Fate.REUSED) == 2
    (model / "model.safetensors").write_text("other")
    assert plan_runs(make_sweep(*again)).count(Fate.REUSED) == 0


def test_runs_on_other_data_are_not(make_sweep: MakeSweep, tmp_path: Path) -> None:
    train(make_sweep("peft.r=2,4"), 2)
    with (tmp_path / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("one more row\t1\n")
    assert plan_runs(make_sweep("peft.r=2,4")).count(Fate.REUSED) == 0


def test_failed_trials_are_asked_again_only_on_demand(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2,4", "hydra.sweeper.confirm_seeds=0")
    train(make_sweep(*command), 1, state="FAILED")
    assert [run.config.peft["r"] for run in plan_runs(make_sweep(*command)).runs] == [4]
    assert [run.config.peft["r"] for run in plan_runs(make_sweep(*command, "retry_failed=true")).runs] == [2, 4]


def test_of_runs_that_differ_in_epochs_the_longest_is_trained(make_sweep: MakeSweep) -> None:
    planned = plan_runs(make_sweep("train.epochs=1,5,20", "seed=1,2", *CONSTANT))
    assert {(run.config.train.epochs, run.fate) for run in planned.runs} == {
        (1, Fate.SHARED), (5, Fate.SHARED), (20, Fate.TRAINED)}  # fmt: skip
    linear = plan_runs(make_sweep("train.epochs=1,5,20", "hydra.sweeper.confirm_seeds=0"))
    assert linear.count(Fate.TRAINED) == 3


def test_a_plan_writes_nothing(make_sweep: MakeSweep, tmp_path: Path) -> None:
    plan_runs(make_sweep("peft.r=2,4"))
    assert not (tmp_path / "out").exists()
    train(make_sweep("peft.r=2,4"), 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan_runs(make_sweep("peft.r=2,4"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("dimension", "expected"), [
    (Dimension(choices=(1, 2, 9)), 2), (Dimension(low=1e-4, high=1e-2, log=True), 1e-3),
    (Dimension(low=0, high=1), 0.5), (Dimension(low=4, high=16, step=4, integer=True), 12),
    (Dimension(low=1, high=100, integer=True, log=True), 10),
])  # fmt: skip
def test_the_middle_of_an_axis(dimension: Dimension, expected: float) -> None:
    assert math.isclose(middle(dimension), expected)
    assert type(middle(dimension)) is type(expected)


def test_the_middle_of_a_conditional_space_lacks_what_does_not_hold_there() -> None:
    search = {"a": Dimension(choices=(1, 2, 3)), "b": Dimension(choices=(5,), when={"a": (1,)}),
              "c": Dimension(choices=(6,), when={"a": (2, 3)})}  # fmt: skip
    assert middle_point(Cell({}, search=search)) == {"a": 2, "c": 6}


def test_unknown_points_stand_in_the_middle(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("train.learning_rate=tag(log,interval(1e-4,1e-2))", "hydra.sweeper.n_trials=3")
    planned = plan_runs(sweep)
    assert planned.has_unknown_points
    assert [run.config.train.learning_rate for run in planned.runs] == pytest.approx([1e-3] * 4)  # one confirms
    assert len({run.name for run in planned.runs}) == 4
