"""`scale=<name>`: what an experiment lists for it, and what the person's own overrides leave of that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from sweeper.__main__ import CONFIG_NAME, main, open_hydra
from sweeper.checks import ConfigError
from sweeper.search import overrides as command_line
from sweeper.search.record import SweepRecord, paths
from sweeper.search.scales import scaled

EXPERIMENT = """
# @package _global_
defaults:
  - override /task: sst2
  - override /peft: lora
scales:
  small:
    - model=mini
    - model.dtype=float32
    - task.train_size=20,40
    - peft.r=2
    - hydra.sweeper.confirm_seeds=0
  tiny: [train.epochs=0.5]
hydra:
  sweeper:
    params: {task.train_size: "100,1000"}
"""


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(EXPERIMENT.lstrip(), encoding="utf-8")
    return tmp_path


@pytest.fixture
def loader(config_dir: Path) -> ConfigLoader:
    hydra = open_hydra(str(config_dir))
    GlobalHydra.instance().clear()
    return hydra.config_loader


def meant(loader: ConfigLoader, *lines: str) -> list[str]:
    given = scaled(command_line.parse(lines, loader), loader, config_name=CONFIG_NAME)
    return [override.input_line or "" for override in given]


def test_the_scale_comes_before_what_the_person_gives(loader: ConfigLoader) -> None:
    assert meant(loader, "experiment=mine", "scale=small", "seed=3") == [
        "model=mini", "model.dtype=float32", "task.train_size=20,40", "peft.r=2", "hydra.sweeper.confirm_seeds=0",
        "experiment=mine", "scale=small", "seed=3"]  # fmt: skip
    assert meant(loader, "experiment=mine", "scale=tiny")[0] == "train.epochs=0.5"


@pytest.mark.parametrize("lines", [["experiment=mine"], ["experiment=mine", "scale=full"], ["scale=full"]])
def test_the_full_scale_adds_nothing(loader: ConfigLoader, lines: list[str]) -> None:
    assert meant(loader, *lines) == lines


@pytest.mark.parametrize(
    ("line", "dropped"),
    [
        ("peft.r=8", {"peft.r=2"}),
        ("++peft.r=8", {"peft.r=2"}),
        ("task.train_size=7", {"task.train_size=20,40"}),
        ("model=minilm", {"model=mini", "model.dtype=float32"}),  # which would be another model's
        ("hydra/sweeper=optuna", {"hydra.sweeper.confirm_seeds=0"}),
        ("model.path=here", set()),
    ],
)
def test_what_the_person_gives_drops_what_the_scale_says_of_it(
    loader: ConfigLoader, line: str, dropped: set[str]
) -> None:
    every = set(meant(loader, "experiment=mine", "scale=small"))
    assert set(meant(loader, "experiment=mine", "scale=small", line)) == (every - dropped) | {line}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["scale=small"], "scale=small: only an experiment says what it means; give experiment=<name> as well"),
        (["experiment=mine", "scale=smal"],
         "scale=smal: experiment=mine has full, small, tiny; did you mean 'small'?"),
        (["experiment=mine", "scale=small,tiny"], "scale=small,tiny: how large an experiment is cannot be swept"),
        (["experiment=mine,sst2_data_size", "scale=small"], "each experiment has its own scale=small"),
    ],
)  # fmt: skip
def test_a_scale_that_nothing_stands_for(loader: ConfigLoader, lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        meant(loader, *lines)


def test_a_plan_and_the_config_show_what_would_run(
    config_dir: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["experiment=mine", "scale=small", f"data_dir={small_data}", "task.selection_size=20"]
    given += ["--config-dir", str(config_dir), f"output_dir={config_dir / 'out'}"]
    assert main([*given, "plan=true", "-m"]) == 0
    assert "design  task.train_size: 20, 40" in capsys.readouterr().out
    assert main([*given, "task.train_size=7", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "scale: small" in shown
    assert "train_size: 7" in shown
    assert "r: 2" in shown


def test_the_record_keeps_what_the_person_gave(
    config_dir: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a resume scales again, as the experiment's file then says."""
    from sweeper.launch import start
    from sweeper.search.study import Sweep

    asked = []

    def note(sweep: Sweep) -> int:
        assert sweep.record is not None
        sweep.record.start()
        asked.append(sweep.space.design)
        return 0

    monkeypatch.setattr(start, "run", note)
    given = ["experiment=mine", "scale=small", f"data_dir={small_data}", "task.selection_size=20"]
    out = config_dir / "out"
    assert main([*given, "--config-dir", str(config_dir), f"output_dir={out}", "-m"]) == 0
    record = SweepRecord.read(paths(out)[0])
    assert record.values["command"]["overrides"] == [*given, f"output_dir={out}"]

    from sweeper import resume

    assert resume.main(["last", f"output_dir={out}"]) == 0
    assert asked == [{"task.train_size": [20, 40]}] * 2
    assert [path.parent.name for path in paths(out)] == [record.sweep_id]
