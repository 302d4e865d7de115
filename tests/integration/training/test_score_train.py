"""task.score_train: the training rows measured beside the selection split, at the same steps, each point once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sweeper.tracking.run_folder import RunFolder, RunState
from tests.integration.training.small_runs import (
    MakeConfig,
    assert_same,
    events_of,
    folder_of,
    interrupt_after,
    train_folders,
)


def steps_of(folder: RunFolder, name: str) -> list[int]:
    return [step for step, logged, _ in events_of(folder) if logged == name]


def fit(**task: Any) -> dict[str, Any]:
    return {"score_train": True, "train_size": 40, **task}


def test_the_training_rows_have_a_point_wherever_the_selection_split_has_one(make_config: MakeConfig) -> None:
    config = make_config(task=fit(), eval_every="epoch", learning_rate=2e-2)
    folder = folder_of(config)
    train_folders([folder])
    assert steps_of(folder, "fit/loss") == steps_of(folder, "eval/loss") == [5, 10, 15]
    assert steps_of(folder, "fit/accuracy") == steps_of(folder, "eval/accuracy") == [5, 10, 15]
    assert folder.summary()["fit/loss"] < {step: value for step, name, value in events_of(folder)
                                           if name == "fit/loss"}[5]  # fmt: skip
    assert (folder.artifacts / "learning_curves.png").stat().st_size > 1000


def test_they_are_measured_at_the_end_where_there_is_no_selection_split(make_config: MakeConfig) -> None:
    folder = folder_of(make_config(task=fit(selection_size=0), eval_every="epoch"))
    train_folders([folder])
    assert steps_of(folder, "fit/loss") == [15]
    assert not steps_of(folder, "eval/loss")
    assert not (folder.artifacts / "learning_curves.png").exists()


def test_without_the_key_nothing_is_measured_on_them(make_config: MakeConfig) -> None:
    folder = folder_of(make_config(task=fit(score_train=False), eval_every="epoch"))
    train_folders([folder])
    assert not [name for _, name, _ in events_of(folder) if name.startswith("fit/")]


def test_they_are_scored_by_the_weights_that_are_kept(make_config: MakeConfig) -> None:
    config = make_config(task=fit(test_size="full"), eval_every=2, load_best_model_at_end=True, learning_rate=3e-2,
                         metric_for_best_model="eval/loss")  # fmt: skip
    folder = folder_of(config)
    train_folders([folder])
    assert steps_of(folder, "fit/loss") == steps_of(folder, "eval/loss") == [*range(2, 15, 2), 15]
    by_step = {step: value for step, name, value in events_of(folder) if name == "eval/loss"}
    fitted = {step: value for step, name, value in events_of(folder) if name == "fit/loss"}
    best = min(by_step, key=by_step.__getitem__)
    assert fitted[15] == pytest.approx(fitted[best], rel=1e-5)


def test_a_group_whose_members_differ_in_their_rows_measures_each_its_own(make_config: MakeConfig) -> None:
    tasks = [fit(), fit(train_size=24), fit(train_size=16)]
    together = [folder_of(make_config(task=task, eval_every="epoch", dtype="float64")) for task in tasks]
    train_folders(together)
    for folder, task in zip(together, tasks, strict=True):
        alone = folder_of(make_config(task=task, eval_every="epoch", dtype="float64"), root=folder.path / "alone")
        train_folders([alone])
        assert_same(folder, alone)


def test_an_interruption_doubles_no_point(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(task=fit(), eval_every=3, save_every=2)
    whole = folder_of(config)
    train_folders([whole])
    broken = folder_of(config, root=whole.path / "broken")
    interrupt_after(7, [broken], monkeypatch)
    train_folders([broken])
    assert_same(broken, whole)


def test_a_reading_has_the_points_of_the_longer_run(make_config: MakeConfig) -> None:
    settings = {"task": fit(), "eval_every": "epoch", "lr_scheduler_type": "constant"}
    longer, reading = (folder_of(make_config(epochs=epochs, **settings)) for epochs in (3.0, 2.0))
    train_folders([longer], readings=[reading])
    assert reading.state() is RunState.COMPLETE
    assert steps_of(reading, "fit/loss") == steps_of(reading, "eval/loss") == [5, 10]
    rows = [json.loads((folder.artifacts / "weight_updates.json").read_text()) for folder in (longer, reading)]
    assert rows[0] != rows[1]


def test_a_zero_shot_run_measures_them_once(make_config: MakeConfig) -> None:
    config = dataclasses.replace(make_config(task=fit()), peft={"name": "none", "method": "none"})
    folder = folder_of(config)
    train_folders([folder])
    assert steps_of(folder, "fit/accuracy") == steps_of(folder, "eval/accuracy") == [0]
