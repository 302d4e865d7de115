"""What MLflow lacks, and what it shows as running though nothing runs: the traces of a process that died.

Owns who counts as gone. A process of this host is asked by its mark; one of another host by its lease, and where
nothing is known of that either, it is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.tracking import mlflow_fields as fields
from sweeper.tracking.claim import LEASE_S, Holder, age_s, lock_path
from sweeper.tracking.process_mark import ProcessMark
from sweeper.tracking.published import Published
from sweeper.tracking.run_folder import RUNS, Reason, RunFolder, RunState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def unsent(output_dir: Path, task: str, store: str) -> Iterator[RunFolder]:
    """The task's run folders with events that MLflow has not been sent to the end."""
    for path in sorted((output_dir / RUNS).glob("*/run.json")):
        folder = RunFolder.open(path.parent)
        events = folder.path / "events.jsonl"
        if not events.exists() or folder.identity.config["task"]["name"] != task:
            continue
        if Published.of(folder, store).offset != events.stat().st_size:
            yield folder


def close_if_gone(client: MlflowClient, run: Run, output_dir: Path) -> RunFolder | None:
    """Closes a run or a sweep that MLflow shows as RUNNING, as KILLED, where its process is gone.

    Returns a run's folder where MLflow lost the end that it had taken (a power cut): to be sent from the beginning.
    """
    tags = run.data.tags
    if tags.get(fields.KIND) == fields.SWEEP:
        mark = _mark(json.loads(tags.get(fields.MARK, "null")))
        if not _sweep_runs(mark, output_dir, tags[fields.SWEEP_ID]):
            _close(client, run, mark)
        return None
    path = output_dir / RUNS / tags.get(fields.RUN_ID, "")
    if not (path / "run.json").exists():
        return None
    folder = RunFolder.open(path)
    last = folder.last("started", "finished")
    if last is None:
        return None
    if last["event"] == "finished":
        (path / "published.json").unlink(missing_ok=True)
        return folder
    mark = _mark(last.get("mark"))
    if not _run_runs(mark, folder):
        _close(client, run, mark)
    return None


def _mark(values: Mapping[str, Any] | None) -> ProcessMark | None:
    """None of a version that wrote none: its processes are gone."""
    return None if values is None else ProcessMark.from_dict(values)


def _sweep_runs(mark: ProcessMark | None, output_dir: Path, sweep_id: str) -> bool:
    alive = mark is not None and mark.alive()
    if alive is not None:
        return alive
    if not lock_path(output_dir, sweep_id).exists():
        return True  # kept in a folder that this host does not see
    holder = Holder.of(output_dir, sweep_id)
    return holder is not None and holder.runs


def _run_runs(mark: ProcessMark | None, folder: RunFolder) -> bool:
    alive = mark is not None and mark.alive()
    if alive is not None:
        return alive
    if age_s(folder.path / "events.jsonl") < LEASE_S:
        return True
    sweep_id = folder.identity.sweep_id
    holder = None if sweep_id is None else Holder.of(folder.path.parents[1], sweep_id)
    return holder is not None and holder.runs


def _close(client: MlflowClient, run: Run, mark: ProcessMark | None) -> None:
    detail = f"{mark or 'its process'} is gone"
    tags = {fields.STATE: RunState.KILLED.value, fields.REASON: Reason.KILLED.value, fields.DETAIL: detail}
    for key, value in tags.items():
        client.set_tag(run.info.run_id, key, value)
    client.set_terminated(run.info.run_id, "KILLED")
