"""A group that is interrupted goes on in the same company, and ends with the very same bits."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sweeper.config import RunConfig
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training.checkpoint import steps_kept
from sweeper.training.control import Alone
from sweeper.training.group import common_step
from tests.integration.training.small_runs import MakeConfig, folder_of, interrupt_after, train_folders


@dataclass
class Together(Alone):
    together: bool = True


def unequal(make_config: MakeConfig) -> list[RunConfig]:
    """They leave after 6, 16 and 24 steps."""
    return [
        make_config({"r": 8, "lora_dropout": 0.2}, epochs=3.0, save_every=5),
        make_config({"r": 2}, epochs=2.0, save_every=7, seed=1),
        make_config({"r": 4}, epochs=3.0, max_steps=6, save_every=5, seed=2),
    ]


def unfinished(folders: list[RunFolder]) -> list[RunFolder]:
    return [folder for folder in folders if folder.state() is not RunState.COMPLETE]


def assert_same_bits(ours: RunFolder, others: RunFolder) -> None:
    mine, theirs = (load_file(one.artifacts / "adapter" / "adapter_model.safetensors") for one in (ours, others))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert ours.summary()["train/loss_last"] == others.summary()["train/loss_last"]


@pytest.mark.parametrize("steps", [1, 5, 6, 7, 9, 14, 15, 16, 17, 23])
def test_interruption_changes_no_bit(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    whole = [folder_of(config, root=tmp_path / "whole") for config in unequal(make_config)]
    train_folders(whole, control=Together())
    folders = [folder_of(config, root=tmp_path / "cut") for config in unequal(make_config)]
    interrupt_after(steps, folders, monkeypatch, control=Together())
    train_folders(unfinished(folders), control=Together())
    for ours, others in zip(folders, whole, strict=True):
        assert ours.state() is RunState.COMPLETE
        assert_same_bits(ours, others)


def test_members_go_on_from_the_newest_step_that_all_have(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [folder_of(config, root=tmp_path / "whole") for config in unequal(make_config)]
    train_folders(whole, control=Together())
    folders = [folder_of(config, root=tmp_path / "cut") for config in unequal(make_config)]
    interrupt_after(11, folders, monkeypatch, control=Together())
    first, second, _ = folders
    assert unfinished(folders) == [first, second]
    assert steps_kept(first.checkpoints) == steps_kept(second.checkpoints) == [10, 7], "all, when one of them is due"
    shutil.rmtree(first.checkpoints / "step-0000010")  # as if the kill had come between two of them
    assert common_step([first, second]) == 7
    train_folders([first, second], control=Together())
    for ours, others in zip(folders, whole, strict=True):
        assert_same_bits(ours, others)


def test_who_stays_is_kept_before_another_leaves(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [folder_of(config, root=tmp_path) for config in unequal(make_config)]
    interrupt_after(6, folders, monkeypatch, control=Together())
    assert folders[2].state() is RunState.COMPLETE
    assert steps_kept(folders[0].checkpoints)[0] == steps_kept(folders[1].checkpoints)[0] == 6


def test_group_without_a_common_step_starts_afresh(make_config: MakeConfig, tmp_path: Path) -> None:
    folders = [folder_of(config, root=tmp_path) for config in unequal(make_config)]
    assert common_step(folders) == 0
