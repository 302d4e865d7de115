"""The last words of a sweep: its state, what failed, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.launch.books import Books
from sweeper.launch.progress import Progress
from sweeper.search.study import Sweep
from sweeper.tracking.run_folder import RunFolder, RunState


def conclude(sweep: Sweep, books: Books, progress: Progress, failures: Sequence[str], *, has_budget: bool) -> int:
    """Of a sweep that has no more to train now. The exit code."""
    failed = bool(failures or sweep.num_failed or sweep.num_left_failed)
    missing = sweep.missing()
    close_books(books, progress, RunState.FAILED if failed else RunState.KILLED if missing else RunState.COMPLETE)
    sweep.store_pareto()
    for line in sweep.notes_so_far():
        progress.say(line)
    for line in failures:
        progress.say(line, style="red")
    if missing:
        listed = ", ".join(f"{number} of {cell}" for cell, number in missing.items())
        why = "budget.minutes is spent" if has_budget else "hydra.sweeper.max_failures is reached"
        progress.say(f"{why}; trials that are missing: {listed}; "
                     "the same command goes on", style="yellow")  # fmt: skip
    return int(failed)


def close_books(books: Books, progress: Progress, state: RunState) -> None:
    if num_due := books.close(state):
        progress.say(f"MLflow could not be reached: {num_due} runs follow at the next start", style="yellow")


def failure(folder: RunFolder, finished: Mapping[str, Any]) -> str:
    """A line on a run that failed, by its `finished` event."""
    cause = " - ".join(part for part in (finished["reason"], finished["detail"]) if part)
    where = f"; traceback in {folder.path / 'events.jsonl'}" if finished.get("traceback") else ""
    return f"failed: {folder.run_id}: {cause}{where}"
