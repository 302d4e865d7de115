"""Frozen splits and nested training subsets. Reads no file.

A row's place in every split hangs on its content and `task.subset_seed` alone: rows are ordered by a keyed
hash, so the same rows in another order in the file give the same splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.checks import ConfigError
from sweeper.config import FULL, TaskConfig

ID, LABEL = "id", "label"


@dataclass(frozen=True)
class Splits:
    """Frames with the columns `id` (str), the task's text columns (str) and, where it has labels, `label` (int)."""

    train: pd.DataFrame  # the pool that training subsets come from
    selection: pd.DataFrame  # held out of the training file: checkpoints and hyperparameters are chosen here
    test: pd.DataFrame  # the reporting split, in the order of its file
    source: str  # where the rows came from, in words
    digest: str  # 64 hex digits over the content of all three, whatever the order of their rows
    overlap: int  # test rows whose text also occurs in the training file


def carve(pool: pd.DataFrame, test: pd.DataFrame, task: TaskConfig, *, source: str) -> Splits:
    """Holds the selection split out of the pool and cuts the test split to `task.test_size`, both stratified.

    Only texts that occur once in the pool are taken: no text is in both train and selection.

    Raises:
        ConfigError: more rows are asked for than there are.
    """
    if task.selection_size >= len(pool):
        raise ConfigError("task.selection_size", task.selection_size, f"the training data has only {len(pool):,} rows")
    texts = pd.Series(_texts(pool), index=pool.index)
    once = pool[~texts.duplicated(keep=False)]
    selection = nested_subset(once, task.selection_size, task.subset_seed, key="task.selection_size")
    train = nested_subset(pool.drop(selection.index), FULL, task.subset_seed)
    reported = nested_subset(test, task.test_size, task.subset_seed, key="task.test_size").sort_index()
    return Splits(
        train=train.reset_index(drop=True),
        selection=selection.reset_index(drop=True),
        test=reported.reset_index(drop=True),
        source=source,
        digest=digest([train, selection, reported]),
        overlap=len(set(_texts(reported)) & set(texts)),
    )


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
    labels = rows[LABEL].tolist() if LABEL in rows else [""] * len(rows)
    return [
        hashlib.sha256(key + f"{label}\n{text}".encode()).digest()
        for label, text in zip(labels, _texts(rows), strict=True)
    ]


def _texts(rows: pd.DataFrame) -> list[str]:
    """What makes two rows the same text: all their text columns."""
    columns = [rows[column].tolist() for column in rows.columns if column not in (ID, LABEL)]
    return ["\x1f".join(values) for values in zip(*columns, strict=True)]
