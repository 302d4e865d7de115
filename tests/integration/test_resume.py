"""A sweep that is killed, and what a person can do then: real processes, the embedded model on demo data."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
MAX_CPU_S = 2.0  # of a process that trains nothing
TINY = """# @package _global_
task: {selection_size: 10, test_size: 10, data: {source: demo}}
train: {max_steps: 2, min_steps: 0, learning_rate: 0.001}
"""
SWEEP = ("-m", "--config-dir=mine", "experiment=tiny", "task.train_size=10", "peft.r=1,2,3",
         "hydra.sweeper.confirm_seeds=0", "hydra.launcher.slots=1", "hydra.launcher.max_group=1")  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder that the commands are given in."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "tiny.yaml").write_text(TINY)
    return tmp_path


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("SWEEPER_DATA", "HYDRA_FULL_ERROR")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sweeper" / "plugin")])}


def given(place: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=place, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def killed(place: Path, when: Callable[[], bool]) -> None:
    """Begins the sweep and kills its coordinating process at that moment; the workers leave by themselves."""
    command = [sys.executable, "-m", "sweeper", *SWEEP]
    with (place / "output.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=place, env=environment(), stdout=output, stderr=output)
        while not when():
            assert process.poll() is None, (place / "output.txt").read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()


def record(place: Path) -> dict[str, Any]:
    (path,) = place.glob("mlruns/sweeps/*/sweep.json")
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def states(place: Path) -> list[str]:
    """Of the runs, by their last start or end."""
    found = []
    for path in place.glob("mlruns/runs/*/events.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        last = [event for event in events if event["event"] in ("started", "finished")]
        found.append(last[-1].get("state", "started") if last else "waiting")
    return sorted(found)


def test_a_killed_sweep_is_listed_refuses_what_has_changed_and_goes_on_to_its_end(place: Path) -> None:
    killed(place, when=lambda: "COMPLETE" in states(place))
    assert record(place)["state"] == "RUNNING", "nobody could say that it ended"
    listed = given(place, "sweeper.resume", "--list").stdout.splitlines()[1]
    assert listed.split()[:2] == [record(place)["sweep_id"], "KILLED"]

    (place / "mine" / "experiment" / "tiny.yaml").write_text(TINY.replace("0.001", "0.002"))
    before = record(place)
    for command in (("sweeper", *SWEEP), ("sweeper.resume", "last")):
        refused = given(place, *command)
        assert (refused.returncode, refused.stdout) == (2, "")
        _, change, line = refused.stderr.splitlines()
        assert change == "  train.learning_rate: 0.001 -> 0.002"
        assert "resume.allow_drift=true" in line
        assert record(place) == before

    (place / "mine" / "experiment" / "tiny.yaml").write_text(TINY)
    resumed = given(place, "sweeper.resume", before["sweep_id"][:4])
    assert resumed.returncode == 0, resumed.stderr
    assert states(place) == ["COMPLETE"] * 3
    after = record(place)
    assert (after["state"], after["finished"], after["sweep_id"]) == ("COMPLETE", 3, before["sweep_id"])
    assert after["command"] == {**before["command"], "overrides": [*before["command"]["overrides"],
                                f"output_dir={place / 'mlruns'}"]}  # fmt: skip


def test_a_sweep_that_was_killed_before_any_run_goes_on_with_what_changed_where_that_is_allowed(place: Path) -> None:
    killed(place, when=lambda: bool(list(place.glob("mlruns/sweeps/*/sweep.json"))))
    before = record(place)
    (place / "mine" / "experiment" / "tiny.yaml").write_text(TINY.replace("0.001", "0.002"))
    resumed = given(place, "sweeper.resume", "last", "resume.allow_drift=true")
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on with sweep {before['sweep_id']}, though its config has changed" in resumed.stdout
    after = record(place)
    assert (after["sweep_id"], after["state"]) == (before["sweep_id"], "COMPLETE")
    assert after["drift"][0]["changes"] == ["train.learning_rate: 0.001 -> 0.002"]
    configs = [json.loads(path.read_text())["config"] for path in place.glob("mlruns/runs/*/run.json")]
    assert [config["train"]["learning_rate"] for config in configs] == [0.002] * 3

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sst2").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`sweeper.kind` = 'sweep'")
    assert json.loads(parent.data.tags["sweeper.drift"]) == after["drift"]


HOLD = """
import sys, time
from pathlib import Path
from sweeper.tracking.claim import claimed
with claimed(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    hold = [sys.executable, "-c", HOLD, str(tmp_path), "5eed5eed00"]
    first = subprocess.Popen(hold, env=environment(), stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    first.stdout.readline()
    second = subprocess.run(hold, env=environment(), capture_output=True, text=True, check=False)
    assert f"process {first.pid} on " in second.stderr
    assert "runs this very sweep already, since 20" in second.stderr
    first.kill()
    first.communicate()
    third = subprocess.Popen(hold, env=environment(), stdout=subprocess.PIPE, text=True)
    assert third.stdout is not None
    assert third.stdout.readline() == "held\n"
    third.kill()
    third.communicate()


def test_a_damaged_record_and_a_damaged_database_are_one_line_each(place: Path) -> None:
    folder = place / "mlruns" / "sweeps" / "5eed5eed00"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text('{"sweep_id": "5e')
    for command in (("sweeper.resume", "last"), ("sweeper", *SWEEP)):
        refused = given(place, *command)
        (line,) = refused.stderr.splitlines()
        assert refused.returncode == 2
        assert "sweeps/5eed5eed00/sweep.json is damaged; delete it" in line
    (folder / "sweep.json").unlink()
    (place / "mlruns" / "optuna.db").write_bytes(b"SQLite format 3\x00" + b"torn" * 2000)
    refused = given(place, "sweeper", *SWEEP)
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 2
    assert "optuna.db: damaged" in line


def test_what_trains_nothing_is_quick(place: Path) -> None:
    for arguments in (("--list",), ("last",), ("--help",)):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        given(place, "sweeper.resume", *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MAX_CPU_S
