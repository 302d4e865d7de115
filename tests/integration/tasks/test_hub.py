"""`datasets` for real, on a folder that stands for the hub: it cannot be reached from a test."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, Source, TaskConfig
from tasks import hub, sources

pytestmark = pytest.mark.integration


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskConfig:
    """A data set whose hub order of classes is not the task's."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "reviews" / "data"
    folder.mkdir(parents=True)
    features = datasets.Features(
        {
            "idx": datasets.Value("int32"),
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["positive", "negative"]),
        }
    )
    for split in ("train", "validation"):
        rows = {"idx": [0, 1, 2], "sentence": [f"{split} good ", f"{split} bad", f"{split} fine"], "label": [0, 1, 0]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000.parquet")
    data = DataConfig(hub_id=str(tmp_path / "reviews"), hub_splits={"test": "validation"}, text="sentence")
    return TaskConfig(data=data, labels=["negative", "positive"], selection_size=1)


def test_rows_come_with_the_tasks_own_class_numbers(task: TaskConfig) -> None:
    source = sources.resolve(task, None, embedded_model=False, allow_network=False)
    assert source.kind is Source.HUB
    assert sources.count_rows(source, task) is None
    splits = sources.load(source, task)
    assert splits.test[["sentence", "label"]].values.tolist() == [
        ["validation good", 1],
        ["validation bad", 0],
        ["validation fine", 1],
    ]
    assert sorted(pd.concat([splits.train, splits.selection])["label"].tolist()) == [0, 1, 1]


def test_a_split_that_the_hub_does_not_have_is_an_error(task: TaskConfig) -> None:
    task.data.hub_splits = {"test": "nowhere"}
    with pytest.raises(
        ConfigError, match=r"task.data.hub_id=.*its split 'nowhere' cannot be loaded: .*see task.data.hub_splits"
    ):
        sources.load(sources.resolve(task, None, embedded_model=False, allow_network=False), task)


def test_a_prepared_data_set_is_found_again_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    assert not hub.availability("someone/Reviews", allow_network=False).usable
    prepared = tmp_path / "someone___reviews" / "default" / "0.0.0" / "abc"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text("{}")
    assert hub.availability("someone/Reviews", allow_network=False) == hub.Availability(True, "cached")


def test_a_revision_is_asked_for(task: TaskConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked, load = [], datasets.load_dataset

    def remembering(*args: str, revision: str | None, **kwargs: str) -> object:
        asked.append(revision)
        return load(*args, **kwargs)

    monkeypatch.setattr(datasets, "load_dataset", remembering)
    task.data.revision = "v1.0"
    sources.load(sources.resolve(task, None, embedded_model=False, allow_network=False), task)
    assert asked == ["v1.0", "v1.0"]
