"""The weights in a local folder, as a command sees them: another sweep, another run, and drift of an unfinished one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper import model_digest
from sweeper.checks import ConfigError
from sweeper.launch.group import group_key
from sweeper.search.drift import Drift, begin
from sweeper.search.record import Command
from sweeper.search.study import Sweep
from sweeper.search.trial import RunResult
from sweeper.tracking.run_folder import RunFolder, RunIdentity, RunState

MakeSweep = Callable[..., Sweep]
GIVEN = Command(("model.path=a folder",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"model_type": "unheard_of"}))
    write(made, "one")
    return made


def write(folder: Path, content: str) -> None:
    (folder / "model.safetensors").write_text(content)


def test_the_same_folder_with_other_weights_is_another_sweep_of_other_runs(make_sweep: MakeSweep, folder: Path) -> None:
    def seen() -> tuple[str, str, str]:
        sweep = make_sweep(f"model.path={folder}")
        config = sweep.config(sweep.space.cells[0], {})
        assert config.model.digest == model_digest.digest_of(config.model)
        return sweep.sweep_id, config.content_hash(), group_key(config)

    first = seen()
    assert seen() == first
    write(folder, "other")
    assert all(now != before for now, before in zip(seen(), first, strict=True))


def test_an_unfinished_sweep_whose_weights_are_others_has_drifted(make_sweep: MakeSweep, folder: Path) -> None:
    first = make_sweep(f"model.path={folder}", "peft.r=2,4")
    begin(first, GIVEN)
    with first:
        trial = first.ask()
        assert trial is not None
        first.tell(trial, [RunResult("a", RunState.COMPLETE, {"eval/accuracy": 0.5})])
    write(folder, "other")
    with pytest.raises(Drift, match="its config has changed") as caught:
        begin(make_sweep(f"model.path={folder}", "peft.r=2,4"), GIVEN)
    assert any(line.startswith("  model.digest: ") for line in caught.value.changes)


def test_nothing_of_the_weights_is_read_to_check_a_command(
    make_sweep: MakeSweep, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> str:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(model_digest, "_file_digest", read)
    make_sweep(f"model.path={folder}", "peft.r=2,4", "seed=1,2")
    with pytest.raises(ConfigError, match=r"task\.train_size"):
        make_sweep(f"model.path={folder}", "task.train_size=100000")


def test_an_adapter_of_other_weights_in_the_same_folder_is_refused(
    make_sweep: MakeSweep, folder: Path, tmp_path: Path
) -> None:
    sweep = make_sweep(f"model.path={folder}", "task.name=physics")
    run = RunFolder.create(tmp_path / "out", RunIdentity.of(sweep.config(sweep.space.cells[0], {}),
                                                            {"source": "files", "digest": "d" * 64}))  # fmt: skip
    adapter = run.artifacts / "adapter"
    adapter.mkdir()
    saved = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
    (adapter / "adapter_config.json").write_text(json.dumps(saved))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    run.finish("COMPLETE")

    def start() -> None:
        later = make_sweep(f"model.path={folder}", f"peft.start_from={run.run_id}")
        later.config(later.space.cells[0], {})

    start()
    write(folder, "other")
    with pytest.raises(ConfigError, match=r"its adapter belongs to other weights of mini \(model.digest="):
        start()
