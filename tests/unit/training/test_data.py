"""A worker reads the rows once for every run that they are the same for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import DataConfig, PromptConfig, RunConfig, TaskConfig
from sweeper.training import data
from sweeper.training.objective import Part
from tasks import sources


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[TaskConfig]:
    """The tasks whose rows were read."""
    read: list[TaskConfig] = []
    load = sources.load

    def counted(source: sources.DataSource, task: TaskConfig) -> Any:
        read.append(task)
        return load(source, task)

    monkeypatch.setattr(sources, "load", counted)
    data._load.cache_clear()
    return read


def config(folder: Path) -> RunConfig:
    rows = "".join(f"text {row}\t{row % 2}\n" for row in range(20))
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    files = DataConfig(files={"train": ["train.tsv"], "test": ["dev.tsv"]})
    task = TaskConfig(labels=["a", "b"], data=files, selection_size=4)
    return RunConfig(task=task, peft={"method": "lora"}, data_dir=str(folder))


def digest(run: RunConfig) -> str:
    assert run.data_dir is not None
    return sources.load(sources.resolve(run.task, run.data_dir, embedded_model=True), run.task).digest


def test_another_prompt_length_or_train_size_reads_no_row_again(tmp_path: Path, loads: list[TaskConfig]) -> None:
    run = config(tmp_path)
    seen = digest(run)
    loads.clear()
    changes: list[dict[str, Any]] = [{}, {"prompt": PromptConfig(user="{text}:")}, {"max_length": 64}]
    for keys in (*changes, {"score_train": True}):
        other = dataclasses.replace(run, task=dataclasses.replace(run.task, train_size=8, **keys))
        parts = data.run_splits(other, digest=seen)
        assert len(parts[Part.TRAIN]) == 8
        assert (Part.FIT in parts) == other.task.score_train
    assert len(loads) == 1


def test_another_split_is_read_again_and_other_data_is_an_error(tmp_path: Path, loads: list[TaskConfig]) -> None:
    run = config(tmp_path)
    other = dataclasses.replace(run, task=dataclasses.replace(run.task, selection_size=6))
    assert len(data.run_splits(other, digest=digest(other))[Part.EVAL]) == 6
    assert len(data.run_splits(run, digest=digest(run))[Part.EVAL]) == 4
    with pytest.raises(ValueError, match="the data changed"):
        data.run_splits(other, digest=digest(run))
