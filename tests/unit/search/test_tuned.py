"""Values for a model and a method together: conf/tuned/<model>-<method>.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from sweeper.__main__ import open_hydra
from sweeper.search.compose import Composer
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]
CONF = Path(__file__).resolve().parents[3] / "conf"
PAIRS = sorted(path.stem for path in (CONF / "tuned").glob("*.yaml"))


@pytest.mark.parametrize(
    ("peft", "rate"),
    [
        ("lora", 3e-4), ("qlora", 3e-4), ("dora", 3e-4), ("last_layer", 1e-3), ("full", 5e-4),
        ("ia3", 3e-3), ("prompt_tuning", 3e-2),
    ],
)  # fmt: skip
def test_each_method_has_its_own_learning_rate_with_mini(loader: ConfigLoader, peft: str, rate: float) -> None:
    train = Composer(loader, "config", []).composition({"peft": peft}).config({}).train
    assert (train.learning_rate, train.min_steps, train.row_tokens) == (rate, 250, 256)


def test_a_model_without_tuned_values_keeps_the_methods_own(loader: ConfigLoader) -> None:
    composer = Composer(loader, "config", [])
    rates = {
        peft: composer.composition({"model": "llama_3_2_1b", "peft": peft}).config({}).train.learning_rate
        for peft in ("lora", "full", "ia3")
    }
    assert rates == {"lora": 2e-4, "full": 2e-5, "ia3": 3e-3}


def test_swept_models_and_methods_have_the_values_of_their_pair(make_sweep: MakeSweep, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    sweep = make_sweep("model=mini,llama_3_2_1b", "peft=lora,full", f"model.path={tmp_path}")
    rates = {(cell.values["model"], cell.values["peft"]): sweep.config(cell, {}).train.learning_rate
             for cell in sweep.space.cells}  # fmt: skip
    assert rates == {("mini", "lora"): 3e-4, ("mini", "full"): 5e-4,
                     ("llama_3_2_1b", "lora"): 2e-4, ("llama_3_2_1b", "full"): 2e-5}  # fmt: skip


def test_the_command_line_wins(make_sweep: MakeSweep) -> None:
    assert make_sweep("peft=full", "train.learning_rate=7e-4", is_sweep=False).base.train.learning_rate == 7e-4


def test_a_method_that_an_experiment_chooses_counts(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "model").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /peft: full\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "model" / "own.yaml").write_text("name: own\nembedded: true\n", encoding="utf-8")
    loader = open_hydra(str(tmp_path)).config_loader
    GlobalHydra.instance().clear()
    composer = Composer(loader, "config", ["experiment=mine"])
    assert composer.composition({}).config({}).train.learning_rate == 5e-4
    assert composer.composition({"model": "own"}).config({}).train.learning_rate == 2e-5


def test_every_tuned_file_names_a_model_and_a_method() -> None:
    pairs = {f"{model.stem}-{peft.stem}" for model in (CONF / "model").glob("*.yaml")
             for peft in (CONF / "peft").glob("*.yaml")}  # fmt: skip
    assert PAIRS
    assert set(PAIRS) <= pairs
