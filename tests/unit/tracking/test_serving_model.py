"""The model that `mlflow models serve` finds with a run: two small files that name things."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sweeper.tracking import serving_model
from tests.synthetic_runs import SyntheticRun


def test_the_model_is_a_reference_with_the_tasks_columns(tmp_path: Path) -> None:
    folder = SyntheticRun().write(tmp_path)
    (folder.artifacts / "adapter").mkdir()
    files = serving_model.files(folder, "8c1f", ["question", "context"])
    model = yaml.safe_load(files["MLmodel"])
    assert model["run_id"] == "8c1f"
    assert model["flavors"] == {
        "python_function": {"loader_module": "sweeper.serving", "data": "reference.json",
                            "python_version": model["flavors"]["python_function"]["python_version"]}
    }  # fmt: skip
    inputs = json.loads(model["signature"]["inputs"])
    assert [(column["name"], column["type"]) for column in inputs] == [("question", "string"), ("context", "string")]
    reference = json.loads(files["reference.json"])
    assert reference["weights"] == ["adapter"]
    assert Path(reference["artifacts"]) == folder.artifacts.resolve()


@pytest.mark.parametrize("path", ["models/tiny", "package:some_package/weights", None])
def test_a_relative_base_model_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = SyntheticRun().write(tmp_path)
    folder.identity.config["model"]["path"] = path
    found = serving_model.reference(folder, "8c1f")["config"]["model"]["path"]
    assert found == (str(tmp_path / "models" / "tiny") if path == "models/tiny" else path)
    assert folder.identity.config["model"]["path"] == path
