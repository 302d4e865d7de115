"""What a command costs: wall seconds, and the peak memory of it and all its descendants together.

    python -m benchmarks.command_cost [--every 0.5] -- python -m sweeper task=sst2 task.data.source=demo peft=qlora -m

Memory is the sum of proportional set sizes: pages that processes share are counted once. Linux only.
To be reached by the demo on two cores: 240 s, 3 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import psutil


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--every", type=float, default=0.5, help="seconds between two looks at the memory")
    arguments.add_argument("command", nargs=argparse.REMAINDER)
    options = arguments.parse_args()
    command = options.command[options.command[:1] == ["--"] :]
    began, peak, processes = time.monotonic(), 0, 0
    child = psutil.Popen(command)
    while True:
        memory, count = in_use(child)
        if memory > peak:
            peak, processes = memory, count
        try:
            code = int(child.wait(options.every))
            break
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            continue
    wall = time.monotonic() - began
    print(f"exit code {code}, {wall:.0f} s, peak {peak / 1e9:.2f} GB in {processes} processes", file=sys.stderr)
    return code


def in_use(root: psutil.Process) -> tuple[int, int]:
    """Bytes, and how many processes hold them."""
    total, count = 0, 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for process in family:
        try:
            total += process.memory_full_info().pss
            count += 1
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return total, count


if __name__ == "__main__":
    raise SystemExit(main())
