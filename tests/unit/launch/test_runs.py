"""The folders of a sweep's runs: which data each is said to read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sweeper.checks import ConfigError
from sweeper.config import RunConfig, TaskConfig
from sweeper.launch.runs import Runs, display_name
from sweeper.search.data import DataCheck
from tasks import sources


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    for split in ("train", "dev"):
        rows = "".join(f"{split} review {number}\ttitle {number}\t{number % 2}\n" for number in range(8))
        (tmp_path / f"{split}.tsv").write_text(f"review\ttitle\tlabel\n{rows}")
    config = RunConfig(data_dir=str(tmp_path), output_dir=str(tmp_path))
    config.task.data = replace(config.task.data, text="review", files={"train": ["train.tsv"], "test": ["dev.tsv"]})
    config.task.selection_size = 2
    return config


def asking(config: RunConfig, prompt: str) -> RunConfig:
    return replace(config, task=replace(config.task, prompt=replace(config.task.prompt, user=prompt)))


def test_prompts_that_read_other_columns_read_other_data(config: RunConfig) -> None:
    runs = Runs(cast(Any, SimpleNamespace(base=config)))
    for prompt in ("{review}", "{title} {review}", "{review}!"):
        asked = asking(config, prompt)
        source = sources.resolve(asked.task, asked.data_dir, embedded_model=False)
        assert runs.data(asked).digest == sources.load(source, asked.task).digest
    assert len(runs._data) == 2, "the rows of the same columns are read once"


def test_a_prompt_that_reads_the_same_columns_counts_no_rows_again(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, count_rows = [], sources.count_rows

    def count(source: sources.DataSource, task: TaskConfig) -> dict[str, int] | None:
        counted.append(task)
        return count_rows(source, task)

    monkeypatch.setattr(sources, "count_rows", count)
    check = DataCheck()
    for prompt in ("{review}", "{review}!", "{title} {review}", "{title}: {review}"):
        check.check(asking(config, prompt))
    assert len(counted) == 2
    with pytest.raises(ConfigError, match="has no column 'author'"):
        check.check(asking(config, "{author} {review}"))


def test_a_run_is_called_by_what_its_id_does_not_say() -> None:
    """Three runs that differ in their epochs alone have three names on the console."""
    cell = {"peft": "lora", "task.train_size": 40, "train.epochs": 2}
    identity = SimpleNamespace(cell=cell, params={"train.learning_rate": 0.00123456})
    folder = SimpleNamespace(run_id="sst2-mini-lora-40-s0-0123456789", identity=identity)
    assert display_name(cast(Any, folder)) == "sst2-mini-lora-40-s0 epochs=2 learning_rate=0.00123"
