"""The real files of SQuAD, through the real configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from sweeper.config import TaskConfig, run_config
from tasks import sources
from tasks.encoded import Limits
from tasks.splits import Splits
from tasks.task import load_task

pytestmark = pytest.mark.integration


def configured(repository: Path, name: str) -> TaskConfig:
    values = yaml.safe_load((repository / "conf" / "task" / f"{name}.yaml").read_text("utf-8"))["task"]
    return run_config({"task": values}).task


@pytest.fixture(scope="module")
def squad_1(repository: Path, data_dir: Path) -> Splits:
    task = configured(repository, "squad_v1")
    source = sources.resolve(task, str(data_dir), embedded_model=False, allow_network=False)
    sources.check_columns(source, task)
    return sources.load(source, task)


@pytest.fixture(scope="module")
def squad_2(repository: Path, data_dir: Path) -> tuple[TaskConfig, Splits]:
    """Its training file is not part of the data folder: the development file, held out by article."""
    task = configured(repository, "squad_v2")
    task.data.files["train"], task.data.test_share = task.data.files["test"], 0.2
    source = sources.resolve(task, str(data_dir), embedded_model=False, allow_network=False)
    return task, sources.load(source, task)


def test_every_question_of_squad_1_has_its_answer_in_its_context(squad_1: Splits) -> None:
    assert len(squad_1.train) + len(squad_1.selection) == 87_599
    assert len(squad_1.test) == 10_570
    for frame in (squad_1.train, squad_1.test):
        for context, answers in zip(frame["context"], frame["answers"], strict=True):
            for answer in json.loads(answers):
                assert context[answer["start"] :].startswith(answer["text"])


def test_half_of_squad_2s_questions_have_no_answer_and_no_article_is_on_two_sides(
    squad_2: tuple[TaskConfig, Splits],
) -> None:
    _, splits = squad_2
    frames = [splits.train, splits.selection, splits.test]
    assert sum(map(len, frames)) == 11_873
    assert sum(int((frame["answers"] == "[]").sum()) for frame in frames) == 5_945
    titles = [set(frame["split_by"]) for frame in frames]
    assert sum(map(len, titles)) == len(set.union(*titles)) == 35


def test_every_question_is_encoded_for_a_model_that_writes(
    repository: Path, squad_2: tuple[TaskConfig, Splits]
) -> None:
    task, splits = squad_2
    tokenizer = AutoTokenizer.from_pretrained(repository / "sweeper" / "mini")
    rows = splits.test.iloc[:300]
    found = load_task(task).encode(rows, tokenizer, Limits(512, "truncate", max_new_tokens=30))
    assert [example.id for example in found.examples] == rows["id"].tolist()
    for example in found.examples:
        assert len(example.prompt) + len(example.answer) <= 512
        assert tokenizer.decode(example.prompt).endswith("answer:")
        gold = (*example.references, "unanswerable")[0]
        assert tokenizer.decode(example.candidates[0]).strip() == gold.lower()
