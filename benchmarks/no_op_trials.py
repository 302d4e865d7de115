"""What a trial costs that computes nothing, and whether that grows with the number of trials.

    python -m benchmarks.no_op_trials [--trials 10000] [--sampler random] [--mlflow] [--profile]

Real study (SQLite), real run folders, the real coordinator; the runs are written in place by a trainer that
computes nothing, eight to a group. Without --mlflow nothing is published (what publishing costs:
benchmarks/mlflow_publish.py). Prints milliseconds per trial and the resident memory, thousand by thousand.
To be reached: 10 ms per trial, and memory that stays flat.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import os
import pstats
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.instant_slots import InstantSlots
from sweeper.launch import start
from sweeper.launch.books import Books
from sweeper.launch.devices import SlotPlan
from sweeper.launch.progress import PlainProgress
from sweeper.launch.runs import Runs
from sweeper.launch.stop import Stop
from sweeper.search.study import Sweep

REPOSITORY = Path(__file__).resolve().parents[1]
MIB = 2**20


class NoView:
    def admit(self, *_: Any) -> None: ...

    def publish(self, *_: Any) -> bool:
        return True

    def finish_sweep(self, *_: Any) -> None: ...


class Report(PlainProgress):
    """Says nothing of runs; every thousand, what they cost."""

    def __init__(self, total: int, every: int) -> None:
        super().__init__(Console(file=io.StringIO()), total)
        self.every, self.then, self.shown = every, time.perf_counter(), 0

    def refresh(self) -> None:
        if self.num_done >= self.shown + self.every:
            now, number = time.perf_counter(), self.num_done - self.shown
            print(f"{self.num_done:6d} trials: {1000 * (now - self.then) / number:5.2f} ms per trial, "
                  f"{resident_bytes() / MIB:5.0f} MiB resident", flush=True)  # fmt: skip
            self.then, self.shown = now, self.num_done


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--mlflow", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    os.environ.pop("SWEEPER_DATA", None)  # the embedded data: every machine has it
    with tempfile.TemporaryDirectory() as folder:
        sweep = read_sweep(folder, options.trials, options.sampler)
        profile = cProfile.Profile()
        begun = time.perf_counter()
        with Stop() as stop, sweep:
            slots: Any = InstantSlots(SlotPlan(2, None, 2, None))
            books = start.open_books(sweep) if options.mlflow else Books(NoView(), None)
            report = Report(options.trials, max(1, options.trials // 10))
            coordinator = start.coordinator(sweep, Runs(sweep), slots, books, report, stop)
            code = profile.runcall(coordinator.run) if options.profile else coordinator.run()
        seconds = time.perf_counter() - begun
        print(f"exit code {code}; {1000 * seconds / options.trials:.2f} ms per trial over all")
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)


def read_sweep(folder: str, num_trials: int, sampler: str) -> Sweep:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from sweeper.search.command import read_command
    from sweeper.search.compose import register_schema

    register_schema()
    lines = [
        f"output_dir={folder}", "task.train_size=100", "train.learning_rate=interval(0.001,0.01)",
        "train.weight_decay=interval(0.0,0.1)", f"hydra.sweeper.n_trials={num_trials}",
        f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.confirm_seeds=0",
    ]  # fmt: skip
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return read_command(lines, GlobalHydra.instance().config_loader(), is_sweep=True)


if __name__ == "__main__":
    main()
