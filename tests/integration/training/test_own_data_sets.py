"""A new data set is one YAML: three of conf/task, on files of their published shape, from the command to the scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sweeper.__main__ import open_hydra
from sweeper.search.command import read_command
from sweeper.tracking.run_folder import RunState
from tests.integration.training.small_runs import folder_of, train_folders


def news(folder: Path) -> list[str]:
    (folder / "ag_news").mkdir()
    topics = ("an election in the capital", "a goal in the last minute", "shares fell in early trade", "a new chip")
    for split, count in (("train", 48), ("test", 12)):
        rows = {"text": [f"{topics[row % 4]}, says report {row} of {split}" for row in range(count)],
                "label": [row % 4 for row in range(count)]}  # fmt: skip
        pd.DataFrame(rows).to_parquet(folder / "ag_news" / f"{split}.parquet")
    return ["task=ag_news", "task.labels=[world,sports,business,science]"]  # mini writes no capital letters


def questions(folder: Path) -> list[str]:
    (folder / "adversarial_qa").mkdir()
    for split, count in (("train", 30), ("validation", 8)):
        rows = [{"id": f"{split}-{row}", "title": f"Town {row // 3}", "context": f"The mill of {split} {row} is blue.",
                 "question": f"What is the colour of mill {row}?", "answers": {"text": ["blue"], "answer_start": [24]}}
                for row in range(count)]  # fmt: skip
        pd.DataFrame(rows).to_parquet(folder / "adversarial_qa" / f"{split}.parquet")
    return ["task=adversarial_qa"]


def stories(folder: Path) -> list[str]:
    (folder / "lm_text").mkdir()
    tales = [f"Once there was a cat called number {row}. It sat on a mat and was happy." for row in range(40)]
    (folder / "lm_text" / "tinystories_sample.txt").write_text("<|endoftext|>".join(tales), encoding="utf-8")
    return ["task=tinystories"]


@pytest.mark.parametrize(("write", "measured"), [(news, "accuracy"), (questions, "f1"), (stories, "perplexity")])
def test_a_data_set_that_is_one_yaml_trains_and_is_scored(
    tmp_path: Path, write: Callable[[Path], list[str]], measured: str
) -> None:
    small = ["peft=lora", "task.selection_size=8", "train.max_steps=4", "train.min_steps=0", "train.logging_steps=1",
             f"data_dir={tmp_path}", f"output_dir={tmp_path / 'out'}"]  # fmt: skip
    sweep = read_command([*write(tmp_path), *small], open_hydra(None).config_loader, is_sweep=False)
    folder = folder_of(sweep.base)
    train_folders([folder])
    ended = folder.last("finished")
    assert ended is not None
    assert folder.state() is RunState.COMPLETE, ended["detail"]
    scores = folder.summary()
    assert f"test/{measured}" in scores
    assert scores["train/loss_last"] < scores["train/loss_first"]
    assert scores["data/test_examples"] == len(pd.read_parquet(folder.artifacts / "predictions.parquet"))
    assert json.loads((folder.path / "run.json").read_text())["data"]["digest"]
