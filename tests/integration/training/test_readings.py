"""A shorter run read on a longer one's way is that shorter run, and costs the longer one nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import RunConfig
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training.results import Finisher
from sweeper.training.run import Run
from tests.integration.training.small_runs import (
    MakeConfig,
    Script,
    assert_same,
    events_of,
    folder_of,
    interrupt_after,
    pruned,
    reason_of,
    train_folders,
)

# 8 steps an epoch: the readings are at steps 8 and 12, between two points of the curve, the second at an evaluation.
EPOCHS = (3.0, 1.0, 1.5)


@pytest.fixture
def family(make_config: MakeConfig) -> Callable[..., list[RunConfig]]:
    """A longer run and its readings."""

    def configs(peft: dict[str, Any] | None = None, **train: Any) -> list[RunConfig]:
        options = {"dtype": "float64", "lr_scheduler_type": "constant", "logging_steps": 5, "eval_every": 6,
                   "save_every": 5} | train  # fmt: skip
        return [make_config(peft, epochs=epochs, **options) for epochs in EPOCHS]

    return configs


def folders_of(configs: Sequence[RunConfig], root: Path) -> list[RunFolder]:
    return [folder_of(config, root=root) for config in configs]


def assert_as_alone(folders: Sequence[RunFolder], configs: Sequence[RunConfig], root: Path) -> None:
    for ours, theirs in zip(folders, folders_of(configs, root / "alone"), strict=True):
        train_folders([theirs])
        assert_same(ours, theirs)
        points = [point[:2] for point in events_of(ours)]
        assert len(points) == len(set(points)), "no point is doubled"


def ends(folder: RunFolder) -> list[str]:
    return [event["state"] for event in folder.read()[0] if event["event"] == "finished"]


@pytest.mark.parametrize("peft", [{"lora_dropout": 0.2}, {"use_dora": True}], ids=["lora", "dora"])
def test_a_reading_is_the_run_that_it_stands_for(
    family: Callable[..., list[RunConfig]], tmp_path: Path, peft: dict[str, Any]
) -> None:
    configs = family(peft)
    longest, *readings = folders = folders_of(configs, tmp_path / "shared")
    train_folders([longest], readings=list(reversed(readings)))
    assert_as_alone(folders, configs, tmp_path)
    for reading in readings:
        events, _ = reading.read()
        tags = [event["values"] for event in events if event["event"] == "tags"]
        assert tags == [{"sweeper.shared_with": longest.run_id}]
        assert reading.summary()["perf/train_s"] < longest.summary()["perf/train_s"]
        times = {event["time"] for event in longest.read()[0] if event["event"] == "metrics"}
        copied = [event["time"] for event in events if event["event"] == "metrics" and event["step"] < 8]
        assert copied
        assert set(copied) <= times
        assert not reading.checkpoints.exists()


def test_a_neighbour_does_not_notice_readings(family: Callable[..., list[RunConfig]], tmp_path: Path) -> None:
    (longest, *_), others = family(), family({"r": 8}, seed=1)
    folders = folders_of(others, tmp_path / "shared")
    beside = folder_of(longest, root=tmp_path / "shared")
    train_folders([folders[0], beside], readings=folders[1:])
    assert_as_alone([*folders, beside], [*others, longest], tmp_path)


# Checkpoints are at 5, 10, 15 and 20. Killed after 9 the first reading is finished, and read again by nobody;
# after 13 the second is finished too, though the run goes back to before it.
@pytest.mark.parametrize("killed_after", [3, 9, 13, 17])
def test_a_killed_and_resumed_run_leaves_the_same_readings(
    family: Callable[..., list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    configs = family({"lora_dropout": 0.2})
    longest, *readings = folders = folders_of(configs, tmp_path / "shared")
    interrupt_after(killed_after, [longest], monkeypatch, readings=readings)
    train_folders([longest], readings=readings)
    assert [ends(folder) for folder in folders] == [["COMPLETE"]] * 3
    assert_as_alone(folders, configs, tmp_path)


def test_a_reading_that_was_cut_short_is_read_again(
    family: Callable[..., list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = family()
    longest, *readings = folders = folders_of(configs, tmp_path / "shared")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt  # unwinds like a signal: nothing catches it

    with monkeypatch.context() as once:
        once.setattr(Finisher, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            train_folders([longest], readings=readings)
    assert readings[0].state() is RunState.UNFINISHED
    assert events_of(readings[0]), "its curve is there, its end is not"
    train_folders([longest], readings=readings)
    assert_as_alone(folders, configs, tmp_path)


def test_a_reading_that_lies_behind_the_checkpoint_is_left_to_itself(
    family: Callable[..., list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest, missed, ahead = folders_of(family(), tmp_path)
    interrupt_after(11, [longest], monkeypatch)
    train_folders([longest], readings=[missed, ahead])
    assert (missed.state(), missed.read()[0]) == (RunState.UNFINISHED, [])
    assert ahead.state() is longest.state() is RunState.COMPLETE
    train_folders([missed])
    assert missed.state() is RunState.COMPLETE


def test_a_run_that_leaves_before_its_readings_leaves_them_unfinished(
    family: Callable[..., list[RunConfig]], tmp_path: Path
) -> None:
    longest, reached, missed = folders_of(family(), tmp_path)
    train_folders([longest], readings=[reached, missed], control=Script(leaving={9: pruned(longest)}))
    assert [folder.state().value for folder in (longest, reached, missed)] == ["PRUNED", "COMPLETE", "UNFINISHED"]


def test_a_verdict_comes_after_the_reading_of_the_same_step(
    family: Callable[..., list[RunConfig]], tmp_path: Path
) -> None:
    longest, *readings = folders_of(family(), tmp_path)
    train_folders([longest], readings=readings, control=Script(verdicts=[{}, pruned(longest)]))
    assert [folder.state().value for folder in (longest, *readings)] == ["PRUNED", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("where", ["_write", "read_from"])
def test_a_reading_that_fails_fails_alone(
    family: Callable[..., list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    configs = family()
    longest, unlucky, sane = folders_of(configs, tmp_path / "shared")
    owner: Any = Finisher if where == "_write" else Run
    whole = getattr(owner, where)

    def broken(self: Any, *arguments: Any) -> Any:
        run = arguments[0] if where == "_write" else self
        if run.folder.run_id == unlucky.run_id:
            raise OSError(13, "Permission denied")
        return whole(self, *arguments)

    with monkeypatch.context() as during:
        during.setattr(owner, where, broken)
        train_folders([longest], readings=[unlucky, sane])
    assert reason_of(unlucky) == ("error", "PermissionError: [Errno 13] Permission denied")
    assert_as_alone([longest, sane], [configs[0], configs[2]], tmp_path)


def test_a_run_that_is_no_reading_is_not_taken_for_one(
    family: Callable[..., list[RunConfig]], make_config: MakeConfig, tmp_path: Path
) -> None:
    longest, reading, _ = folders_of(family(), tmp_path)
    stranger = folder_of(make_config(dtype="float64", epochs=1.0, learning_rate=1e-3), root=tmp_path)
    train_folders([longest], readings=[stranger, reading])
    assert "a reading differs in its epochs only" in reason_of(stranger)[1]
    assert reading.state() is longest.state() is RunState.COMPLETE


def test_a_reading_of_a_diverged_run_is_left_to_itself(family: Callable[..., list[RunConfig]], tmp_path: Path) -> None:
    longest, *readings = folders_of(family(learning_rate=1e30, max_grad_norm=0.0), tmp_path)
    train_folders([longest], readings=readings)
    assert reason_of(longest)[0] == "diverged"
    assert [reading.state() for reading in readings] == [RunState.UNFINISHED] * 2


def test_a_reading_to_come_is_told_to_leave(family: Callable[..., list[RunConfig]], tmp_path: Path) -> None:
    longest, hopeless, good = folders_of(family(), tmp_path)
    train_folders([longest], readings=[hopeless, good], control=Script(leaving={3: pruned(hopeless)}))
    assert [ends(folder) for folder in (longest, hopeless, good)] == [["COMPLETE"], ["PRUNED"], ["COMPLETE"]]


def test_all_that_is_told_to_leave_at_once_has_its_own_end(
    family: Callable[..., list[RunConfig]], tmp_path: Path
) -> None:
    longest, *readings = folders_of(family(), tmp_path)
    everybody = {run_id: why for folder in (longest, *readings) for run_id, why in pruned(folder).items()}
    train_folders([longest], readings=readings, control=Script(leaving={3: everybody}))
    assert [ends(folder) for folder in (longest, *readings)] == [["PRUNED"]] * 3
