"""What a process that died left in MLflow, with marks that are true, forged, and of other hosts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sweeper.tracking.claim import LEASE_S, lock_path
from sweeper.tracking.mlflow_view import MlflowView
from sweeper.tracking.process_mark import ProcessMark
from sweeper.tracking.run_folder import RunFolder
from tests.synthetic_runs import SyntheticRun

pytestmark = pytest.mark.integration
OpenView = Callable[[], MlflowView]
OWN = ProcessMark.own()
REUSED_NUMBER = replace(OWN, started=OWN.started - 1)  # this process's number, of a process that is gone
OTHER_BOOT = replace(OWN, boot="before the power cut")
ELSEWHERE = replace(OWN, host="elsewhere")


@pytest.fixture
def client(view: MlflowView) -> MlflowClient:
    return MlflowClient(tracking_uri=view.tracking_uri)


def started_by(mark: ProcessMark | None, folder: RunFolder) -> RunFolder:
    rest = {} if mark is None else {"mark": mark.to_dict()}
    folder.append("started", slot=0, pid=1, resumed_from_step=None, **rest)
    return folder


def run_of(client: MlflowClient, task: str, folder: RunFolder) -> Run:
    experiment = client.get_experiment_by_name(task).experiment_id
    (run,) = client.search_runs([experiment], f"tags.`sweeper.run_id` = '{folder.run_id}'")
    return run


def hold_elsewhere(output_dir: Path, sweep_id: str, age_s: float) -> None:
    path = lock_path(output_dir, sweep_id)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"mark": ELSEWHERE.to_dict(), "since": "2026-01-31T12:00:00+00:00"}))
    make_older(path, age_s)


def make_older(path: Path, age_s: float) -> None:
    os.utime(path, (time.time() - age_s,) * 2)


@pytest.mark.parametrize("mark", [REUSED_NUMBER, OTHER_BOOT, None])
def test_a_run_whose_process_is_gone_is_closed_and_says_so(
    view: MlflowView, open_view: OpenView, client: MlflowClient, task: str, output_dir: Path, mark: ProcessMark | None
) -> None:
    folder = started_by(mark, SyntheticRun(task=task).create(output_dir))
    view.publish(folder)
    open_view().reconcile(task)
    run = run_of(client, task, folder)
    assert (run.info.status, run.data.tags["sweeper.state"], run.data.tags["sweeper.reason"]) == (
        "KILLED", "KILLED", "killed"
    )  # fmt: skip
    assert run.data.tags["sweeper.detail"].endswith("is gone")

    folder.started(slot=0, resumed_from_step=3)
    view.publish(folder)
    run = run_of(client, task, folder)
    assert (run.info.status, run.data.tags["sweeper.state"], run.data.tags["sweeper.detail"]) == (
        "RUNNING", "UNFINISHED", ""
    )  # fmt: skip


def test_a_run_that_is_trained_now_is_left_alone(
    view: MlflowView, open_view: OpenView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    folder = SyntheticRun(task=task, state=None).write(output_dir)
    view.publish(folder)
    open_view().reconcile(task)
    assert run_of(client, task, folder).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("events_age_s", "lease_age_s", "status"),
    [(0, None, "RUNNING"), (LEASE_S + 1, 1, "RUNNING"), (LEASE_S + 1, LEASE_S + 1, "KILLED"),
     (LEASE_S + 1, None, "KILLED")],
)  # fmt: skip
def test_a_run_of_another_host_is_closed_only_when_nothing_has_been_heard_of_it(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path, *,
    events_age_s: float, lease_age_s: float | None, status: str,
) -> None:  # fmt: skip
    sweep_id = f"id-of-{task}"
    folder = started_by(ELSEWHERE, SyntheticRun(task=task, sweep_id=sweep_id).create(output_dir))
    view.publish(folder)
    make_older(folder.path / "events.jsonl", events_age_s)
    if lease_age_s is not None:
        hold_elsewhere(output_dir, sweep_id, lease_age_s)
    view.reconcile(task)
    assert run_of(client, task, folder).info.status == status


@pytest.mark.parametrize(
    ("mark", "lease_age_s", "status"),
    [(OWN, None, "RUNNING"), (REUSED_NUMBER, None, "KILLED"), (None, None, "KILLED"),
     (ELSEWHERE, None, "RUNNING"),  # its folder may be another
     (ELSEWHERE, 1, "RUNNING"), (ELSEWHERE, LEASE_S + 1, "KILLED")],
)  # fmt: skip
def test_a_sweep_whose_process_is_gone_is_closed(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path, *,
    mark: ProcessMark | None, lease_age_s: float | None, status: str,
) -> None:  # fmt: skip
    sweep_id = f"id-of-{task}"
    parent = view.start_sweep(sweep_id, "a sweep", {}, {}, task=task)
    client.delete_tag(parent, "sweeper.mark")
    if mark is not None:
        client.set_tag(parent, "sweeper.mark", json.dumps(mark.to_dict()))
    if lease_age_s is not None:
        hold_elsewhere(output_dir, sweep_id, lease_age_s)
    view.reconcile(task)
    run = client.get_run(parent)
    assert (run.info.status, run.data.tags["sweeper.state"]) == (
        status, "KILLED" if status == "KILLED" else "UNFINISHED"
    )  # fmt: skip


def test_what_was_not_sent_is_sent_under_its_sweep(
    view: MlflowView, open_view: OpenView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    sweep_id = f"id-of-{task}"
    parent = view.start_sweep(sweep_id, "a sweep", {}, {}, task=task)
    half = SyntheticRun(task=task, state=None, seed=1, sweep_id=sweep_id).write(output_dir)
    view.publish(half, parent)
    half.finish("COMPLETE")
    never = SyntheticRun(task=task, seed=3, sweep_id=sweep_id).write(output_dir)
    waiting = SyntheticRun(task=task, seed=4, sweep_id=sweep_id).create(output_dir)
    waiting.join("another", {"cell": {}, "trial": 1})
    open_view().reconcile(task)
    assert run_of(client, task, half).info.status == run_of(client, task, never).info.status == "FINISHED"
    assert run_of(client, task, never).data.tags["mlflow.parentRunId"] == parent
    with pytest.raises(ValueError, match="not enough values"):
        run_of(client, task, waiting)  # nothing has happened to it
