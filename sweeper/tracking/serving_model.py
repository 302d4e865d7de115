"""`serving/` of a complete run in MLflow: a pyfunc model for `mlflow models serve -m runs:/<MLflow's id>/serving`.

Two small files. The weights are named, not copied: `reference.json` says where the run's own lie, and which base model
they stand on; `sweeper.serving` loads them. No code and no pickle is stored.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.config import PACKAGE
from sweeper.tracking.run_folder import RunFolder

FOLDER, REFERENCE = "serving", "reference.json"
LOADER = "sweeper.serving"


def files(folder: RunFolder, mlflow_run_id: str, inputs: Sequence[str]) -> dict[str, str]:
    """Name -> content; `inputs` are the text columns that the task reads. Imports MLflow."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    schema = Schema([ColSpec(DataType.string, name) for name in inputs])
    model = Model(artifact_path=FOLDER, run_id=mlflow_run_id, signature=ModelSignature(inputs=schema), model_uuid=None)
    # As `mlflow.pyfunc.add_to_model` does it, which would cost a second of imports.
    model.add_flavor("python_function", loader_module=LOADER, data=REFERENCE, python_version=platform.python_version())
    return {"MLmodel": model.to_yaml(), REFERENCE: json.dumps(reference(folder, mlflow_run_id), indent=1)}


def reference(folder: RunFolder, mlflow_run_id: str) -> dict[str, Any]:
    """A server has a working directory of its own, so every path is absolute."""
    config = folder.settled_config().to_dict()
    path = config["model"].get("path")
    if path and not path.startswith(PACKAGE):
        config["model"]["path"] = str(Path(path).resolve())
    weights = sorted(path.name for path in folder.artifacts.iterdir() if path.is_dir())
    return {
        "run_id": folder.run_id,
        "mlflow_run_id": mlflow_run_id,
        "artifacts": str(folder.artifacts.resolve()),
        "weights": weights,  # folders there, and among the run's artifacts in MLflow
        "config": config,
    }
