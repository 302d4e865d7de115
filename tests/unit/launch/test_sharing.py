"""Which runs are the same run, read at another epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeper.config import RunConfig
from sweeper.launch.sharing import share_key
from sweeper.train_config import TrainConfig

LORA = {"name": "lora", "method": "adapter", "type": "LORA"}
CONSTANT = TrainConfig(lr_scheduler_type="constant")


def config(peft: dict[str, Any] = LORA, **train: Any) -> RunConfig:
    return RunConfig(peft=dict(peft), train=replace(CONSTANT, **train))


def test_runs_that_differ_in_epochs_only_share() -> None:
    assert share_key(config(epochs=1)) == share_key(config(epochs=50)) is not None


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"batch_size": 8}, {"max_steps": 7}])
def test_any_other_difference_keeps_runs_apart(change: dict[str, Any]) -> None:
    assert share_key(config(epochs=1)) != share_key(config(epochs=50, **change))


@pytest.mark.parametrize("change", [
    {"lr_scheduler_type": "linear"},
    {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.1},
    {"early_stopping_patience": 2, "eval_every": "epoch"},
    {"load_best_model_at_end": True, "eval_every": "epoch"},
])  # fmt: skip
def test_course_that_hangs_on_its_length_is_not_shared(change: dict[str, Any]) -> None:
    assert share_key(config(**change)) is None


def test_warmup_of_so_many_steps_is_shared() -> None:
    assert share_key(config(lr_scheduler_type="constant_with_warmup", warmup_steps=10)) is not None


def test_run_that_trains_nothing_is_not_shared() -> None:
    assert share_key(config(peft={"name": "none", "method": "none"})) is None
