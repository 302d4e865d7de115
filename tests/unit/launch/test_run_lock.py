"""One process trains a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from sweeper.launch.run_lock import RunLock, holder

HOLD = """
import pathlib, sys, time
from sweeper.launch.run_lock import RunLock
lock = RunLock.take(pathlib.Path(sys.argv[1]))
print(lock is not None, flush=True)
time.sleep(60)
"""


def test_second_taker_gets_nothing_until_it_is_released(tmp_path: Path) -> None:
    lock = RunLock.take(tmp_path)
    assert lock is not None
    assert RunLock.take(tmp_path) is None
    assert str(os.getpid()) in str(holder(tmp_path))
    lock.release()
    assert holder(tmp_path) is None
    free_again(tmp_path)


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert RunLock.take(tmp_path) is None
        process.send_signal(signal.SIGKILL)
    free_again(tmp_path)


def free_again(folder: Path) -> None:
    lock = RunLock.take(folder)
    assert lock is not None
    lock.release()
