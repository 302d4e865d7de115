"""A run by what a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.tracking.lookup import find_run
from sweeper.tracking.run_folder import RunFolder
from tests.synthetic_runs import SyntheticRun

MLFLOW_ID = "8c1f0000000000000000000000000000"


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, RunFolder]:
    found = {method: SyntheticRun(method=method).write(tmp_path) for method in ("lora", "dora", "full")}
    (found["dora"].path / "published.json").write_text(json.dumps({"mlflow_run_id": MLFLOW_ID}))
    return found


def test_by_id_by_its_beginning_and_by_mlflows(tmp_path: Path, runs: dict[str, RunFolder]) -> None:
    assert find_run(tmp_path, runs["lora"].run_id).path == runs["lora"].path
    assert find_run(tmp_path, "sst2-mini-lo").path == runs["lora"].path
    assert find_run(tmp_path, MLFLOW_ID).path == runs["dora"].path
    assert find_run(tmp_path, "8c1f").path == runs["dora"].path


def test_the_last_is_the_one_that_was_completed_last(tmp_path: Path, runs: dict[str, RunFolder]) -> None:
    SyntheticRun(method="ia3", state="FAILED", reason="diverged").write(tmp_path)
    SyntheticRun(method="none", state=None).write(tmp_path)
    assert find_run(tmp_path, "last").path == runs["full"].path
    runs["lora"].started(slot=0)
    runs["lora"].finish("COMPLETE")
    assert find_run(tmp_path, "last").path == runs["lora"].path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sst2", r"run=sst2: 3 runs begin so: sst2-mini-dora-\S+, sst2-mini-full-\S+, \S+; give more of its id"),
        ("sst3-mini", r"run=sst3-mini: no such run in .*; .*"),
        ("lats", r"run=lats: no such run in .*; did you mean 'last'\?"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_what_names_no_run_or_several_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_run(tmp_path, name)


def test_a_run_without_a_result_is_refused(tmp_path: Path) -> None:
    failed = SyntheticRun(state="FAILED", reason="diverged").write(tmp_path)
    with pytest.raises(ConfigError, match=r"is FAILED, so it left nothing to use; take a complete one"):
        find_run(tmp_path, failed.run_id)
    with pytest.raises(ConfigError, match=r"run=last: no run in .* is complete"):
        find_run(tmp_path, "last")


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output_dir=.*: holds no run; name its folder: output_dir=<folder>"):
        find_run(tmp_path / "nowhere", "last")
