"""The trials of a sweep of several objectives that no other trial beats in all of them.

Of those alone whose replicates all have their values, as in `analysis.front`: a mean over fewer is another measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.atomic_json import write_json
from sweeper.metrics import direction
from sweeper.search.history import CELL, FAILED_REPLICATES, REPEATS, RUNS, chosen
from sweeper.search.space import Cell

if TYPE_CHECKING:
    from optuna.study import Study

_LEFT_OUT = {REPEATS, FAILED_REPLICATES}


def front(studies: Iterable[Study], cells: Mapping[str, Cell], objectives: list[str]) -> list[dict[str, Any]]:
    """Of each study: a study per cell has a front per cell. Sorted by the first objective, the best first."""
    from optuna.study._multi_objective import _get_pareto_front_trials_by_trials  # `best_trials` takes them all

    sign = -1 if direction(objectives[0]) == "maximize" else 1
    found = []
    for study in studies:
        whole = [trial for trial in study.get_trials(deepcopy=False) if not _LEFT_OUT & trial.user_attrs.keys()]
        trials = _get_pareto_front_trials_by_trials(whole, study.directions)
        for trial in sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number)):
            cell = cells[trial.user_attrs[CELL]]
            found.append({
                "study": study.study_name, "number": trial.number, "cell": cell.values, "params": chosen(trial, cell),
                "values": dict(zip(objectives, trial.values, strict=True)), "runs": trial.user_attrs.get(RUNS, []),
            })  # fmt: skip
    return found


def store(path: Path, trials: list[dict[str, Any]], objectives: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"objectives": {name: direction(name) for name in objectives}, "trials": trials})
    return path
