"""How long a killed sweep takes to make its next training step.

    python -m benchmarks.resume_latency [--times 5]

The sweep of benchmarks/kill_campaign.py is started; its coordinating process gets SIGKILL in the middle of training;
the same command is started again. Printed: seconds from that start to the first event of a step that was not made
before. To be reached: 15 s on two cores.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.kill_campaign import COMMAND
from sweeper.tracking.run_folder import RunFolder

LIMIT_S = 120.0
LOOK_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    seconds = []
    for number in range(parser.parse_args().times):
        seconds.append(measure())
        print(f"{number + 1}: {seconds[-1]:.1f} s to the first new training step", flush=True)
    print(f"median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s")


def measure() -> float:
    folder = Path(tempfile.mkdtemp(prefix="resume-latency-"))
    long = [word.replace("steps=40", "steps=1000") for word in COMMAND]
    command = [*long, f"output_dir={folder}"]
    first = start(command)
    await_steps(folder, {}, least=12)  # past the first checkpoint
    first.send_signal(signal.SIGKILL)
    first.wait()
    reached = steps(folder)
    begun = time.monotonic()
    second = start(command)
    await_steps(folder, reached, least=1)
    seconds = time.monotonic() - begun
    second.send_signal(signal.SIGTERM)
    second.wait()
    shutil.rmtree(folder)
    return seconds


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def steps(folder: Path) -> dict[str, int]:
    """Run id -> the furthest step that its folder tells of."""
    reached = {}
    for path in folder.glob("runs/*/run.json"):
        events, _ = RunFolder.open(path.parent).read()
        made = [event["step"] for event in events if event["event"] == "progress" and event["phase"] == "training"]
        reached[path.parent.name] = max(made, default=0)
    return reached


def await_steps(folder: Path, before: dict[str, int], *, least: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not any(step >= before.get(run_id, 0) + least for run_id, step in steps(folder).items()):
        assert time.monotonic() < deadline, f"no new step within {LIMIT_S:.0f} s: {steps(folder)}"
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
