"""Whole sweeps in a process of their own: failures, dead workers, signals, and going on afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

Trials = list[tuple[str, float]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(trials: Trials, *words: str) -> subprocess.Popen[str]:
        module = "tests.integration.launch.sweep_process"
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", module, str(tmp_path), json.dumps(trials), *words],
                cwd=Path(__file__).resolve().parents[3],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], within_s: float = 60) -> tuple[int, str]:
    text, _ = process.communicate(timeout=within_s)
    return process.returncode, text


def told(output_dir: Path) -> dict[int, list[str]]:
    path = output_dir / "told.txt"
    lines = [line.split(maxsplit=3) for line in path.read_text().splitlines()] if path.exists() else []
    assert len({line[0] for line in lines}) == len(lines), "a trial was told twice"
    return {int(number): rest for number, *rest in lines}


def times_trained(output_dir: Path) -> Counter[int]:
    lines = (output_dir / "trained.txt").read_text().splitlines()
    return Counter(int(line.split("-s")[-1].split("-")[0]) for line in lines)


def mlflow_states(output_dir: Path) -> dict[str, int]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{output_dir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sst2")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs} - {None}
    return dict(Counter(run.info.status for run in runs if run.info.run_id not in parents))


def processes_of(session: int) -> list[int]:
    """Living processes that the coordinating process left behind."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def assert_all_leave(session: int) -> None:
    deadline = time.monotonic() + 10
    while left := processes_of(session):
        assert time.monotonic() < deadline, f"processes that work for nobody: {left}"
        time.sleep(0.1)


def wait_for_hanging_runs(output_dir: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(output_dir.glob("runs/*/hanging"))) < number:
        assert time.monotonic() < deadline, "the runs never hung"
        time.sleep(0.05)


def test_sweep_of_good_bad_and_deadly_runs_ends_with_a_result_for_each(tmp_path: Path, start: Start) -> None:
    trials: Trials = [("complete", 0.5), ("raise", 0.0), ("out of memory", 0.0), ("complete", 0.75), ("die", 0.0)]
    code, text = finish(start([*trials, ("complete", 0.25)]))
    assert code == 1, text
    results = told(tmp_path)
    for number, accuracy in ((0, "0.5"), (3, "0.75"), (5, "0.25")):
        assert results[number] == ["COMPLETE", accuracy, "None"]
    assert results[1] == ["FAILED", "None", "error"]
    assert results[2] == ["FAILED", "None", "out of memory"]
    assert results[4] == ["FAILED", "None", "killed"]
    assert "ValueError: the sky is green; traceback in" in text
    assert "was ended by SIGKILL; its output is in" in text


def test_mlflow_shows_how_every_run_ended(tmp_path: Path, start: Start) -> None:
    process = start([("complete", 0.5), ("raise", 0.0), ("hang", 0.0), ("hang", 0.0), ("complete", 0.5)], "mlflow")
    wait_for_hanging_runs(tmp_path, 2)
    os.kill(process.pid, signal.SIGTERM)
    code, text = finish(process)
    assert code == 143, text
    assert mlflow_states(tmp_path) == {"FINISHED": 1, "FAILED": 1, "KILLED": 2}


def test_output_of_workers_stays_out_of_the_terminal(tmp_path: Path, start: Start) -> None:
    _, text = finish(start([("die", 0.0)]))
    assert "last words\n" not in text
    assert "last words" in (tmp_path / "logs" / "5eed5eed00" / "slot-0.log").read_text()


def test_same_command_again_trains_nothing(tmp_path: Path, start: Start) -> None:
    trials: Trials = [("complete", 0.5), ("complete", 0.75)]
    assert finish(start(trials))[0] == 0
    code, text = finish(start(trials))
    assert code == 0
    assert "0 runs (2 of 2 trials are finished)" in text
    assert times_trained(tmp_path) == {0: 1, 1: 1}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_the_sweep_and_the_same_command_goes_on(
    tmp_path: Path, start: Start, number: int, code: int
) -> None:
    trials: Trials = [("complete", 0.5), ("hang once", 0.75), ("hang once", 0.5), ("complete", 0.25)]
    process = start(trials)
    wait_for_hanging_runs(tmp_path, 2)
    begun = time.monotonic()
    os.killpg(process.pid, number)  # as a terminal or a service manager does: to all processes
    result, text = finish(process)
    assert result == code, text
    assert time.monotonic() < begun + 10
    assert "Traceback" not in text
    assert_all_leave(process.pid)
    complete_before = [trial for trial, rest in told(tmp_path).items() if rest[0] == "COMPLETE"]
    assert told(tmp_path).keys() == set(complete_before), "a stopped run is no result"

    result, text = finish(start(trials))
    assert result == 0, text
    assert [told(tmp_path)[trial][0] for trial in range(4)] == ["COMPLETE"] * 4
    assert all(times_trained(tmp_path)[trial] == 1 for trial in complete_before)


def test_signal_before_the_first_run_leaves_nothing_behind(tmp_path: Path, start: Start) -> None:
    process = start([("complete", 0.5)])
    assert process.stdout is not None
    assert "1 run," in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    code, text = finish(process)
    assert code == 130, text
    assert "Traceback" not in text
    assert_all_leave(process.pid)


def test_second_signal_ends_the_process_at_once(tmp_path: Path, start: Start) -> None:
    process = start([("ignore the end", 0.5)])
    wait_for_hanging_runs(tmp_path, 1)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() < begun + 2


def test_workers_leave_a_killed_coordinating_process_and_the_sweep_goes_on(tmp_path: Path, start: Start) -> None:
    trials: Trials = [("hang once", 0.5), ("complete", 0.75)]
    process = start(trials)
    wait_for_hanging_runs(tmp_path, 1)
    process.kill()
    finish(process)
    assert_all_leave(process.pid)
    assert finish(start(trials))[0] == 0
    assert [told(tmp_path)[number][0] for number in range(2)] == ["COMPLETE"] * 2
