"""Publishing to a real MLflow store on SQLite: what arrives, and that kills and outages lose and double nothing."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.load import Store
from sweeper.checks import ConfigError
from sweeper.config import flatten
from sweeper.launch.stop import Stopped
from sweeper.tracking.mlflow_view import MlflowView
from sweeper.tracking.run_folder import RunFolder
from tests.synthetic_runs import SyntheticRun

pytestmark = pytest.mark.integration
OpenView = Callable[[], MlflowView]
CELLS = json.dumps([{"task.train_size": 100, "peft": "lora"}])
SWEEP = "5eed5eed00"


@pytest.fixture
def client(view: MlflowView) -> MlflowClient:
    return MlflowClient(tracking_uri=view.tracking_uri)


def runs_of(client: MlflowClient, task: str, kind: str = "run") -> list[Run]:
    experiment = client.get_experiment_by_name(task)
    return list(client.search_runs([experiment.experiment_id], f"tags.`sweeper.kind` = '{kind}'"))


def only_run(client: MlflowClient, task: str) -> Run:
    (run,) = runs_of(client, task)
    return run


def points(client: MlflowClient, run: Run, name: str = "train/loss") -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


def start_sweep(view: MlflowView, task: str) -> str:
    return view.start_sweep(SWEEP, "a sweep", {"cells": CELLS, "replicates": "1"}, {"n_trials": 4}, task=task)


def test_a_finished_run_is_in_mlflow_whole(view: MlflowView, client: MlflowClient, task: str, output_dir: Path) -> None:
    folder = SyntheticRun(task=task, irregular={"i": 3}).create(output_dir)
    (folder.artifacts / "adapter").mkdir()
    (folder.artifacts / "adapter" / "adapter_config.json").write_text("{}")
    (folder.artifacts / "sample_answers.json").write_text('{"columns": ["id"], "data": [["1"]]}')
    SyntheticRun(task=task, irregular={"i": 3}).write(output_dir)
    parent = start_sweep(view, task)
    assert view.publish(folder, parent)

    run = only_run(client, task)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == folder.run_id
    assert run.data.params == {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in flatten(folder.identity.config).items()
        if key.partition(".")[0] not in ("report", "scale", "scales")  # of the table
    }
    assert run.data.metrics == pytest.approx(folder.summary())
    assert points(client, run) == [(0, 0.7), (1, 0.35), (2, pytest.approx(0.7 / 3))]
    own = json.dumps({"cell": folder.identity.cell, "trial": 0})
    expected = {"mlflow.parentRunId": parent, f"sweeper.sweep.{SWEEP}": own, "sweeper.state": "COMPLETE",
                "sweeper.irregular": '{"i": 3}', "sweeper.data.source": folder.identity.data["source"],
                "mlflow.loggedArtifacts": '[{"path": "sample_answers.json", "type": "table"}]'}  # fmt: skip
    assert expected.items() <= run.data.tags.items()
    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert {context: dataset.name for context, dataset in inputs.items()} == {
        split: f"{task}/{split}" for split in ("train", "selection", "test")
    }
    assert folder.identity.data["digest"].startswith(inputs["train"].digest)
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"config.yaml", "irregular.json", "sample_answers.json", "adapter"}
    config = Path(run.info.artifact_uri) / "config.yaml"
    assert config.samefile(folder.artifacts / "config.yaml")  # gigabytes of weights are kept once


def test_a_running_run_grows_batch_by_batch(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    folder = SyntheticRun(task=task, state=None, num_points=2).write(output_dir)
    view.publish(folder)
    assert only_run(client, task).info.status == "RUNNING"
    folder.progress(5, 10, 0.5, "training")
    folder.metrics(5, {"train/loss": 0.1})
    view.publish(folder)
    view.publish(folder)
    assert points(client, only_run(client, task)) == [(0, 0.7), (1, 0.35), (5, 0.1)]


def test_a_kill_between_mlflow_and_the_folder_doubles_nothing(
    view: MlflowView,
    open_view: OpenView,
    client: MlflowClient,
    task: str,
    output_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = SyntheticRun(task=task, irregular={"i": 1}).write(output_dir)
    folder.metrics(9, {"train/loss": math.nan, "train/grad_norm": math.inf})
    parent = start_sweep(view, task)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sweeper.tracking.published.Published.save", killed)
        with pytest.raises(KeyboardInterrupt):
            view.publish(folder, parent)
    # The next process starts later than the run was created, so it looks for the run before making one.
    following = open_view()
    following._opened_s += 2
    assert following.publish(folder, start_sweep(following, task))

    run = only_run(client, task)
    history = points(client, run)
    assert history[:-1] == [(0, 0.7), (1, 0.35), (2, pytest.approx(0.7 / 3))]
    assert math.isnan(history[-1][1])
    assert len(points(client, run, "train/grad_norm")) == 1
    assert run.data.tags["sweeper.infinite.train/grad_norm"] == "+inf at step 9"
    assert len(run.inputs.dataset_inputs) == 3
    assert len(runs_of(client, task, "sweep")) == 1


@pytest.mark.parametrize(("state", "reason"), [("FAILED", "out of memory"), ("PRUNED", None), ("KILLED", "killed")])
def test_every_state_keeps_its_exact_name_and_reason(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path, state: str, reason: str | None
) -> None:
    folder = SyntheticRun(task=task, state=None).write(output_dir)
    folder.finish(state, reason, "tried to allocate 2 GiB", "Traceback (most recent call last)")
    view.publish(folder)
    run = only_run(client, task)
    assert run.info.status == ("FAILED" if state == "FAILED" else "KILLED")
    assert (run.data.tags["sweeper.state"], run.data.tags["sweeper.reason"]) == (state, reason or "")
    assert run.data.tags["sweeper.detail"] == "tried to allocate 2 GiB"
    assert "traceback.txt" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_killed_run_that_is_resumed_runs_again_and_forgets_its_reason(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    folder = SyntheticRun(task=task, state="KILLED", reason="killed").write(output_dir)
    view.publish(folder)
    folder.started(slot=0, resumed_from_step=3)
    view.publish(folder)
    run = only_run(client, task)
    assert (run.info.status, run.data.tags["sweeper.reason"]) == ("RUNNING", "")
    (folder.artifacts / "late.txt").write_text("x")
    folder.finish("COMPLETE")
    view.publish(folder)
    run = only_run(client, task)
    assert (run.info.status, run.data.tags["sweeper.state"]) == ("FINISHED", "COMPLETE")
    assert "late.txt" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_folder_that_mlflow_lost_is_sent_again_whole(
    view: MlflowView, open_view: OpenView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    folder = SyntheticRun(task=task).write(output_dir)
    view.publish(folder)
    experiment = client.get_experiment_by_name(task).experiment_id
    client.set_experiment_tag(experiment, "sweeper.store", "another database")
    client.delete_run(only_run(client, task).info.run_id)
    open_view().reconcile(task)
    assert len(points(client, only_run(client, task))) == 3


def test_an_outage_is_survived_and_made_up_for(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SyntheticRun(task=task).write(output_dir)

    def away(*_: object, **__: object) -> None:
        raise MlflowException("database is locked", error_code=1)  # INTERNAL_ERROR

    with monkeypatch.context() as patch:
        patch.setattr(view._client, "log_batch", away)
        assert not view.publish(folder)
    assert view.publish(folder)
    assert len(points(client, only_run(client, task))) == 3


def test_a_signal_between_mlflow_and_the_folder_doubles_nothing_in_the_same_process(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SyntheticRun(task=task).write(output_dir)

    def stopped(*_: object) -> None:
        raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(view._client, "log_inputs", stopped)
        with pytest.raises(Stopped):
            view.publish(folder)
    assert view.publish(folder)
    assert only_run(client, task).info.status == "FINISHED"


def test_an_error_that_would_come_again_is_raised(
    view: MlflowView, task: str, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException.invalid_parameter_value("no such thing")

    monkeypatch.setattr(view._client, "log_batch", refuse)
    with pytest.raises(MlflowException, match="no such thing"):
        view.publish(SyntheticRun(task=task).write(output_dir))


def test_a_run_and_a_sweep_that_a_person_deleted_stay_deleted(
    view: MlflowView, task: str, output_dir: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    parent = start_sweep(view, task)
    folder = SyntheticRun(task=task, state=None).write(output_dir)
    view.publish(folder, parent)
    client.delete_run(only_run(client, task).info.run_id)
    client.delete_run(parent)
    folder.finish("COMPLETE")
    assert view.publish(folder, parent)
    view.finish_sweep("COMPLETE", parent)
    assert runs_of(client, task) == []
    assert f"its folder is whole: {folder.run_id}" in caplog.text


def test_a_moved_folder_is_pointed_out_and_filled_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    MlflowView(None, before).publish(SyntheticRun(task="moved").write(before))
    before.rename(after)
    MlflowView(None, after).reconcile("moved")
    assert f"{before / 'artifacts'}, which is gone" in caplog.text
    assert f"delete {after / 'mlflow.db'}" in caplog.text

    (after / "mlflow.db").unlink()
    after = after.rename(tmp_path / "filled again")  # MLflow keeps an opened database's address for the whole process
    view = MlflowView(None, after)
    view.reconcile("moved")
    run = only_run(MlflowClient(tracking_uri=view.tracking_uri), "moved")
    assert Path(run.info.artifact_uri).is_relative_to(after)
    assert (Path(run.info.artifact_uri) / "config.yaml").is_file()


def test_a_deleted_experiment_is_a_config_error(open_view: OpenView, client: MlflowClient, task: str) -> None:
    client.delete_experiment(open_view().ensure_experiment(task))
    with pytest.raises(ConfigError, match="was deleted; `mlflow experiments restore"):
        open_view().ensure_experiment(task)


def test_a_resumed_sweep_has_one_parent_that_runs_again(
    view: MlflowView, open_view: OpenView, client: MlflowClient, task: str
) -> None:
    parent = start_sweep(view, task)
    view.finish_sweep("FAILED", parent)
    assert client.get_run(parent).info.status == "FAILED"
    client.set_tag(parent, "sweeper.reason", "killed")  # as of a process that died
    again = open_view().start_sweep(SWEEP, "a sweep", {"cells": CELLS}, {"n_trials": 9}, task=task)
    run = client.get_run(again)
    assert (again, run.info.status, run.data.params) == (parent, "RUNNING", {"n_trials": "4"})
    assert (run.data.tags["sweeper.cells"], run.data.tags["sweeper.reason"]) == (CELLS, "")


def test_a_run_shared_by_two_sweeps_belongs_to_both(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    folder = SyntheticRun(task=task).write(output_dir)
    first = start_sweep(view, task)
    view.publish(folder, first)
    place = {"cell": {"model": "mini"}, "trial": 7}
    other = view.start_sweep("0ther00000", "wider", {}, {}, task=task)
    view.admit(folder, other, place)
    view.publish(folder, other)
    tags = only_run(client, task).data.tags
    assert json.loads(tags["sweeper.sweep.0ther00000"]) == place
    assert json.loads(tags[f"sweeper.sweep.{SWEEP}"])["cell"] == folder.identity.cell
    assert tags["mlflow.parentRunId"] == first


def test_a_reused_run_that_could_not_be_sent_gets_its_place_at_the_next_start(
    view: MlflowView, open_view: OpenView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    folder = SyntheticRun(task=task).write(output_dir)
    view.publish(folder, start_sweep(view, task))
    place = {"cell": {"model": "mini"}, "trial": 7}
    view.admit(folder, view.start_sweep("0ther00000", "wider", {}, {}, task=task), place)
    open_view().reconcile(task)  # nobody published it: the process had died, or the server was away
    assert json.loads(only_run(client, task).data.tags["sweeper.sweep.0ther00000"]) == place


def test_a_place_that_is_longer_than_a_tag_stays_whole(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    cell = {"task.prompt.system": "long " * 3000}
    folder = SyntheticRun(task=task).write(output_dir)
    parent = view.start_sweep("1ong000000", "long", {}, {}, task=task)
    view.admit(folder, parent, {"cell": cell, "trial": 3})
    view.publish(folder, parent)
    store = Store(view.tracking_uri)
    (run,) = store.runs(store.experiment(task)[1], sweep_id="1ong000000")
    assert run.cell == cell


def test_a_long_parameter_is_never_cut_in_silence(
    view: MlflowView, client: MlflowClient, task: str, output_dir: Path
) -> None:
    synthetic = SyntheticRun(task=task)
    identity = synthetic.create(output_dir).identity
    identity.config["task"]["prompt"]["system"] = "long " * 2000
    path = output_dir / "runs" / identity.run_id / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "config": identity.config}))
    folder = RunFolder.open(path.parent)
    folder.started(slot=0)
    view.publish(folder)
    assert only_run(client, task).data.params["task.prompt.system"].startswith("sha256:")


def test_no_secret_reaches_mlflow(task: str, output_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SyntheticRun(task=task, source="files: canary-5ecret/train.tsv", state=None).write(output_dir)
    monkeypatch.setenv("MY_HUB_TOKEN", "canary-5ecret")  # only now: what the folder says is redacted on its way, too
    folder.finish("FAILED", "error", "401 canary-5ecret", "Traceback canary-5ecret")
    view = MlflowView(None, output_dir)
    view.publish(folder, view.start_sweep(SWEEP, "s", {"note": "canary-5ecret"}, {"key": "canary-5ecret"}, task=task))
    client = MlflowClient(tracking_uri=view.tracking_uri)
    for run in runs_of(client, task) + runs_of(client, task, "sweep"):
        assert "canary" not in json.dumps(run.to_dictionary())
    assert (Path(only_run(client, task).info.artifact_uri) / "traceback.txt").read_text() == "Traceback <redacted>"


def test_nothing_is_left_in_mlflows_global_state(view: MlflowView, task: str, output_dir: Path) -> None:
    import mlflow

    view.publish(SyntheticRun(task=task).write(output_dir))
    assert mlflow.active_run() is None
    assert "MLFLOW_RUN_ID" not in os.environ
