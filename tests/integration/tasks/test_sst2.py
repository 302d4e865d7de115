"""The real files, through the real configuration and the embedded model's tokenizer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from sweeper.config import TaskConfig, run_config
from tasks import sources
from tasks.encoded import Limits
from tasks.splits import Splits, nested_subset
from tasks.task import load_task

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def task(repository: Path) -> TaskConfig:
    values = yaml.safe_load((repository / "conf" / "task" / "sst2.yaml").read_text())["task"]
    return run_config({"task": values}).task


@pytest.fixture(scope="module")
def splits(task: TaskConfig, data_dir: Path) -> Splits:
    source = sources.resolve(task, str(data_dir), embedded_model=False, allow_network=False)
    assert sources.count_rows(source, task) == {"train": 66_349, "selection": 1_000, "test": 872}
    return sources.load(source, task)


def test_counts_labels_and_content_are_those_of_glue(splits: Splits) -> None:
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (66_349, 1_000, 872)
    assert splits.train["label"].sum() + splits.selection["label"].sum() == 37_569
    assert splits.test["label"].sum() == 444
    assert splits.digest == "0e7b1067e23bc2c1a10565f356ac87e9497c94da756a0b30f9a5a81731982e4a"


def test_no_text_is_shared_between_splits(splits: Splits) -> None:
    train, selection, test = (set(frame["sentence"]) for frame in (splits.train, splits.selection, splits.test))
    assert not train & selection
    assert not (train | selection) & test
    assert splits.overlap == 0


def test_subsets_are_nested_and_stratified(splits: Splits) -> None:
    subsets = [nested_subset(splits.train, size, 0) for size in (100, 1_000, 10_000, "full")]
    for inner, outer in pairwise(subsets):
        assert set(inner["id"]) < set(outer["id"])
    share = splits.train["label"].mean()
    assert all(abs(subset["label"].sum() - share * len(subset)) < 1 for subset in subsets)


def test_the_embedded_tokenizer_writes_each_label_as_its_own_tokens(
    splits: Splits, task: TaskConfig, repository: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = repository / "sweeper" / "mini"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip("needs the embedded model's tokenizer")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = splits.train.head(500)
    encoded = load_task(task).encode(rows, tokenizer, Limits(256))
    answers = {tuple(example.answer) for example in encoded.examples}
    assert answers == {(*tokens, encoded.eos) for tokens in encoded.examples[0].candidates}
    for example, text in zip(encoded.examples, rows["sentence"], strict=True):
        assert text.replace(" ", "") in tokenizer.decode(example.prompt).replace(" ", "")
