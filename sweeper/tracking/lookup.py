"""A finished run by what a person calls it."""

from __future__ import annotations

from pathlib import Path

from sweeper.atomic_json import read_json
from sweeper.checks import ConfigError, suggestion
from sweeper.tracking.damage import DamagedFile
from sweeper.tracking.run_folder import RUNS, RunFolder, RunState

LAST = "last"
SHOWN = 4  # of several that a name could mean


def find_run(output_dir: Path, name: str) -> RunFolder:
    """By its id, MLflow's id, the beginning of either, or `last`: the one that was completed last.

    Raises ConfigError where that names no run, several, or one without a result.
    """
    folders = {path.parent.name: RunFolder.open(path.parent) for path in (output_dir / RUNS).glob("*/run.json")}
    if not folders:
        raise ConfigError("output_dir", output_dir, "holds no run", "name its folder: output_dir=<folder>")
    if name == LAST:
        return _last(output_dir, list(folders.values()))
    found = folders.get(name) or _beginning(output_dir, name, folders)
    if (state := found.state()) is not RunState.COMPLETE:
        raise ConfigError("run", found.run_id, f"is {state.value}, so it left nothing to use", "take a complete one")
    return found


def _beginning(output_dir: Path, name: str, folders: dict[str, RunFolder]) -> RunFolder:
    fitting = [run_id for run_id, folder in folders.items()
               if any(known.startswith(name) for known in (run_id, _mlflow_id(folder)))]  # fmt: skip
    if len(fitting) > 1:
        shown = ", ".join(sorted(fitting)[:SHOWN]) + ", ..." * (len(fitting) > SHOWN)
        raise ConfigError("run", name, f"{len(fitting)} runs begin so: {shown}", "give more of its id")
    if not fitting:
        fix = suggestion(name, [*folders, LAST]) or "its id is its folder's name there, or MLflow's"
        raise ConfigError("run", name, f"no such run in {output_dir}", fix)
    return folders[fitting[0]]


def _mlflow_id(folder: RunFolder) -> str:
    """Nothing where MLflow never had the run."""
    try:
        return str(read_json(folder.path / "published.json").get("mlflow_run_id") or "")
    except (OSError, ValueError):
        return ""


def _last(output_dir: Path, folders: list[RunFolder]) -> RunFolder:
    ended = [(time, folder) for folder in folders if (time := completed(folder)) is not None]
    if not ended:
        raise ConfigError("run", LAST, f"no run in {output_dir} is complete", "wait for one, or take another folder")
    return sorted(ended, key=lambda end: end[0])[-1][1]


def completed(folder: RunFolder) -> float | None:
    """When. None for a run that is not complete, and a damaged one, which nobody asked for by name."""
    try:
        last = folder.last("started", "finished")
    except DamagedFile:
        return None
    return float(last["time"]) if last and last.get("state") == RunState.COMPLETE else None
