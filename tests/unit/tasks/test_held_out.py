"""One file, of which a share is held out as the test split: by row, or by a column's values."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, TaskConfig
from tasks import sources
from tasks.splits import GROUP, Splits, carve

GROUPS = st.lists(st.integers(0, 9), min_size=20, max_size=80).filter(lambda groups: len(set(groups)) > 5)


def pool(labels: list[int], groups: list[int] | None = None) -> pd.DataFrame:
    rows = {"id": [f"row-{row}" for row in range(len(labels))], "text": [f"text {row}" for row in range(len(labels))]}
    named = {} if groups is None else {GROUP: [f"article {group}" for group in groups]}
    return pd.DataFrame({**rows, **named, "label": labels})


def held_out(frame: pd.DataFrame, *, share: float = 0.25, selection_size: int = 4, **keys: Any) -> Splits:
    data = DataConfig(test_share=share, rows=keys.pop("rows", "full"), split_by="article" if GROUP in frame else None)
    config = TaskConfig(labels=["a", "b"], selection_size=selection_size, data=data, **keys)
    config.data.validate()
    return carve(frame, None, config, source="here")


def parts(splits: Splits) -> list[pd.DataFrame]:
    return [splits.train, splits.selection, splits.test]


@given(st.lists(st.integers(0, 1), min_size=12, max_size=60), st.floats(0.05, 0.5))
def test_every_row_is_in_one_split_and_the_labels_have_their_shares(labels: list[int], share: float) -> None:
    splits = held_out(pool(labels), share=share)
    assert sorted(name for part in parts(splits) for name in part["id"]) == sorted(pool(labels)["id"])
    assert len(splits.test) == round(share * len(labels))
    for label in (0, 1):
        assert abs((splits.test["label"] == label).sum() - len(splits.test) * labels.count(label) / len(labels)) < 1


@given(GROUPS, st.integers(0, 3))
def test_no_group_is_on_two_sides_and_no_row_is_lost(groups: list[int], seed: int) -> None:
    rows = pool([0, 1] * (len(groups) // 2) + [0] * (len(groups) % 2), groups)
    try:
        splits = held_out(rows, subset_seed=seed)
    except ConfigError:
        return  # a single article has most of the rows
    sides = [set(part[GROUP]) for part in parts(splits)]
    assert all(sides)
    assert sum(map(len, sides)) == len(set(groups))
    assert sorted(name for part in parts(splits) for name in part["id"]) == sorted(rows["id"])
    largest = max(Counter(groups).values())
    assert abs(len(splits.test) - 0.25 * len(rows)) <= largest / 2 + 0.5
    assert abs(len(splits.selection) - 4) <= largest / 2


@given(st.permutations(list(range(24))), st.booleans(), st.sampled_from(["full", 16]))
def test_the_order_of_rows_in_the_file_changes_nothing(order: list[int], grouped: bool, rows: Any) -> None:
    straight = pool([row % 2 for row in range(24)], [row % 7 for row in range(24)] if grouped else None)
    first, second = (held_out(frame, rows=rows) for frame in (straight, straight.iloc[order].reset_index(drop=True)))
    assert first.digest == second.digest
    for one, other in zip(parts(first), parts(second), strict=True):
        assert set(one["id"]) == set(other["id"])


def test_a_sample_of_the_source_is_stratified_and_taken_before_it_is_split() -> None:
    splits = held_out(pool([0] * 100 + [1] * 100), rows=40, share=0.2)
    assert [len(part) for part in parts(splits)] == [28, 4, 8]
    assert sum(part["label"].sum() for part in parts(splits)) == 20
    assert splits.test["label"].sum() == 4


def test_a_text_that_occurs_twice_is_not_held_out() -> None:
    rows = pool([0, 1] * 10).assign(text=["the same"] * 12 + [f"text {row}" for row in range(8)])
    splits = held_out(rows, share=0.2)
    assert splits.overlap == 0
    assert (splits.train["text"] == "the same").sum() == 12


def test_another_subset_seed_holds_out_other_articles() -> None:
    rows = pool([0, 1] * 30, [row // 3 for row in range(60)])
    assert set(held_out(rows).test[GROUP]) != set(held_out(rows, subset_seed=1).test[GROUP])


def test_a_group_is_part_of_what_the_digest_covers() -> None:
    rows = pool([0, 1] * 10, [row // 2 for row in range(20)])
    assert held_out(rows).digest != held_out(rows.assign(**{GROUP: rows[GROUP].str.upper()})).digest


def test_articles_too_large_for_the_share_are_an_error() -> None:
    rows = pool([0, 1] * 10, [row // 10 for row in range(20)])
    message = "task.data.test_share=0.1: about 2 of 20 rows cannot be held out by the 2 values of task.data.split_by"
    with pytest.raises(ConfigError, match=message):
        held_out(rows, share=0.1)
    with pytest.raises(ConfigError, match=r"task.selection_size=1: about 1 of 10 rows cannot be held out by the 1"):
        held_out(rows, share=0.5, selection_size=1)


def test_a_share_of_no_row_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"task.data.test_share=0.01: holds out none of 20 rows"):
        held_out(pool([0, 1] * 10), share=0.01)


def test_an_article_in_the_test_file_as_well_is_an_error() -> None:
    data = DataConfig(split_by="article")
    config = TaskConfig(labels=["a", "b"], selection_size=2, data=data)
    rows = pool([0, 1] * 10, [row // 2 for row in range(20)])
    with pytest.raises(ConfigError, match=r"task.data.split_by=article: 1 of its values are in the training file and"):
        carve(rows, rows.iloc[:2], config, source="here")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"test_share": 1.0}, "task.data.test_share=1.0: must lie between 0 and 1"),
        ({"rows": 10}, "task.data.rows=10: samples the one file of which task.data.test_share is set"),
        ({"rows": 0, "test_share": 0.2}, "task.data.rows=0: must be a positive whole number of rows or 'full'"),
        ({"rows_per_label": 0, "test_share": 0.2}, "task.data.rows_per_label=0: "),
        ({"rows_per_label": 5}, "task.data.rows_per_label=5: samples the one file of which"),
        ({"rows_per_label": 5, "rows": 10, "test_share": 0.2}, "task.data.rows_per_label=5: excludes task.data.rows"),
    ],
)
def test_keys_that_make_no_sense(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        DataConfig(**keys).validate()


def write(folder: Path, **columns: list[Any]) -> None:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    (folder / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def task(**data: Any) -> TaskConfig:
    files = {"train": ["reviews.jsonl"], "test": ["not read.jsonl"]}
    return TaskConfig(labels=["a", "b"], selection_size=3, data=DataConfig(files=files, **{"test_share": 0.25} | data))


def resolve(folder: Path, config: TaskConfig) -> sources.DataSource:
    return sources.resolve(config, str(folder), embedded_model=False, allow_network=False)


COLUMNS: dict[str, list[Any]] = {
    "text": [f"text {row}" for row in range(20)], "label": [0, 1] * 10, "name": list(range(20)),
    "article": [f"article {row // 2}" for row in range(20)],
}  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [{}, {"rows": 12}, {"rows_per_label": 6}, {"split_by": "article"}, {"rows": 16, "split_by": "article"}],
)
def test_the_plan_counts_the_rows_that_the_splits_have(tmp_path: Path, keys: dict[str, Any]) -> None:
    write(tmp_path, **COLUMNS)
    config = task(**keys)
    source = resolve(tmp_path, config)
    splits = sources.load(source, config)
    counted = {"train": len(splits.train), "selection": len(splits.selection), "test": len(splits.test)}
    assert sources.count_rows(source, config) == counted
    assert sum(counted.values()) == keys.get("rows", 2 * keys.get("rows_per_label", 10))
    assert splits.source.startswith("file reviews.jsonl (")
    assert "25% held out" in splits.source


def test_more_rows_than_there_are_is_an_error_not_a_cap(tmp_path: Path) -> None:
    write(tmp_path, **COLUMNS)
    config = task(rows=21)
    with pytest.raises(ConfigError, match=r"task.data.rows=21: larger than the data \(20 rows\)"):
        sources.count_rows(resolve(tmp_path, config), config)


def test_rows_keep_their_own_names(tmp_path: Path) -> None:
    write(tmp_path, **COLUMNS)
    splits = sources.load(resolve(tmp_path, task(id="name")), task(id="name"))
    assert sorted(name for part in parts(splits) for name in part["id"]) == sorted(map(str, range(20)))
    assert all(int(text.split()[1]) == int(name) for name, text in zip(splits.test["id"], splits.test["text"],
                                                                       strict=True))  # fmt: skip


def test_names_and_articles_change_no_text(tmp_path: Path) -> None:
    """Not the digest of the same rows either, where only names are given."""
    write(tmp_path, **COLUMNS)
    named, plain = (sources.load(resolve(tmp_path, config), config) for config in (task(id="name"), task()))
    assert named.digest == plain.digest
    assert list(named.train.columns) == ["id", "text", "label"]


@pytest.mark.parametrize(
    ("column", "keys", "message"),
    [
        ([0, *range(19)], {"id": "name"}, "row 2: column 'name' holds '0', as row 1 does; name a column of unique ids"),
        ([None, *range(19)], {"id": "name"}, "row 1: column 'name' is empty"),
        (["", *range(19)], {"split_by": "name"}, "row 1: column 'name' is empty"),
    ],
)
def test_names_that_name_nothing_or_two_rows(
    tmp_path: Path, column: list[Any], keys: dict[str, str], message: str
) -> None:
    write(tmp_path, **COLUMNS | {"name": column})
    with pytest.raises(ConfigError, match=rf"task.data.files.train=.*reviews.jsonl: {message}"):
        sources.load(resolve(tmp_path, task(**keys)), task(**keys))


@pytest.mark.parametrize("key", ["id", "split_by"])
def test_a_column_that_the_file_lacks(tmp_path: Path, key: str) -> None:
    write(tmp_path, **COLUMNS)
    config = task(**{key: "articles"})
    message = rf"task.data.{key}=articles: .* has no column 'articles', only .*; did you mean 'article'"
    with pytest.raises(ConfigError, match=message):
        sources.check_columns(resolve(tmp_path, config), config)


def per_label(frame: pd.DataFrame, count: Any, **keys: Any) -> Splits:
    data = DataConfig(test_share=0.2, rows_per_label=count)
    config = TaskConfig(labels=["bad", "good"], selection_size=8, data=data, **keys)
    config.validate()
    return carve(frame, None, config, source="here")


@given(st.permutations([0] * 60 + [1] * 25), st.integers(0, 3))
def test_so_many_of_every_label_are_sampled_whatever_their_shares_in_the_file(labels: list[int], seed: int) -> None:
    splits = per_label(pool(labels), 20, subset_seed=seed)
    counts = [Counter(part["label"]) for part in parts(splits)]
    assert counts == [{0: 12, 1: 12}, {0: 4, 1: 4}, {0: 4, 1: 4}]


def test_a_sample_by_label_lies_within_every_larger_one_and_hangs_on_the_seed() -> None:
    rows = pool([0] * 60 + [1] * 30)
    small, large, other = (
        {name for part in parts(per_label(rows, count, subset_seed=seed)) for name in part["id"]}
        for count, seed in ((10, 0), (20, 0), (10, 1))
    )
    assert small < large
    assert small != other


def test_a_text_that_occurs_twice_is_not_sampled_by_label() -> None:
    rows = pool([0] * 40 + [1] * 40).assign(text=["the same"] * 10 + [f"text {row}" for row in range(70)])
    splits = per_label(rows, 30)
    assert not any((part["text"] == "the same").any() for part in parts(splits))
    assert Counter(splits.test["label"]) == {0: 6, 1: 6}


def test_a_label_with_too_few_rows_is_named() -> None:
    message = r"task.data.rows_per_label=26: the data has only 25 rows of good whose text occurs once; at most 25"
    with pytest.raises(ConfigError, match=message):
        per_label(pool([0] * 60 + [1] * 25), 26)


def test_a_task_without_labels_is_not_sampled_by_label() -> None:
    data = DataConfig(test_share=0.2, rows_per_label=5)
    with pytest.raises(ConfigError, match=r"task.data.rows_per_label=5: task.type=language_modeling has no labels"):
        TaskConfig(type="language_modeling", data=data).validate()
