"""Readings: runs that differ from a longer one in their epochs only, and so are that run at an earlier step.

They have its weights, and a folder and an end of their own (`Run.next_reading`, `Run.read_from`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sweeper.config import run_config
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training.failure import described
from sweeper.training.run import Run


def open_readings(longer: Run, folders: Sequence[RunFolder]) -> list[Run]:
    """Those that the longer run is still to reach, the next one first.

    One that it has passed (its checkpoint is of a later step) has an end already, or is left without one.
    One that cannot be opened fails alone.
    """
    opened = []
    for folder in folders:
        try:
            if folder.state() is not RunState.COMPLETE:
                opened.append(_open(longer, folder))
        except Exception as error:
            folder.finish(RunState.FAILED, *described(error))
    ahead = [reading for reading in opened if reading.num_steps > longer.progress.step]
    return sorted(ahead, key=lambda reading: reading.num_steps)


def _open(longer: Run, folder: RunFolder) -> Run:
    config = run_config(folder.identity.config)
    lengthened = replace(config, train=replace(config.train, epochs=longer.config.train.epochs))
    assert lengthened.content_hash() == longer.config.content_hash(), "a reading differs in its epochs only"
    reading = Run(folder, config, longer.index, longer.data, longer.parameters)
    assert not reading.keeps_best, "the last weights of a reading are the longer run's, its best are not"
    assert reading.num_steps <= longer.num_steps, "a reading ends earlier"
    return reading
