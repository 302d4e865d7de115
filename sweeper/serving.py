"""The loader of a run's `serving/` model, by name from MLflow: see `sweeper.tracking.serving_model`.

Answers as `sweeper.predict` does, many rows at a time; a row that can't be read is the caller's error (HTTP 400).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.atomic_json import read_json
from sweeper.checks import ConfigError
from sweeper.config import run_config

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.training.predictor import Predictor


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls, with the path of reference.json. Raises ConfigError."""
    from sweeper.training.predictor import Predictor

    reference = read_json(Path(path))
    return Served(Predictor.load(run_config(reference["config"]), _artifacts(reference)))


class Served:
    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._lock = threading.Lock()  # one model: requests wait for each other

    def predict(self, rows: pd.DataFrame) -> list[dict[str, Any]]:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

        from tasks import new_rows, template

        try:
            asked_rows = new_rows.checked(rows, template.columns(self._predictor.config.task), "the request")
            with self._lock:
                return list(self._predictor.answers(asked_rows))
        except ConfigError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


def _artifacts(reference: Mapping[str, Any]) -> Path:
    """The run folder's own; where that is on another machine, or gone, MLflow's copy of its weights."""
    own = Path(reference["artifacts"])
    if all((own / name).is_dir() for name in reference["weights"]):
        return own
    from mlflow.artifacts import download_artifacts

    folder = tempfile.mkdtemp(prefix="sweeper-serving-")
    for name in reference["weights"]:
        download_artifacts(run_id=reference["mlflow_run_id"], artifact_path=name, dst_path=folder)
    return Path(folder)
