"""What the coordinating process costs per run: real folders, workers, Optuna and MLflow, a trainer that does nothing.

    python -m benchmarks.coordinator_overhead [--runs 100] [--max-group 1]

Prints milliseconds per run, of the wall clock and of the coordinating process's own processor time, from the
first group handed out to the last run published. Start-up is printed apart. To be reached: 60 ms per run.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from sweeper.launch.coordinator import Coordinator

TRAINER = "benchmarks.no_op_trainer:train_group"
REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=100)
    arguments.add_argument("--max-group", type=int, default=1)
    options = arguments.parse_args()
    os.environ.pop("SWEEPER_DATA", None)  # the embedded data: every machine has it
    with tempfile.TemporaryDirectory() as folder:
        begun, code = time.perf_counter(), measure(folder, options.runs, options.max_group)
        print(f"exit code {code}, everything {time.perf_counter() - begun:.1f} s")


def measure(output_dir: str, num_runs: int, max_group: int) -> int:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from sweeper.launch import start
    from sweeper.search.command import read_command
    from sweeper.search.compose import register_schema

    register_schema()
    lines = [
        f"output_dir={output_dir}", "task.train_size=100", "train.learning_rate=interval(0.001,0.01)",
        f"hydra.sweeper.n_trials={num_runs}", "hydra.sweeper.sampler=random",
        f"hydra.launcher.max_group={max_group}", "hydra.launcher.threads=1",
    ]  # fmt: skip
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        sweep = read_command(lines, GlobalHydra.instance().config_loader(), is_sweep=True)
        began = time.perf_counter()
        work = Coordinator.run

        def timed(self: Coordinator) -> int:
            print(f"start-up (MLflow, Optuna, data) {time.perf_counter() - began:.1f} s")
            wall, own = time.perf_counter(), time.process_time()
            code = work(self)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            print(f"{num_runs} runs: {1000 * wall / num_runs:.1f} ms per run of wall clock, "
                  f"{1000 * own / num_runs:.1f} ms of the coordinating process")  # fmt: skip
            return code

        Coordinator.run = timed  # type: ignore[method-assign]
        return start.run(sweep, console=Console(file=io.StringIO()), trainer=TRAINER)


if __name__ == "__main__":
    main()
