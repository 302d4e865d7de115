from __future__ import annotations

from dataclasses import replace

import pandas as pd

from sweeper.config import RunConfig
from sweeper.training.encodings import Encodings
from sweeper.training.objective import Part
from tasks.encoded import Encoded


def test_shared_splits_are_encoded_once_for_the_same_rows_and_task() -> None:
    encodings, made = Encodings(), []

    def encode(rows: pd.DataFrame) -> Encoded:
        made.append(rows)
        return Encoded([], len(made), 0)

    rows = {part: pd.DataFrame({"id": [part.value]}) for part in (Part.TRAIN, Part.EVAL, Part.TEST)}
    first = encodings.of(RunConfig(), rows, encode)
    smaller = RunConfig(task=replace(RunConfig().task, train_size=3))
    second = encodings.of(smaller, rows, encode)
    assert second[Part.EVAL] is first[Part.EVAL]
    assert second[Part.TEST] is first[Part.TEST]
    assert second[Part.TRAIN] is not first[Part.TRAIN]  # every run has its own
    assert len(made) == 4
    other_rows = {Part.TEST: rows[Part.TEST].copy()}  # new questions to a finished run
    assert encodings.of(smaller, other_rows, encode)[Part.TEST] is not first[Part.TEST]
    longer = RunConfig(task=replace(RunConfig().task, max_length=99))
    assert encodings.of(longer, rows, encode)[Part.EVAL] is not first[Part.EVAL]
