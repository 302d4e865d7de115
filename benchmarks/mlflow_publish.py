"""What MLflow costs the coordinating process, per run: create, parameters, points, artifacts, close.

    python benchmarks/mlflow_publish.py [runs] [points]

Prints wall and processor milliseconds of each MLflow call, medians over the runs. Target: 40 ms in all.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweeper.tracking.mlflow_view import MlflowView
from tests.synthetic_runs import SyntheticRun

CALLS = ("search_runs", "create_run", "log_inputs", "log_batch", "set_terminated")
SWEEP_ID = "5eed5eed00"
Times = defaultdict[str, list[tuple[float, float]]]


def timed(call: Callable[..., Any], times: list[tuple[float, float]]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        try:
            return call(*args, **kwargs)
        finally:
            times.append(((time.perf_counter() - wall) * 1000, (time.process_time() - processor) * 1000))

    return wrapper


def measure(output_dir: Path, num_runs: int, num_points: int) -> Times:
    times: Times = defaultdict(list)
    view = timed(MlflowView, times["open a fresh store"])(None, output_dir)
    view.ensure_experiment("sst2")
    parent = view.start_sweep(SWEEP_ID, "benchmark", {}, {})
    for name in CALLS:
        setattr(view._client, name, timed(getattr(view._client, name), times[name]))
    for seed in range(num_runs):
        folder = SyntheticRun(seed=seed, num_points=num_points, sweep_id=SWEEP_ID, irregular={"i": 3}).write(output_dir)
        for name, size in (
            ("adapter.safetensors", 60_000),
            ("predictions.parquet", 80_000),
            ("loss_curve.png", 30_000),
        ):
            (folder.artifacts / name).write_bytes(bytes(size))
        timed(view.publish, times["publish, in all"])(folder, parent)
    return times


def main() -> None:
    num_runs, num_points = (int(word) for word in (*sys.argv[1:], "40", "60")[:2])
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), num_runs, num_points)
    print(f"{'':20} {'wall ms':>9} {'processor ms':>13}   ({num_runs} runs, {3 * num_points} points each)")
    for name, pairs in times.items():
        if not pairs:  # a fresh folder is not searched for
            continue
        wall, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:20} {wall:9.1f} {processor:13.1f}")


if __name__ == "__main__":
    main()
