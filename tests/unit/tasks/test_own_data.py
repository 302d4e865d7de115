"""A data set is one YAML: those of conf/task on files of the shape in which their data is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sweeper.config import TaskConfig, run_config
from tasks import sources
from tasks.splits import Splits
from tasks.task import load_task


def task(repository: Path, *names: str) -> TaskConfig:
    """Of the files of these names, a later one's values over an earlier one's."""
    merged: dict[str, object] = {}
    for name in names:
        values = yaml.safe_load((repository / "conf" / "task" / f"{name}.yaml").read_text("utf-8"))["task"]
        data = {**merged.get("data", {}), **values.get("data", {})}  # type: ignore[dict-item]
        merged = {**merged, **values, "data": data}
    return run_config({"task": merged}).task


def load(config: TaskConfig, folder: Path) -> Splits:
    source = sources.resolve(config, str(folder), embedded_model=False, allow_network=False)
    sources.check_columns(source, config)
    splits = sources.load(source, config)
    counted = {"train": len(splits.train), "selection": len(splits.selection), "test": len(splits.test)}
    assert sources.count_rows(source, config) == counted
    return splits


def reviews(labels: Sequence[int]) -> pd.DataFrame:
    return pd.DataFrame({"text": [f'Film {row} is, well, "fine".\n<br />' for row in range(len(labels))],
                         "label": list(labels)})  # fmt: skip


@pytest.mark.parametrize("place", ["", "data"])
def test_ag_news_as_the_hub_has_it(repository: Path, tmp_path: Path, place: str) -> None:
    folder = tmp_path / "ag_news" / place
    folder.mkdir(parents=True)
    for split, number in (("train", 40), ("test", 8)):
        name = f"{split}-00000-of-00001.parquet" if place else f"{split}.parquet"
        items = {
            "text": [f"{split} item {row} (Reuters)" for row in range(number)],
            "label": [0, 1, 2, 3] * (number // 4),
        }
        pd.DataFrame(items).to_parquet(folder / name)
    config = task(repository, "ag_news")
    config.selection_size = 8
    splits = load(config, tmp_path)
    assert [len(part) for part in (splits.train, splits.selection, splits.test)] == [32, 8, 8]
    assert splits.test["label"].tolist() == [0, 1, 2, 3] * 2
    assert sorted(splits.selection["label"]) == [0, 0, 1, 1, 2, 2, 3, 3]
    loaded = load_task(config)
    assert loaded.labels[3] == "Sci/Tech"
    assert loaded.parse(" Sci/Tech\n") == 3


def test_imdb_as_the_hub_has_it(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "imdb" / "plain_text"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        reviews([0] * 6 + [1] * 6).assign(text=lambda rows, split=split: rows["text"] + split).to_parquet(
            folder / f"{split}-00000-of-00001.parquet"
        )
    config = task(repository, "imdb")
    config.selection_size = 4
    splits = load(config, tmp_path)
    assert [len(part) for part in (splits.train, splits.selection, splits.test)] == [8, 4, 12]
    assert splits.selection["label"].sum() == 2


@pytest.mark.parametrize("name", ["movie.csv", "imdb/train.parquet"])
def test_a_sample_of_one_file_of_reviews(repository: Path, tmp_path: Path, name: str) -> None:
    """1,000 of each label, whichever way round the file has them, a fifth held out."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    rows = reviews([0] * 1100 + [1] * 1100)
    rows.to_csv(path, index=False) if path.suffix == ".csv" else rows.to_parquet(path)
    splits = load(task(repository, "imdb", "imdb_sample"), tmp_path)
    parts = [splits.train, splits.selection, splits.test]
    assert [len(part) for part in parts] == [1280, 320, 400]
    assert [int(part["label"].sum()) for part in parts] == [640, 160, 200]
    assert splits.source == f"file {name} (1,000 rows of each label, 20% held out)"
