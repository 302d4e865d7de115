"""Epoch sharing: which runs are another one, read at an earlier step.

Under a schedule that does not know its total, the first ten epochs of a run of fifty are the run of ten.
"""

from __future__ import annotations

import dataclasses

from sweeper.config import RunConfig


def share_key(config: RunConfig) -> str | None:
    """Runs of one key differ in their epochs only; None for a run whose course depends on how long it will be."""
    train = config.train
    without_total = train.lr_scheduler_type == "constant" or (
        train.lr_scheduler_type == "constant_with_warmup" and (train.warmup_steps == 0 or train.warmup_steps >= 1)
    )
    selects = train.load_best_model_at_end or train.early_stopping_patience is not None
    if not without_total or selects or not config.makes_steps:
        return None
    return dataclasses.replace(config, train=dataclasses.replace(train, epochs=1.0)).content_hash()
