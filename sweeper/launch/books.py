"""When MLflow gets what: ended runs at once, live ones every few seconds, a server that is away later.

Owns the queue of folders to publish. What is sent, and how far, is `mlflow_view`'s: it replays what MLflow
has missed, so a late call loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sweeper.checks import ConfigError
from sweeper.config import run_config
from sweeper.tracking.run_folder import RunFolder, RunState

LIVE_INTERVAL_S = 5.0  # between two points of time at which MLflow gets what live runs have logged
OUTAGE_INTERVAL_S = 30.0  # between two attempts when it can't be reached


class View(Protocol):
    """What the books need of `tracking.mlflow_view.MlflowView`."""

    def admit(self, folder: RunFolder, parent_run_id: str, place: Mapping[str, Any]) -> None: ...

    def publish(self, folder: RunFolder, parent_run_id: str | None = None) -> bool: ...

    def finish_sweep(self, state: str, parent_run_id: str | None = None) -> None: ...


class Books:
    def __init__(self, view: View, parent_run_id: str | None) -> None:
        """`parent_run_id`: of the sweep; None for a run by itself."""
        self._view = view
        self._parent = parent_run_id
        self._due: dict[str, RunFolder] = {}  # ended, not yet in MLflow to the end
        self._live_at = self._away_until = 0.0

    def admitted(self, folder: RunFolder, place: Mapping[str, Any]) -> None:
        """`place`: the run's `cell` and `trial` in this sweep; a folder that another made has those of that one."""
        if self._parent is not None:
            self._view.admit(folder, self._parent, place)

    def ended(self, folder: RunFolder) -> None:
        self._due[folder.run_id] = folder

    def publish(self, live: Iterable[RunFolder]) -> None:
        now = time.monotonic()
        if now < self._away_until:
            return
        folders = list(self._due.values())
        if now >= self._live_at + LIVE_INTERVAL_S:
            folders += live
            self._live_at = now
        for folder in folders:
            if not self._view.publish(folder, self._parent):
                self._away_until = time.monotonic() + OUTAGE_INTERVAL_S
                return
            self._due.pop(folder.run_id, None)

    def close(self, state: RunState) -> int:
        """Of the sweep. The number of ended runs that MLflow could not be given; the next start sends them."""
        self._away_until = 0.0
        self.publish(())
        if self._parent is not None and not self._due:
            self._view.finish_sweep(state, self._parent)
        return len(self._due)


def open_books(tracking_uri: str | None, output_dir: str, task: str, sweep: Mapping[str, Any] | None) -> Books:
    """Opens MLflow (seconds of imports, more where the database is new) and brings it up to what is on disk.

    `sweep`: the arguments of `MlflowView.start_sweep`; None for a run by itself. Raises ConfigError where MLflow
    cannot be reached or refuses.
    """
    from sweeper.tracking.mlflow_view import MlflowView

    view = MlflowView(tracking_uri, output_dir, inputs=_inputs)
    from mlflow.exceptions import MlflowException  # after the view has made MLflow's settings, which the import reads

    try:
        view.ensure_experiment(task)
        view.reconcile(task)
        parent = view.start_sweep(task=task, **sweep) if sweep is not None else None
    except MlflowException as error:
        fix = f"check that the server runs ({str(error).splitlines()[0]})"
        raise ConfigError("tracking_uri", view.tracking_uri, "MLflow does not answer, or refuses", fix) from error
    return Books(view, parent)


def _inputs(config: Mapping[str, Any]) -> list[str]:
    from tasks import template

    return template.columns(run_config(config).task)
