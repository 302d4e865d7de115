"""What the file of studies says of a sweep, read without Optuna and without a write: for a plan."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.search.history import CELL, CONFIRMS, FAILED_REPLICATES, RETRY_OF, RUNS

FINISHED = ("COMPLETE", "PRUNED", "FAIL")  # Optuna's names
QUERY = """
    select study_name, number, state, "key", value_json
    from trials join studies using (study_id) join trial_user_attributes using (trial_id)
    where study_name = ? or study_name like ? || ' %'"""


@dataclass(frozen=True)
class Stored:
    """Finished trials of a sweep; one that was retried counts as its retry does."""

    trials: Counter[str] = field(default_factory=Counter)  # by the cell's key
    run_ids: frozenset[str] = frozenset()  # what they trained or reused
    confirmed: frozenset[str] = frozenset()  # keys of the cells whose best point has run on fresh seeds


@dataclass(frozen=True)
class _Trial:
    state: str
    attributes: dict[str, Any]

    @property
    def has_failed(self) -> bool:
        return self.state == "FAIL" or FAILED_REPLICATES in self.attributes


def read_stored(output_dir: Path, sweep_id: str, *, retry_failed: bool) -> Stored:
    """Nothing where there is no study yet. With `retry_failed` a trial that failed, if in part, is not finished."""
    by_study: defaultdict[str, dict[int, _Trial]] = defaultdict(dict)
    for study, number, state, key, value in _rows(output_dir / "optuna.db", sweep_id):
        by_study[study].setdefault(number, _Trial(state, {})).attributes[key] = json.loads(value)
    stored, run_ids, confirmed = Counter[str](), set[str](), set[str]()
    for trials in by_study.values():
        replaced = {trial.attributes.get(RETRY_OF) for trial in trials.values()}
        for trial in (trial for number, trial in trials.items() if number not in replaced):
            cell = str(trial.attributes[CELL])
            if trial.state not in FINISHED or (retry_failed and trial.has_failed):
                continue
            if CONFIRMS in trial.attributes:
                confirmed.add(cell)
            else:
                stored[cell] += 1
                run_ids.update(trial.attributes.get(RUNS, ()))
    return Stored(stored, frozenset(run_ids), frozenset(confirmed))


def _rows(path: Path, sweep_id: str) -> list[tuple[str, int, str, str, str]]:
    if not path.is_file():
        return []
    # Without a log beside the file nobody writes, and SQLite need not make one of its own.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as connection:
            return connection.execute(QUERY, (sweep_id, sweep_id)).fetchall()
    except sqlite3.DatabaseError:  # the sweep itself says what is wrong with its file
        return []
