"""Which axes a cell has, and how many cells a person may ask for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from sweeper.checks import ConfigError
from sweeper.search.plan import plan_text
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]
ZERO_SHOT = "peft=none trains nothing: task.train_size does not multiply its runs"


def points(sweep: Sweep) -> list[dict[str, object]]:
    return [cell.values | point for cell in sweep.space.cells for point in cell.points()]


def test_a_zero_shot_evaluation_has_no_training_size(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft=none,qlora", "task.train_size=10,20,30,full")
    sizes = [10, 20, 30, "full"]
    assert points(sweep) == [{"peft": "none"}, *({"peft": "qlora", "task.train_size": size} for size in sizes)]
    assert sweep.config(sweep.space.cells[0], {}).task.train_size == "full"
    assert f"  note    {ZERO_SHOT}" in plan_text(sweep).splitlines()
    assert "5 cells, 5 trials, 5 runs" in plan_text(sweep)


def test_the_size_axis_that_a_task_declares_collapses_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    from sweeper.__main__ import main

    assert main(["peft=none,qlora", "-m", "plan=true", "task.data.source=demo"]) == 0
    planned = capsys.readouterr().out
    assert "5 cells, 5 trials, 5 runs" in planned
    assert ZERO_SHOT in planned
    assert main(["peft=none", "-m", "plan=true", "task.data.source=demo"]) == 0
    assert "1 cell, 1 trial, 1 run;" in capsys.readouterr().out


def test_what_is_trained_with_is_no_axis_of_a_zero_shot_evaluation(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft=none,lora", "train.learning_rate=interval(1e-5,1e-3)", "hydra.sweeper.n_trials=5")
    assert [sweep.num_points(cell) for cell in sweep.space.cells] == [1, 5]


def test_replicates_and_other_axes_stay_with_a_zero_shot_evaluation(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft=none", "seed=1,2", "task.max_length=tag(design,choice(64,128))")
    assert points(sweep) == [{"task.max_length": 64}, {"task.max_length": 128}]
    assert sweep.space.seeds == (1, 2)
    assert sweep.space.notes == []


def test_an_axis_that_a_method_does_not_have_is_none_of_its_cells(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft=none,full,lora,dora", "peft.r=4,16")
    assert points(sweep) == [
        {"peft": "none"}, {"peft": "full"}, {"peft": "lora", "peft.r": 4}, {"peft": "lora", "peft.r": 16},
        {"peft": "dora", "peft.r": 4}, {"peft": "dora", "peft.r": 16},
    ]  # fmt: skip
    assert sweep.space.notes == [f"peft={name} has no such key: peft.r does not multiply its runs"
                                 for name in ("none", "full")]  # fmt: skip


def test_a_layer_is_an_axis_of_the_last_layer_only(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft=lora,last_layer", "peft.layer=0,1")
    assert points(sweep) == [{"peft": "lora"}, {"peft": "last_layer", "peft.layer": 0},
                             {"peft": "last_layer", "peft.layer": 1}]  # fmt: skip


def test_cells_of_different_axes_are_asked_and_told_alike(make_sweep: MakeSweep) -> None:
    from tests.unit.search.test_study import finish

    space = ("peft=none,lora", "peft.r=2,4", "task.train_size=10,20")
    with make_sweep(*space) as sweep:
        trials = finish(sweep, limit=2)
    with make_sweep(*space) as again:
        trials += finish(again)
    assert len(trials) == again.num_finished == 5
    assert {(trial.cell["peft"], trial.runs[0].task.train_size) for trial in trials} == {
        ("none", "full"), ("lora", 10), ("lora", 20)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["peft=none,full,dora", "peft.rr=4,16"], "peft.rr=4: unknown key for peft.type=LORA; did you mean 'r'?"),
        (["peft=none,full", "peft.r=4,16"], "peft.r=4: unknown key for peft.method=none"),
        (["peft=lora", "peft.layer=0,1"], "peft.layer=0: unknown key for peft.type=LORA"),
    ],
)
def test_a_key_that_no_method_has_is_refused(make_sweep: MakeSweep, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=range(0,1000000000)"], "seed=1,000,000,000 values: this sweep has 1,000,000,000 runs, more than"),
        (["replicates=1000000000"], "replicates=1,000,000,000 values: this sweep has"),
        (["peft.r=range(1,201)", "peft.lora_alpha=range(1,101)"], "peft.r=200 values: this sweep has 20,000 runs"),
        (["peft.r=range(1,20001)"], "give fewer, sample them with hydra.sweeper.n_trials=<n>, or raise that limit"),
        (["train.weight_decay=range(0,1.5,0.0001)"], "train.weight_decay=15,000 values"),
        (["train.learning_rate=interval(0.1,1)", "hydra.sweeper.n_trials=20000"], "hydra.sweeper.n_trials=20,000 "),
        (["peft.r=2,4,8", "hydra.sweeper.max_runs=2"], "this sweep has 3 runs, more than hydra.sweeper.max_runs=2; "),
        (["peft=lora,dora", "seed=1,2", "hydra.sweeper.max_runs=3"], "this sweep has 4 runs"),
    ],
)
def test_a_grid_that_must_be_a_slip_is_refused_at_once(
    make_sweep: MakeSweep, overrides: list[str], message: str
) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep(*overrides)
    assert time.process_time() - began < 1


def test_a_grid_within_the_limit_passes(make_sweep: MakeSweep) -> None:
    assert make_sweep("peft.r=2,4,8", "hydra.sweeper.max_runs=3").num_trials == 3
    assert make_sweep("peft.r=range(1,200)", "hydra.sweeper.n_trials=3", "hydra.sweeper.max_runs=3").num_trials == 3


def test_a_plan_abbreviates_long_lists(make_sweep: MakeSweep) -> None:
    choices = ",".join(str(number / 1000) for number in range(1, 101))
    lines = plan_text(make_sweep("seed=range(0,2000)", f"train.weight_decay={choices}", "hydra.sweeper.n_trials=2"))
    assert "  seeds   0, 1, ..., 1999 (2,000 values)" in lines
    assert "  search  train.weight_decay: 0.001, 0.002, ..., 0.1 (100 values)" in lines
    assert max(map(len, lines.splitlines())) < 300
