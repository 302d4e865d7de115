"""The rows a run trains on, chooses by and reports on; loaded once per worker process."""

from __future__ import annotations

import json
from functools import lru_cache

import pandas as pd

from sweeper.config import RunConfig, run_config
from sweeper.training.objective import Part
from tasks import sources, splits


def run_splits(config: RunConfig, *, digest: str) -> dict[Part, pd.DataFrame]:
    """The run's own training subset, where it trains, and the two frozen splits that it is judged on.

    `digest` is what the coordinator saw: ValueError when this process sees other data.
    """
    whole = _load(_data_key(config), embedded_model=config.model.is_embedded)
    if whole.digest != digest:
        raise ValueError(f"the data changed: its digest is {whole.digest[:12]}, and was {digest[:12]} when planned")
    task = config.task
    subset = splits.nested_subset(whole.train, task.train_size, task.subset_seed)
    parts = {Part.TRAIN: subset} if config.peft.get("method", "none") != "none" else {}
    if len(whole.selection):
        parts[Part.EVAL] = whole.selection
    parts[Part.TEST] = whole.test
    if task.score_train:
        parts[Part.FIT] = subset
    return parts


def _data_key(config: RunConfig) -> str:
    """What the whole splits depend on: not the run's own train size, seed or method."""
    return json.dumps(RunConfig(task=sources.rows_only(config.task), data_dir=config.data_dir).to_dict())


@lru_cache(maxsize=2)
def _load(key: str, *, embedded_model: bool) -> splits.Splits:
    config = run_config(json.loads(key))
    source = sources.resolve(config.task, config.data_dir, embedded_model=embedded_model)
    return sources.load(source, config.task)
