"""Data sets of running text that are one YAML each, on their real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.__main__ import open_hydra
from sweeper.search.command import CONFIG_NAME
from sweeper.search.compose import Composer
from tasks import sources
from tasks.language_modeling import LanguageModelingTask
from tasks.task import load_task


@pytest.mark.parametrize(
    ("name", "pool", "test"),
    [("wikitext2", 423, 489), ("tinystories", 2085, 232)],
)
def test_a_data_set_of_running_text_is_one_file(data_dir: Path, name: str, pool: int, test: int) -> None:
    task = Composer(open_hydra(None).config_loader, CONFIG_NAME, [f"task={name}"]).composition({}).config({}).task
    splits = sources.load(sources.resolve(task, str(data_dir), embedded_model=False), task)
    assert isinstance(load_task(task), LanguageModelingTask)
    assert (len(splits.train) + len(splits.selection), len(splits.test)) == (pool, test)
    assert "<|endoftext|>" not in splits.train["text"].str.cat()
