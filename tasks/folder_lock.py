"""One command at a time in a folder: a lock in it, which the kernel frees when the process that holds it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sweeper.checks import ConfigError

NAME = ".lock"


@contextlib.contextmanager
def alone_in(key: str, folder: Path) -> Iterator[None]:
    """While no other process is. The folder is made, and deleted again where nothing came into it.

    Raises:
        ConfigError: another process is in the folder, which `key` names, or it cannot be made.
    """
    path = folder / NAME
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError(key, folder, str(error.strerror), "name another folder") from error
    with file:
        if not _taken(file, path):
            file.seek(0)
            who = file.read() or "another process"
            raise ConfigError(key, folder, f"{who} writes there", "wait for it, stop it, or name another folder")
        file.truncate(0)
        print(f"process {os.getpid()} on {socket.gethostname()}", end="", file=file, flush=True)
        try:
            yield
        finally:
            path.unlink()
            with contextlib.suppress(OSError):  # it holds something
                for each in made:
                    each.rmdir()


def _taken(file: IO[str], path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())  # not one that its holder has just deleted
    except (BlockingIOError, FileNotFoundError):
        return False
