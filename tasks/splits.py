"""Frozen splits and nested training subsets. Reads no file.

A row's place in every split hangs on its content and `task.subset_seed` alone: rows are ordered by a keyed
hash, so the same rows in another order in the file give the same splits. Where `task.data.split_by` names a column,
the rows that have one value there stay together, and it is the values that are ordered so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.checks import ConfigError
from sweeper.config import FULL, TaskConfig
from tasks.whole_groups import some_groups

ID, LABEL = "id", "label"
ANSWERS = "answers"  # of a question: `rows.checked`
GROUP = "split_by"  # a row's value in the column that `task.data.split_by` names
NO_TEXT = (ID, LABEL, ANSWERS, GROUP)


@dataclass(frozen=True)
class Splits:
    """Frames with the columns `id` (str), the task's text columns (str) and, where it has them, `label` (int),
    `split_by` (str) and `answers` (str)."""

    train: pd.DataFrame  # the pool that training subsets come from
    selection: pd.DataFrame  # held out of the training rows: checkpoints and hyperparameters are chosen here
    test: pd.DataFrame  # the reporting split, in the order of its file
    source: str  # where the rows came from, in words
    digest: str  # 64 hex digits over the content of all three, whatever the order of their rows
    overlap: int  # test rows whose text also occurs in the training rows


def carve(pool: pd.DataFrame, test: pd.DataFrame | None, task: TaskConfig, *, source: str) -> Splits:
    """Holds the selection split out of the pool, and the test split as well where it is None.

    Before that the pool is cut to `task.data.rows` or `task.data.rows_per_label`, after that the test split to
    `task.test_size`, all stratified.

    Raises:
        ConfigError: more rows are asked for than there are, or a group cannot stay on one side.
    """
    seed = task.subset_seed
    pool = _sampled(pool, task)
    if test is None:
        test = _held_out(pool, task.data.test_rows(len(pool)), task, key="task.data.test_share")
        pool = pool.drop(test.index)
    _check_groups_apart(pool, test, task)
    if task.selection_size >= len(pool):
        raise ConfigError("task.selection_size", task.selection_size, f"the training data has only {len(pool):,} rows")
    selection = _held_out(pool, task.selection_size, task, key="task.selection_size")
    train = nested_subset(pool.drop(selection.index), FULL, seed)
    reported = nested_subset(test, task.test_size, seed, key="task.test_size").sort_index()
    return Splits(
        train=train.reset_index(drop=True),
        selection=selection.reset_index(drop=True),
        test=reported.reset_index(drop=True),
        source=source,
        digest=digest([train, selection, reported]),
        overlap=len(set(_texts(reported)) & set(_texts(pool))),
    )


def _sampled(pool: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    if task.data.rows_per_label is not None:
        return _so_many_of_each(pool, task.data.rows_per_label, task)
    if task.data.rows == FULL:
        return pool
    return nested_subset(pool, task.data.rows, task.subset_seed, key="task.data.rows")


def _so_many_of_each(pool: pd.DataFrame, count: int, task: TaskConfig) -> pd.DataFrame:
    """Of texts that occur once: the splits of the sample have as many of every label then, too."""
    once = _only_once(pool)
    for number, name in enumerate(task.labels):
        there = int((once[LABEL] == number).sum())
        if there < count:
            rule = f"the data has only {there:,} rows of {name} whose text occurs once"
            raise ConfigError("task.data.rows_per_label", count, rule, f"at most {there}" if there else "")
    return nested_subset(once, FULL, task.subset_seed).groupby(LABEL).head(count)


def nested_subset(
    rows: pd.DataFrame, size: int | str, subset_seed: int, *, key: str = "task.train_size"
) -> pd.DataFrame:
    """The first `size` rows of one fixed stratified order, so that S(n) lies within S(m) for n < m.

    Every class has its share of the rows to within rounding (Sainte-Laguë). `"full"` is every row.

    Raises:
        ConfigError: `size` is larger than the rows; `key` names it there.
    """
    count = len(rows) if size == FULL else int(size)
    if count > len(rows):
        raise ConfigError(key, size, f"the data has only {len(rows):,} rows for it", f"use at most {len(rows)} or full")
    return rows.iloc[_stratified_order(rows, subset_seed)[:count]]


def digest(frames: Iterable[pd.DataFrame]) -> str:
    """sha256 of the frames' contents; ids and the order of the rows do not count."""
    whole = hashlib.sha256()
    for frame in frames:
        whole.update(b"%d\n" % len(frame))
        whole.update(b"".join(sorted(_row_hashes(frame, b""))))
    return whole.hexdigest()


def _held_out(pool: pd.DataFrame, count: int, task: TaskConfig, *, key: str) -> pd.DataFrame:
    """`count` rows, stratified, of those whose text occurs once in the pool, so that no text is on both sides; where
    rows have groups, whole groups with about so many rows."""
    if GROUP in pool:
        return pool[pool[GROUP].isin(_some_groups(pool[GROUP].tolist(), count, task, key=key))]
    return nested_subset(_only_once(pool), count, task.subset_seed, key=key)


def _only_once(rows: pd.DataFrame) -> pd.DataFrame:
    """Those whose text no other row has."""
    return rows[~pd.Series(_texts(rows), index=rows.index).duplicated(keep=False)]


def _some_groups(groups: Sequence[str], count: int, task: TaskConfig, *, key: str) -> set[str]:
    """Raises ConfigError where that leaves one of the sides empty."""
    sizes, taken = Counter(groups), some_groups(groups, count, task.subset_seed)
    if len(taken) == len(sizes) or (count and not taken):
        rule = (f"about {count:,} of {len(groups):,} rows cannot be held out by the {len(sizes):,} values of "
                f"task.data.split_by={task.data.split_by}, the smallest of {min(sizes.values()):,} rows")  # fmt: skip
        asked = task.data.test_share if key == "task.data.test_share" else count
        raise ConfigError(key, asked, rule, "give another size, or split by a finer column")
    return taken


def _check_groups_apart(pool: pd.DataFrame, test: pd.DataFrame, task: TaskConfig) -> None:
    both = set(pool[GROUP]) & set(test[GROUP]) if GROUP in pool else set()
    if both:
        rule = f"{len(both):,} of its values are in the training file and in the test file, such as {min(both)!r}"
        raise ConfigError(
            "task.data.split_by", task.data.split_by, rule, "hold the test rows out: task.data.test_share"
        )


def _stratified_order(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Positions of all rows: at random within a class, the classes taking turns by their shares."""
    hashes = _row_hashes(rows, b"%d\n" % seed)
    by_hash = np.array(sorted(range(len(rows)), key=hashes.__getitem__), dtype=np.int64)
    classes = rows[LABEL].to_numpy()[by_hash] if LABEL in rows else np.zeros(len(rows), dtype=np.int64)
    turn = np.empty(len(rows))
    for name in np.unique(classes):
        members = classes == name
        turn[members] = (np.arange(members.sum()) + 0.5) / members.sum()
    return by_hash[np.lexsort((classes, turn))]


def _row_hashes(rows: pd.DataFrame, key: bytes) -> list[bytes]:
    gold = next((column for column in (LABEL, ANSWERS) if column in rows), None)
    labels = rows[gold].tolist() if gold else [""] * len(rows)
    groups = [f"{group}\n" for group in rows[GROUP]] if GROUP in rows else [""] * len(rows)
    return [
        hashlib.sha256(key + f"{group}{label}\n{text}".encode()).digest()
        for group, label, text in zip(groups, labels, _texts(rows), strict=True)
    ]


def _texts(rows: pd.DataFrame) -> list[str]:
    """What makes two rows the same text: all their text columns."""
    columns = [rows[column].tolist() for column in rows.columns if column not in NO_TEXT]
    return ["\x1f".join(values) for values in zip(*columns, strict=True)]
