"""A checkpoint is whole or it is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from sweeper.training.checkpoint import Checkpoint, load_best, load_checkpoint, save_best, save_checkpoint, steps_kept


def trained() -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return layer, optimizer


def save(folder: Path, step: int, **progress: object) -> None:
    layer, optimizer = trained()
    weights = dict(layer.named_parameters())
    save_checkpoint(folder, step, Checkpoint(dict(weights), optimizer.state_dict(), {"step": step} | progress))


def newest(folder: Path) -> Checkpoint | None:
    kept = steps_kept(folder)
    return load_checkpoint(folder, kept[0]) if kept else None


def test_optimizer_state_comes_back_exactly(tmp_path: Path) -> None:
    save(tmp_path, 5)
    found = newest(tmp_path)
    assert found is not None
    _, optimizer = trained()
    expected = optimizer.state_dict()
    assert found.optimizer["param_groups"] == expected["param_groups"]
    for parameter, values in expected["state"].items():
        for name, value in values.items():
            assert torch.equal(found.optimizer["state"][parameter][name], value)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["remove", "truncate", "flip"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10)
    victim = tmp_path / "step-0000010" / name
    content = victim.read_bytes()
    if damage == "remove":
        victim.unlink()
    else:
        victim.write_bytes(
            content[: len(content) // 2]
            if damage == "truncate"
            else content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
        )
    found = newest(tmp_path)
    assert found is not None
    assert found.progress["step"] == 5


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_everything_is_on_the_disk_before_the_checkpoint_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.removeprefix("."))

    monkeypatch.setattr(os, "fsync", fsync)
    save(tmp_path, 5)
    named = synced.index(tmp_path.name)
    before = {name.rpartition(".")[0] if "json." in name else name for name in synced[:named]}
    assert before == {"weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json",
                      "step-0000005.partial"}  # fmt: skip


def test_an_unfinished_write_is_invisible(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / ".step-0000010.partial").mkdir()
    found = newest(tmp_path)
    assert found is not None
    assert found.progress["step"] == 5


def test_only_the_newest_two_and_the_best_they_name_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_best(tmp_path, step, {"w": torch.full((2,), float(step))})
        save(tmp_path, step, best_step=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-0000002", "step-0000002", "step-0000003"]
    assert load_best(tmp_path, 2)["w"].tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="missing"):
        load_best(tmp_path, 3)
