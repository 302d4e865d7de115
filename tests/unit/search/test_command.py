from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader

from sweeper.checks import ConfigError
from sweeper.search import overrides as command_line
from sweeper.search.command import read_command
from sweeper.search.plan import plan_text
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]


def test_a_sweep_takes_the_axes_that_the_task_declares(loader: ConfigLoader) -> None:
    sweep = read_command(["task=sst2", "task.data.source=demo", "peft=qlora"], loader, is_sweep=True)
    assert sweep.space.design == {"task.train_size": [100, 1000, 10000, "full"]}


def test_the_command_line_wins_over_a_declared_axis(make_sweep: MakeSweep) -> None:
    assert make_sweep("task.train_size=10").space.design == {}
    assert make_sweep("task.train_size=10,30").space.design == {"task.train_size": [10, 30]}


def test_only_a_sweep_of_an_experiment_has_a_name_of_one_word(make_sweep: MakeSweep) -> None:
    """By which `analysis` knows it."""
    assert make_sweep("experiment=sst2_data_size").name == "sst2_data_size"
    for command in ([], ["peft.r=4,8"], ["model=mini,tfidf_svm", "peft=full"], ["peft=lora,qlora"]):
        assert " " in make_sweep(*command).name


def test_a_single_run_takes_no_declared_axis(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("task.train_size=full", is_sweep=False)
    assert (sweep.num_trials, sweep.base.task.train_size) == (1, "full")


def test_one_run_of_an_experiment_says_that_it_is_no_sweep(make_sweep: MakeSweep) -> None:
    experiment = ("experiment=llama3_1b_sst2_vs_zero_shot", "model=mini", "task=sst2")
    note = "experiment=llama3_1b_sst2_vs_zero_shot declares the axes peft; this is one run, add -m for the sweep"
    assert make_sweep(*experiment, is_sweep=False).notes == [note]
    assert f"  note    {note}" in plan_text(make_sweep(*experiment, is_sweep=False)).splitlines()
    assert make_sweep(*experiment, "peft=lora", is_sweep=False).notes == []
    assert note not in make_sweep(*experiment).notes
    assert make_sweep("task=sst2", is_sweep=False).notes == []


def test_each_composition_brings_its_own_values(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft=lora,full", "model=mini")
    rates = {cell.values["peft"]: sweep.config(cell, {}) for cell in sweep.space.cells}
    assert rates["lora"].peft["r"] == 16
    assert "r" not in rates["full"].peft


def test_glob_names_choices_of_a_group(make_sweep: MakeSweep) -> None:
    assert make_sweep("peft=glob(*ora)").space.design == {"peft": ["dora", "lora", "qlora"]}


def test_a_value_is_set_whether_or_not_a_file_has_the_key(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft.use_rslora=true", "+peft.r=2", "train.optimizer_args.amsgrad=true", is_sweep=False)
    assert sweep.base.peft["use_rslora"] is True
    assert sweep.base.peft["r"] == 2
    assert sweep.base.train.optimizer_args == {"amsgrad": True}


def test_an_interpolation_follows_the_values_of_the_run(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft.lora_alpha=${peft.r}", "peft.r=2,4")
    (cell,) = sweep.space.cells
    assert [sweep.config(cell, {"peft.r": rank}).peft["lora_alpha"] for rank in (2, 4)] == [2, 4]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["peft=lora,qlroa"], "peft=qlroa: no such choice; did you mean 'qlora'?"),
        (["model=null"], "model=null: no such choice; choices: "),
        (["pft=lora"], "pft=lora: no such config group or key; did you mean 'peft'?"),
        (["learning_rate=1"], "did you mean 'train.learning_rate'?"),
        (["peft.rr=4"], "peft.rr=4: unknown key for peft.type=LORA; did you mean 'r'?"),
        (["peft.r=0,4"], "peft.r=0: must be a positive whole number"),
        (["peft.lora_alpha=abc"], "peft.lora_alpha=abc: must be a number"),
        (
            ["train.learning_rate=interval(-1,1)", "hydra.sweeper.n_trials=2"],
            "train.learning_rate=-1.0: must be greater than 0",
        ),
        (["train.learning_rate=interval(0.1,1)"], "hydra.sweeper.n_trials=None: train.learning_rate is searched over"),
        (["task.train_size=10,50"], "task.train_size=50: larger than the data (60 rows less 20 held out"),
        (["task.selection_size=60"], "task.train_size=20: no rows are left"),
        (["task.test_size=11"], "task.test_size=11: larger than the data (10 rows); at most 10, or full"),
        (["hydra.sweeper.sampler=tpee"], "did you mean 'tpe'?"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be at least 1"),
        (["hydra.sweeper.n_trails=3"], "did you mean 'hydra.sweeper.n_trials'?"),
        (["hydra.sweeper.n_trials=3,4"], "how the sweep itself works cannot be swept"),
        (["hydra.sweeper.params={peft.r:'1,2'}"], "axes are given as overrides"),
        (["hydra.sweeper.objective=test/accuracy"], "the reporting split must not choose anything; use eval/accuracy"),
        (["hydra.sweeper.objective=eval/acuracy"], "did you mean 'eval/accuracy'?"),
        (["hydra.launcher.slots=0"], "hydra.launcher.slots=0: must be at least 1"),
        (["hydra.run.dir=elsewhere"], "Hydra's own workings are fixed here"),
        (["hydra.job_logging.version=1"], "Hydra's own workings are fixed here"),
        (["hydra/sweeper=basic"], "hydra/sweeper=basic: not this project's sweeper; use hydra/sweeper=optuna"),
        (["+train.optimizer_args._target_=os.system"], "a config never names code to call; remove the key"),
        (["train.optimizer_args={_target_:os.system}"], "a config never names code to call; remove the key"),
        (["+hydra.callbacks.x._target_=os.system"], "a config never names code to call; remove the key"),
        (["~seed"], "keys and groups are not deleted here"),
        (["seed=1,2", "replicates=2"], "the seeds are listed already"),
        (["seed=1,-2"], "seed=-2: must be a whole number in"),
        (["task.train_size=[1"], "task.train_size=[1: cannot be read"),
        (["justtext"], "an override is written key=value"),
        (["seed=1", "seed=2"], "given twice on the command line"),
    ],
)
def test_a_wrong_command_is_refused_with_its_fix(
    make_sweep: MakeSweep, loader: ConfigLoader, overrides: list[str], message: str
) -> None:
    def command() -> None:
        command_line.check(command_line.parse(overrides, loader), loader, is_sweep=True)
        make_sweep(*overrides)

    with pytest.raises(ConfigError, match=re.escape(message)):
        command()


def test_several_values_without_m_are_refused(loader: ConfigLoader) -> None:
    with pytest.raises(ConfigError, match="several values are a sweep; add -m"):
        command_line.check(command_line.parse(["peft.r=1,2"], loader), loader, is_sweep=False)


def test_a_plan_names_axes_cells_runs_and_data(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("task.train_size=10,full", "seed=1,2", "peft.r=2,4")
    text = plan_text(sweep)
    assert "design  task.train_size: 10, full" in text
    assert "search  peft.r: 2, 4" in text
    assert "2 cells, 4 trials, 8 runs; nothing was trained and nothing was written" in text
    assert "train.tsv" in text
    assert sweep.sweep_id in text


def test_a_run_is_composed_in_well_under_5_ms_after_the_first(make_sweep: MakeSweep) -> None:
    import time

    sweep = make_sweep("peft.r=range(1,200)")
    (cell,) = sweep.space.cells
    start = time.process_time()
    for rank in range(1, 101):
        sweep.config(cell, {"peft.r": rank})
    assert (time.process_time() - start) / 100 < 0.005


def test_other_weights_under_the_embedded_models_name_never_see_demo_data(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "config.json").write_text("{}")
    assert make_sweep("data_dir=null").data.summaries()[0].startswith("embedded demo reviews")
    with pytest.raises(ConfigError, match="no data for task"):
        make_sweep("data_dir=null", f"model.path={tmp_path}")
