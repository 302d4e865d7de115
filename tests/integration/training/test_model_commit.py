"""A model of the hub moves on: a run keeps the commit that it stands on, and is asked and gone on with at that one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants

from sweeper.config import RunConfig
from sweeper.tracking.mlflow_fields import MODEL_COMMIT, translate
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training import loop
from sweeper.training.data import run_splits
from sweeper.training.objective import Part
from sweeper.training.predictor import Predictor
from tests.integration.training.conftest import save_llama
from tests.integration.training.small_runs import (
    LORA,
    MakeConfig,
    folder_of,
    interrupt_after,
    predictions_of,
    reason_of,
    train_folders,
)

NAME = "someone/tiny"
FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The hub's cache with two commits of a model. Calling it moves `main`, for a worker that has loaded nothing."""
    cache = tmp_path / "hub"
    model = cache / f"models--{NAME.replace('/', '--')}"
    for seed, commit in enumerate((FIRST, SECOND)):
        (model / "snapshots" / commit).mkdir(parents=True)
        save_llama(model / "snapshots" / commit, seed=seed)
    (model / "refs").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def move(commit: str) -> None:
        (model / "refs" / "main").write_text(commit)
        loop.warm_base.drop()

    return move


def of_the_hub(config: RunConfig, name: str = "lora") -> RunConfig:
    config.model.path, config.model.hub_id = None, NAME
    config.peft = {"lora": LORA, "last_layer": {"name": name, "method": name, "layer": 0}}[name]
    return config


def texts_again(folder: RunFolder) -> list[str]:
    config = folder.settled_config()
    rows = run_splits(config, digest=folder.identity.data["digest"])[Part.TEST]
    return [str(answer["text"]) for answer in Predictor.load(config, folder.artifacts).answers(rows)]


@pytest.mark.parametrize("name", ["lora", "last_layer"])
def test_a_run_is_asked_on_the_weights_that_it_was_trained_on(
    make_config: MakeConfig, hub: Callable[[str], None], name: str
) -> None:
    hub(FIRST)
    folder = folder_of(of_the_hub(make_config(epochs=1.0), name))
    train_folders([folder])
    assert folder.state() is RunState.COMPLETE, reason_of(folder)
    assert folder.identity.config["model"]["revision"] is None
    assert folder.settled_config().model.revision == FIRST
    assert translate(folder.read()[0]).tags[MODEL_COMMIT] == FIRST
    hub(SECOND)
    frame = pd.read_parquet(folder.artifacts / "predictions.parquet")
    assert texts_again(folder) == frame["text"].str.strip().tolist()


def test_a_checkpoint_is_not_gone_on_with_on_other_weights(
    make_config: MakeConfig, hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(FIRST)
    whole, moved, back = (folder_of(of_the_hub(make_config(save_every=2)), root=Path(make_config().output_dir) / name)
                          for name in ("whole", "moved", "back"))  # fmt: skip
    train_folders([whole])
    for folder in (moved, back):
        interrupt_after(5, [folder], monkeypatch)
    train_folders([back])
    assert predictions_of(back) == predictions_of(whole)
    hub(SECOND)
    train_folders([moved])
    reason, detail = reason_of(moved)
    assert reason == "error"
    assert detail == f"model.revision={SECOND}: the run was begun at {FIRST}; model.revision={FIRST} takes that again"
    assert moved.model_commit() == FIRST


def test_an_earlier_adapter_is_not_put_on_other_weights(make_config: MakeConfig, hub: Callable[[str], None]) -> None:
    hub(FIRST)
    first = folder_of(of_the_hub(make_config(max_steps=2)))
    train_folders([first])
    config = of_the_hub(make_config(max_steps=2, seed=1))
    config.peft = {**config.peft, "start_from": first.run_id}
    same, other = (folder_of(replace(config, seed=seed)) for seed in (1, 2))
    train_folders([same])
    assert same.state() is RunState.COMPLETE, reason_of(same)
    hub(SECOND)
    train_folders([other])
    assert f"its first adapter was trained at {FIRST}" in reason_of(other)[1]


def test_of_a_local_folder_there_is_no_commit(make_config: MakeConfig) -> None:
    folder = folder_of(make_config(max_steps=1))
    train_folders([folder])
    assert folder.model_commit() is None
    assert folder.settled_config().to_dict() == folder.identity.config
