"""Which process something belongs to, told from every process that comes to have the same number.

A number alone is used again within hours. On Linux the start time is the kernel's count of clock ticks since it
booted, which no change of the clock moves; the boot has an id of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psutil

PROC = Path("/proc")
STATE, START_TICKS = 0, 19  # of the words after the name in /proc/<pid>/stat, see proc(5)


@dataclass(frozen=True)
class ProcessMark:
    host: str
    boot: str  # id of the boot
    pid: int
    started: float  # clock ticks since the boot on Linux, elsewhere seconds since 1970
    namespace: str = ""  # in which the number counts: a container that shares its host's name has its own

    @classmethod
    def own(cls) -> ProcessMark:
        started = _start_time(os.getpid())
        assert started is not None
        return cls(socket.gethostname(), _boot(), os.getpid(), started, _namespace())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProcessMark:
        """Raises KeyError where one is missing."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def alive(self) -> bool | None:
        """None where nobody can tell from here: another host, or another container."""
        if self.host != socket.gethostname():
            return None
        if self.boot != _boot():
            return False
        if self.namespace != _namespace():
            return None
        return _start_time(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _start_time(pid: int) -> float | None:
    """None where no process of that number runs; a zombie has ended, only its parent has not asked how."""
    if not PROC.joinpath("self", "stat").exists():
        return _psutil_start_time(pid)
    try:
        text = PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return None if words[STATE] in "ZX" else int(words[START_TICKS])


def _psutil_start_time(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _boot() -> str:
    try:
        return PROC.joinpath("sys", "kernel", "random", "boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _namespace() -> str:
    try:
        return os.readlink(PROC / "self" / "ns" / "pid")
    except OSError:
        return ""
