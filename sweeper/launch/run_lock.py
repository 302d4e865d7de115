"""Who trains a run: a lock in its folder, held by the worker, that the kernel frees when the worker is gone.

Two sweeps may want the same run, and a worker may outlive the process that started it by a few seconds.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

NAME = "lock"  # in the run's folder


class RunLock:
    """Held while this object is open."""

    def __init__(self, file: IO[str]) -> None:
        """Use `take`."""
        self._file = file

    @classmethod
    def take(cls, folder: Path) -> RunLock | None:
        """None while another process has it."""
        file = (folder / NAME).open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        return cls(file)

    def release(self) -> None:
        self._file.close()


def holder(folder: Path) -> str | None:
    """`process 123 on host` while somebody trains the run."""
    lock = RunLock.take(folder)
    if lock is None:
        return (folder / NAME).read_text(encoding="utf-8")
    lock.release()
    return None
