"""MLflow's experiments, one per task, and which database they are in."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.checks import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_log = logging.getLogger(__name__)

_STORE = "sweeper.store"  # of an experiment: a new database has another, and gets everything again


class Experiments:
    def __init__(self, client: MlflowClient, artifact_root: Path | None) -> None:
        """`artifact_root`: where MLflow keeps artifacts; None leaves that to a server."""
        self._client = client
        self._artifact_root = artifact_root
        self._known: dict[str, tuple[str, str]] = {}  # task -> experiment id, store

    @property
    def first(self) -> str:
        """The task ensured first."""
        return next(iter(self._known))

    def ensure(self, task: str) -> tuple[str, str]:
        """The experiment's id and its store; raises ConfigError where a person deleted it."""
        if task not in self._known:
            experiment = self._client.get_experiment_by_name(task)
            self._known[task] = self._create(task) if experiment is None else self._found(task, experiment)
        return self._known[task]

    def _create(self, task: str) -> tuple[str, str]:
        location = str(self._artifact_root) if self._artifact_root else None
        tags = {_STORE: uuid.uuid4().hex, "mlflow.experimentKind": "custom_model_development"}
        return self._client.create_experiment(task, location, tags), tags[_STORE]

    def _found(self, task: str, experiment: Experiment) -> tuple[str, str]:
        if experiment.lifecycle_stage != "active":
            raise ConfigError(
                "task.name", task, "its MLflow experiment was deleted",
                f"`mlflow experiments restore -x {experiment.experiment_id}`, or choose another output_dir",
            )  # fmt: skip
        self._warn_of_a_move(experiment.artifact_location)
        store = experiment.tags.get(_STORE) or uuid.uuid4().hex
        self._client.set_experiment_tag(experiment.experiment_id, _STORE, store)
        return experiment.experiment_id, store

    def _warn_of_a_move(self, location: str) -> None:
        """MLflow keeps absolute paths: after a move its pages look for pictures and adapters at the old place."""
        root = self._artifact_root
        if root is not None and location != str(root) and not Path(location).is_dir():
            _log.warning(
                "MLflow's pages look for artifacts in %s, which is gone. If the folder was moved: delete %s, and the "
                "next sweep fills a new one from the run folders.", location, root.parent / "mlflow.db",
            )  # fmt: skip
