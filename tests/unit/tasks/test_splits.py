from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.checks import ConfigError
from sweeper.config import TaskConfig
from tasks.splits import Splits, carve, digest, nested_subset

LABELS = st.lists(st.integers(0, 2), min_size=1, max_size=60)


def frame(labels: list[int], texts: list[str] | None = None) -> pd.DataFrame:
    texts = texts or [f"text {row}" for row in range(len(labels))]
    return pd.DataFrame({"id": [f"train-{row}" for row in range(len(labels))], "text": texts, "label": labels})


def split(pool: pd.DataFrame, *, selection_size: int = 10, **task: object) -> Splits:
    config = TaskConfig(labels=["a", "b"], selection_size=selection_size, **task)  # type: ignore[arg-type]
    return carve(pool, frame([0, 1, 0, 1], ["p", "q", "r", "text 0"]), config, source="here")


@given(LABELS, st.data())
def test_a_subset_lies_within_every_larger_one(labels: list[int], data: st.DataObject) -> None:
    rows = frame(labels)
    large = data.draw(st.integers(1, len(labels)))
    small = data.draw(st.integers(1, large))
    inner, outer = nested_subset(rows, small, 7), nested_subset(rows, large, 7)
    assert inner["id"].tolist() == outer["id"].tolist()[:small]


@given(LABELS, st.data())
def test_a_subset_has_the_class_shares_of_the_pool_to_within_rounding(labels: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(labels)))
    taken = nested_subset(frame(labels), size, 0)["label"].value_counts()
    for label in set(labels):
        assert abs(taken.get(label, 0) - size * labels.count(label) / len(labels)) < 1


@given(st.permutations(list(range(24))), st.integers(0, 3))
def test_the_order_of_rows_in_the_file_changes_nothing(order: list[int], seed: int) -> None:
    pool = frame([row % 2 for row in range(24)])
    straight = split(pool, selection_size=6, subset_seed=seed)
    shuffled = split(pool.iloc[order].reset_index(drop=True), selection_size=6, subset_seed=seed)
    assert shuffled.digest == straight.digest
    assert shuffled.selection["text"].tolist() == straight.selection["text"].tolist()
    assert shuffled.train["text"].tolist() == straight.train["text"].tolist()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=12, max_size=60))
def test_no_text_is_in_both_train_and_selection_and_no_row_is_lost(rows: list[tuple[int, int]]) -> None:
    pool = frame([label for _, label in rows], [f"text {number}" for number, _ in rows])
    try:
        splits = split(pool, selection_size=3)
    except ConfigError:
        return  # fewer than three texts occur once
    assert not set(splits.train["text"]) & set(splits.selection["text"])
    assert sorted([*splits.train["id"], *splits.selection["id"]]) == sorted(pool["id"])


def test_another_subset_seed_gives_other_rows() -> None:
    rows = frame([0, 1] * 50)
    assert set(nested_subset(rows, 10, 0)["id"]) != set(nested_subset(rows, 10, 1)["id"])


def test_full_is_every_row() -> None:
    assert len(nested_subset(frame([0, 1, 1]), "full", 0)) == 3


def test_a_size_larger_than_the_data_is_an_error_not_a_cap() -> None:
    with pytest.raises(ConfigError, match=r"task.train_size=4: the data has only 3 rows for it; use at most 3 or full"):
        nested_subset(frame([0, 1, 1]), 4, 0)
    with pytest.raises(ConfigError, match=r"task.test_size=5: the data has only 4 rows"):
        split(frame([0, 1] * 10), test_size=5)
    with pytest.raises(ConfigError, match=r"task.selection_size=20: the training data has only 20 rows"):
        split(frame([0, 1] * 10), selection_size=20)


def test_selection_may_be_empty() -> None:
    splits = split(frame([0, 1] * 10), selection_size=0)
    assert len(splits.selection) == 0
    assert len(splits.train) == 20


def test_the_test_split_keeps_the_order_of_its_file_and_counts_texts_seen_in_training() -> None:
    splits = split(frame([0, 1] * 10), test_size=4)
    assert splits.test["id"].tolist() == ["train-0", "train-1", "train-2", "train-3"]
    assert splits.overlap == 1


def test_digest_changes_with_a_text_a_label_and_a_split_but_not_with_ids() -> None:
    rows = frame([0, 1, 1])
    assert digest([rows]) == digest([rows.assign(id="other")])
    changed = [rows.assign(label=[1, 1, 1]), rows.assign(text=["x", "text 1", "text 2"]), rows.iloc[:2]]
    assert len({digest([rows]), *(digest([other]) for other in changed)}) == 4
    assert digest([rows.iloc[:2], rows.iloc[2:]]) != digest([rows.iloc[:1], rows.iloc[1:]])
