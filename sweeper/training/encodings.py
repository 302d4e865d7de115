"""The encoded splits that runs share: tokenised once for as long as their base model is in memory.

Runs of one task differ in their training rows; a sweep's thousandth trial is judged on the rows of the first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from sweeper.config import FULL, RunConfig
from sweeper.training.objective import Part, Splits
from tasks.encoded import Encoded

SHARED = (Part.EVAL, Part.TEST)


@dataclass
class Encodings:
    """The latest of each split, and the very rows that it was made of (`data` keeps a task's splits as well)."""

    _kept: dict[Part, tuple[str, pd.DataFrame, Encoded]] = field(default_factory=dict)

    def of(self, config: RunConfig, splits: Splits, encode: Callable[[pd.DataFrame], Encoded]) -> dict[Part, Encoded]:
        """Of every split that is there; `encode` hangs on the config's task and prompt style alone."""
        task, encoded = _key(config), {}
        for part, rows in splits.items():
            known_task, known_rows, known = self._kept.get(part, ("", None, None))
            if known is None or known_task != task or known_rows is not rows:
                known = encode(rows)
            if part in SHARED:
                self._kept[part] = task, rows, known
            encoded[part] = known
        return encoded


def _key(config: RunConfig) -> str:
    asked = RunConfig(task=dataclasses.replace(config.task, train_size=FULL)).to_dict()
    return json.dumps([asked["task"], config.model.prompt_style.value])
