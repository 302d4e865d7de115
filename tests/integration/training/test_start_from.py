"""Runs that go on from an earlier adapter: its weights at the start, alone, in a group, in four bits, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.tracking import earlier_adapter
from sweeper.tracking.run_folder import RunFolder, RunState
from tests.integration.training.small_runs import (
    MakeConfig,
    assert_same,
    events_of,
    folder_of,
    interrupt_after,
    predictions_of,
    reason_of,
    train_folders,
)

STILL = {"learning_rate": 1e-30, "max_steps": 1}  # a step that moves nothing
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "nf4": {"quantization": {"type": "nf4"}},
    "dora": {"use_dora": True},
}


def trained(config: Any, root: Path) -> RunFolder:
    folder = folder_of(config, root=root)
    train_folders([folder])
    assert folder.state() is RunState.COMPLETE, folder.last("finished")
    return folder


def from_(folder: RunFolder) -> dict[str, Any]:
    return {"start_from": folder.run_id, "start_digest": earlier_adapter.digest(folder.artifacts / "adapter")}


def weights_of(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.artifacts / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("name", METHODS)
def test_without_a_further_step_it_is_the_earlier_run(make_config: MakeConfig, tmp_path: Path, name: str) -> None:
    peft = METHODS[name]
    first = trained(make_config(peft), tmp_path)
    again = trained(make_config(peft | from_(first), seed=1, **STILL), tmp_path)
    assert predictions_of(again) == predictions_of(first)
    assert again.summary()["test/loss"] == pytest.approx(first.summary()["test/loss"], rel=1e-5)
    for key, weight in weights_of(first).items():
        assert torch.allclose(weights_of(again)[key], weight, atol=1e-7), key


def test_training_goes_on_from_there(make_config: MakeConfig, tmp_path: Path) -> None:
    first = trained(make_config(), tmp_path)
    on = trained(make_config(from_(first)), tmp_path)
    afresh = trained(make_config(seed=3), tmp_path)
    starts = [folder.summary()["train/loss_first"] for folder in (on, afresh)]
    assert starts[0] < 0.7 * starts[1]
    assert on.summary()["train/loss_last"] < first.summary()["train/loss_last"]


def test_runs_of_a_group_go_on_from_different_adapters(make_config: MakeConfig, tmp_path: Path) -> None:
    firsts = [trained(make_config(seed=seed, dtype="float64"), tmp_path) for seed in (0, 1)]
    configs = [make_config(peft, seed=7, dtype="float64") for peft in (from_(firsts[0]), from_(firsts[1]), {})]
    together = [folder_of(config, root=tmp_path) for config in configs]
    train_folders(together)
    for folder, config in zip(together, configs, strict=True):
        (folder.path / "alone" / "runs").mkdir(parents=True)
        for first in firsts:
            (folder.path / "alone" / "runs" / first.run_id).symlink_to(first.path)
        assert_same(folder, trained(config, folder.path / "alone"))
    assert len({folder.summary()["train/loss_first"] for folder in together}) == 3


def test_a_resumed_run_goes_on_from_its_own_checkpoint(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(make_config(), tmp_path)
    config = make_config(from_(first), seed=2, save_every=2)
    whole = trained(config, tmp_path)
    (tmp_path / "broken" / "runs").mkdir(parents=True)
    (tmp_path / "broken" / "runs" / first.run_id).symlink_to(first.path)
    broken = folder_of(config, root=tmp_path / "broken")
    interrupt_after(7, [broken], monkeypatch)
    train_folders([broken])
    started = broken.last("started")
    assert started is not None
    assert started["resumed_from_step"] == 6
    assert_same(broken, whole)


def test_a_head_beside_the_adapter_comes_with_it(make_config: MakeConfig, tmp_path: Path) -> None:
    first = trained(make_config(task={"head": True}), tmp_path)
    again = trained(make_config(from_(first), seed=5, task={"head": True}, **STILL), tmp_path)
    assert again.summary()["test/loss"] == pytest.approx(first.summary()["test/loss"], rel=1e-5)


def test_the_update_is_told_against_the_base_model(make_config: MakeConfig, tmp_path: Path) -> None:
    first = trained(make_config(), tmp_path)
    again = trained(make_config(from_(first), seed=1, **STILL), tmp_path)
    name = "weight_updates.json"
    assert (again.artifacts / name).read_text() == (first.artifacts / name).read_text()


def test_an_adapter_of_other_shapes_fails_this_run_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    first = trained(make_config(), tmp_path)
    folders = [folder_of(config, root=tmp_path) for config in (
        make_config(from_(first) | {"r": 2}), make_config(from_(first) | {"target_modules": ["q_proj"]}),
        make_config(seed=1))]  # fmt: skip
    train_folders(folders)
    assert "and this run (2, 64)" in reason_of(folders[0])[1]
    assert "and this run nothing" in reason_of(folders[1])[1]
    assert folders[2].state() is RunState.COMPLETE
    assert events_of(folders[2])


def test_weights_that_are_others_than_planned_fail_the_run(make_config: MakeConfig, tmp_path: Path) -> None:
    first = trained(make_config(), tmp_path)
    folder = folder_of(make_config(from_(first), seed=1), root=tmp_path)
    changed = {name: weight + 1 for name, weight in weights_of(first).items()}
    save_file(changed, first.artifacts / "adapter" / "adapter_model.safetensors")
    train_folders([folder])
    assert "is another one than when it was planned" in reason_of(folder)[1]
