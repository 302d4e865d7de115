"""The share of the time that slots have work, in a sweep of unequal runs.

    python -m benchmarks.slot_occupancy [--runs 100] [--slots 4] [--max-group 8]

Real coordinator, real worker processes; the trainer sleeps as long as it would train (a fourth of the runs are ten
to twenty times as long as the shortest), so that many slots fit on few cores. Three sweeps: every point known
beforehand, one run to a group and several, and points that a sampler gives. Printed: time in which a slot trains,
of the time from the first start to the last end. To be reached: 95 %.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from sweeper.tracking.run_folder import RunFolder

TRAINER = "benchmarks.sleeping_trainer:train_group"
REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--max-group", type=int, default=8)
    options = parser.parse_args()
    os.environ.pop("SWEEPER_DATA", None)  # the embedded data: every machine has it
    lengths = ",".join(str(21 + 2 * number if number % 4 else 200 + 4 * number) for number in range(options.runs))
    known = [f"train.max_steps={lengths}"]
    sampled = ["train.max_steps=tag(log,range(20,401))", f"hydra.sweeper.n_trials={options.runs}"]
    for name, lines, max_group in (
        ("points known beforehand, one run to a group", known, 1),
        (f"points known beforehand, at most {options.max_group} to a group", known, options.max_group),
        (f"points of a sampler, at most {options.max_group} to a group", sampled, options.max_group),
    ):
        with tempfile.TemporaryDirectory() as folder:
            train(folder, [*lines, f"hydra.launcher.max_group={max_group}", f"hydra.launcher.slots={options.slots}"])
            busy, seconds = occupancy(Path(folder), options.slots)
            share = 100 * busy / (seconds * options.slots)
            print(f"{name}: {share:.1f} % of {options.slots} slots for {seconds:.0f} s", flush=True)


def train(output_dir: str, lines: list[str]) -> None:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from sweeper.launch import start
    from sweeper.search.command import read_command
    from sweeper.search.compose import register_schema

    register_schema()
    lines = [f"output_dir={output_dir}", "task.train_size=100", "task.selection_size=10", "task.test_size=10",
             "hydra.launcher.threads=1", "hydra.sweeper.confirm_seeds=0", *lines]  # fmt: skip
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        sweep = read_command(lines, GlobalHydra.instance().config_loader(), is_sweep=True)
        code = start.run(sweep, console=Console(file=io.StringIO()), trainer=TRAINER)
    assert code == 0, code


def occupancy(output_dir: Path, num_slots: int) -> tuple[float, float]:
    """Seconds of work of all slots together, and of the sweep from its first start to its last end."""
    spans: dict[int, list[tuple[float, float]]] = {slot: [] for slot in range(num_slots)}
    for path in output_dir.glob("runs/*/run.json"):
        folder = RunFolder.open(path.parent)
        started, finished = folder.last("started"), folder.last("finished")
        assert started is not None
        assert finished is not None
        spans[started["slot"]].append((started["time"], finished["time"]))
    ends = [moment for slot in spans.values() for span in slot for moment in span]
    return sum(map(covered, spans.values())), max(ends) - min(ends)


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union."""
    edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    total, depth = 0.0, 0
    for (moment, change), (following, _) in pairwise(edges):
        depth += change
        total += (following - moment) * (depth > 0)
    return total


if __name__ == "__main__":
    main()
