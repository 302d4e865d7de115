"""Sweeps whose processes are killed at random moments, against the same sweep left alone.

    python -m benchmarks.kill_campaign [--points 200] [--parallel 2] [--seed 0] [--keep <folder>]

A sweep of 12 runs of the embedded model (three train sizes, two ranks, two seeds, in groups) is run once undisturbed.
Then again and again, in fresh folders: SIGKILL and SIGTERM hit the coordinating process or one of its workers at
random moments, from the start of the command on; the same command goes on, until the sweep is done. Counted over all:

    lost      runs that are not COMPLETE in the end, in the study, in MLflow or on disk
    doubled   trials beyond the 12, runs with two ends, points of a curve that are there twice
    orphans   trials or MLflow runs that are still RUNNING, processes that are still there
    tables    that differ from the undisturbed one in any figure but the seconds and the memory

To be reached: 0 of each with 200 kill points.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import hashlib
import io
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.tracking.run_folder import RunFolder, RunState

NUM_RUNS = 12
MARK = "SWEEPER_KILL_CAMPAIGN"  # environment variable that tells a campaign's processes from all others
COMMAND = [
    sys.executable, "-m", "sweeper", "task=sst2", "task.data.source=demo", "peft=lora",
    "task.train_size=40,80,160", "peft.r=tag(design,choice(2,4))", "seed=0,1",
    "train.max_steps=40", "train.min_steps=40",
    "train.save_every=5", "train.logging_steps=5", "task.selection_size=40", "task.test_size=60",
    "hydra.launcher.retries=1000", "hydra.launcher.max_group=4", "-m",
]  # fmt: skip
# Which process is hit, how, and how often of ten times.
TARGETS = [("coordinator", signal.SIGKILL, 2), ("coordinator", signal.SIGTERM, 1),
           ("worker", signal.SIGKILL, 5), ("worker", signal.SIGTERM, 2)]  # fmt: skip
QUIET_S = 20.0  # in which every process of an ended command must be gone


@dataclass
class Tally:
    points: Counter[str] = field(default_factory=Counter)
    campaigns: int = 0
    starts: int = 0
    lost: int = 0
    doubled: int = 0
    orphans: int = 0
    tables: int = 0
    adapters: int = 0  # that differ from the undisturbed sweep's in any bit
    compared: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def figures(self) -> str:
        return (f"{self.lost} lost, {self.doubled} doubled, {self.orphans} orphans, {self.tables} tables and "
                f"{self.adapters} of {self.compared} adapters differ")  # fmt: skip

    def add(self, other: Tally) -> None:
        self.points += other.points
        for name in ("campaigns", "starts", "lost", "doubled", "orphans", "tables", "adapters", "compared"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.complaints += other.complaints


@dataclass(frozen=True)
class Expected:
    """Of the undisturbed sweep."""

    table: list[list[str]]
    adapters: dict[str, str]  # run id -> sha256 of its adapter's weights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the sweeps; a temporary one unless given")
    options = parser.parse_args()
    root = options.keep or Path(tempfile.mkdtemp(prefix="kill-campaign-"))
    begun = time.monotonic()
    undisturbed = root / "undisturbed"
    subprocess.run([*COMMAND, f"output_dir={undisturbed}"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    expected = Expected(table(undisturbed), adapters(undisturbed))
    total = Tally()
    with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        number, pending = 0, set()
        while sum(total.points.values()) < options.points or pending:
            while sum(total.points.values()) < options.points and len(pending) < options.parallel:
                pending.add(pool.submit(campaign, root / f"{number:03d}", options.seed + number, seconds, expected))
                number += 1
            done, pending = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            print(f"{sum(total.points.values()):4d} kill points, {total.campaigns} sweeps: {total.figures}", flush=True)
    for line in total.complaints:
        print(line)
    print(f"{dict(total.points)} in {total.starts} starts of the command, {time.monotonic() - begun:.0f} s")
    if options.keep is None and not total.complaints:
        shutil.rmtree(root)
    return int(bool(total.complaints))


def campaign(folder: Path, seed: int, seconds: float, expected: Expected) -> Tally:
    """One sweep, disturbed until it is done. `seconds`: what it takes undisturbed."""
    chance, tally = random.Random(seed), Tally(campaigns=1)
    while True:
        tally.starts += 1
        exit_code = disturbed(folder, chance, seconds, tally)
        if exit_code == 0:
            break
        if exit_code in (1, 2):
            tally.complaints.append(
                f"{folder.name}: exit code {exit_code}: {(folder / 'output.txt').read_text()[-600:]}"
            )
            break
    verify(folder, expected, tally)
    return tally


def disturbed(folder: Path, chance: random.Random, seconds: float, tally: Tally) -> int:
    """One start of the command, hit until its coordinating process is gone; the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {MARK: folder.name}
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen([*COMMAND, f"output_dir={folder}"], stdout=output, stderr=output, env=environment)
    weights, wait_s = [weight for _, _, weight in TARGETS], 0.8 * seconds
    while True:
        try:
            return process.wait(chance.uniform(0, wait_s))
        except subprocess.TimeoutExpired:
            target, number, _ = chance.choices(TARGETS, weights)[0]
            victims = [process.pid] if target == "coordinator" else workers(process.pid)
            if not victims:
                continue
            os.kill(chance.choice(victims), number)
            tally.points[f"{target} {number.name}"] += 1
            wait_s = 0.3 * seconds  # it is past its start-up
            if target == "coordinator":
                return process.wait()


def workers(coordinator: int) -> list[int]:
    """The fork server's children: a fork server is the coordinator's child, its workers are its own."""
    children = {pid: parent for pid, parent in parents().items()}
    servers = [pid for pid, parent in children.items() if parent == coordinator]
    return [pid for pid, parent in children.items() if parent in servers]


def parents() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def verify(folder: Path, expected: Expected, tally: Tally) -> None:
    def complain(kind: str, number: int, what: str) -> None:
        if number:
            setattr(tally, kind, getattr(tally, kind) + number)
            tally.complaints.append(f"{folder.name}: {number} {kind}: {what}")

    folders = [RunFolder.open(path.parent) for path in sorted((folder / "runs").glob("*/run.json"))]
    states = [run.state() for run in folders]
    complain("lost", NUM_RUNS - states.count(RunState.COMPLETE), f"run folders {Counter(map(str, states))}")
    for run in folders:
        events, _ = run.read()
        points = Counter((name, event["step"]) for event in events if event["event"] == "metrics"
                         for name in event["values"])  # fmt: skip
        ends = sum(event["event"] == "finished" and event["state"] == "COMPLETE" for event in events)
        complain("doubled", sum(points.values()) - len(points) + max(0, ends - 1), f"events of {run.run_id}")
    verify_study(folder, complain)
    verify_mlflow(folder, complain)
    if (found := table(folder)) != expected.table:
        complain("tables", 1, str([pair for pair in zip(expected.table, found, strict=False) if pair[0] != pair[1]]))
    tally.compared += NUM_RUNS
    tally.adapters += sum(digest != expected.adapters.get(run_id) for run_id, digest in adapters(folder).items())
    deadline = time.monotonic() + QUIET_S
    while (left := alive(folder.name)) and time.monotonic() < deadline:
        time.sleep(0.5)
    complain("orphans", len(left), f"processes {left}")


def verify_study(folder: Path, complain) -> None:
    with sqlite3.connect(folder / "optuna.db") as database:
        states = Counter(state for (state,) in database.execute("SELECT state FROM trials"))
    complain("lost", max(0, NUM_RUNS // 2 - states["COMPLETE"]), f"trials {states}")
    complain("doubled", max(0, states["COMPLETE"] - NUM_RUNS // 2), f"trials {states}")
    complain("orphans", states["RUNNING"] + states["WAITING"], f"trials {states}")


def verify_mlflow(folder: Path, complain) -> None:
    with sqlite3.connect(folder / "mlflow.db") as database:
        query = "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'sweeper.kind' AND value = 'run'"
        status = Counter(state for (state,) in database.execute(query))
        running = database.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0]
        twice = database.execute("SELECT count(*) FROM (SELECT 1 FROM metrics GROUP BY run_uuid, key, step "
                                 "HAVING count(*) > 1)").fetchone()[0]  # fmt: skip
        points = dict(database.execute("SELECT tags.value, count(*) FROM tags JOIN metrics USING (run_uuid) "
                                       "WHERE tags.key = 'sweeper.run_id' GROUP BY tags.value"))  # fmt: skip
    complain("lost", max(0, NUM_RUNS - status["FINISHED"]), f"MLflow runs {status}")
    complain("doubled", max(0, status["FINISHED"] - NUM_RUNS) + twice, f"MLflow runs {status}, {twice} points twice")
    complain("orphans", running, "MLflow runs that are RUNNING")
    for run in (RunFolder.open(path.parent) for path in (folder / "runs").glob("*/run.json")):
        events, _ = run.read()
        logged = sum(len(event["values"]) for event in events if event["event"] == "metrics")
        complain("lost", abs(logged - points.get(run.run_id, 0)), f"points of {run.run_id} in MLflow")


def table(folder: Path) -> list[list[str]]:
    """The published table, without its seconds and its memory."""
    command = [sys.executable, "-m", "analysis.table", f"output_dir={folder}", "--format", "csv"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = list(csv.reader(io.StringIO(text)))
    kept = [column for column, name in enumerate(rows[0]) if not any(word in name for word in ("train_s", "memory"))]
    return [[row[column] for column in kept] for row in rows]


def adapters(folder: Path) -> dict[str, str]:
    """Run id -> sha256 of its adapter's weights."""
    files = folder.glob("runs/*/artifacts/adapter/adapter_model.safetensors")
    return {file.parts[-4]: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def alive(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
