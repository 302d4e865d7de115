"""What earlier processes did of a sweep, read off its studies: points taken, trials left open, failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeper.search.space import Cell

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

# User attributes of a trial; RETRY_OF is the number of the failed one whose place it takes.
CELL, REASON, RUNS, FAILED_REPLICATES, RETRY_OF = "cell", "reason", "runs", "failed_replicates", "retry_of"


@dataclass
class Progress:
    """Of one cell: the points that are taken, by this process or an earlier one."""

    points: list[dict[str, Any]] = field(default_factory=list)  # encoded search values
    num_finished: int = 0


@dataclass
class History:
    """`leftovers` were open when their process ended, `retries` failed and shall run again."""

    progress: dict[str, Progress] = field(default_factory=dict)  # by the cell's key
    leftovers: list[tuple[Cell, FrozenTrial]] = field(default_factory=list)
    retries: list[tuple[Cell, FrozenTrial]] = field(default_factory=list)
    num_failed: int = 0
    num_left_failed: int = 0  # failed, some in a part of their replicates, and not run again


def recall(studies: Iterable[Study], cells: Mapping[str, Cell], *, retry_failed: bool) -> History:
    """A finished trial counts, unless it failed and shall run again; one that was retried counts as its retry does."""
    from optuna.trial import TrialState

    history = History({key: Progress() for key in cells})
    for study in studies:
        trials = study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in (trial for trial in trials if trial.number not in replaced):
            cell = cells[trial.user_attrs[CELL]]
            progress = history.progress[cell.key]
            progress.points.append(search_values(trial.params, cell))
            in_part = trial.state is TrialState.COMPLETE and FAILED_REPLICATES in trial.user_attrs
            has_failed = trial.state is TrialState.FAIL or in_part
            if not trial.state.is_finished():
                history.leftovers.append((cell, trial))
            elif has_failed and retry_failed:
                history.retries.append((cell, trial))
            else:
                progress.num_finished += 1
                history.num_failed += trial.state is TrialState.FAIL
                history.num_left_failed += has_failed
    return history


def search_values(params: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key in cell.search}
