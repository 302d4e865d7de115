"""One append-only file of JSON lines: never rewritten, safe against a kill at any byte.

Owns the bytes; what the events mean is the run folder's business.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any

from sweeper.tracking.damage import DamagedFile

# JSON has no spelling for these; in the values of a metrics event, and only there, a string means a float.
NON_FINITE = ("NaN", "Infinity", "-Infinity")
_TAIL_BYTES = 1 << 16


class CorruptEventsError(DamagedFile):
    """A complete line that is no JSON object: not torn by a kill, so nobody may guess it away."""

    def __init__(self, path: Path, what: str, line: bytes) -> None:
        fix = f"move {path.parent} away; the same command then trains the run again"
        super().__init__(path, f"{what}: {line[:80]!r}", fix)


def encode_float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def decode_float(value: float | str) -> float:
    assert not isinstance(value, str) or value in NON_FINITE, value
    return float(value)


class EventLog:
    """Several processes may append (a worker, and the coordinator when that worker is dead)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: dict[str, Any], *, durable: bool) -> None:
        """One `write` call, under the file's lock. Raises OSError (disk full) with the file as it was before."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # released by close, and by the kernel when the process dies
            size = _drop_torn_line(descriptor)
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, "the event could not be written whole, is the disk full?", str(self.path))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Events of the complete lines from byte `offset`, and the offset after the last of them.

        Raises CorruptEventsError for a complete line that isn't an object.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        complete = data[: data.rfind(b"\n") + 1]
        return [self._parse(line) for line in complete.split(b"\n")[:-1]], offset + len(complete)

    def line_start(self, offset: int) -> int:
        """`offset` where a line begins there, else 0: the file lost its end, so a reader begins again."""
        if offset == 0 or not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            file.seek(offset - 1)
            return offset if file.read(1) == b"\n" else 0

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except ValueError as error:
            raise CorruptEventsError(self.path, "not a JSON line", line) from error
        if not isinstance(event, dict) or "event" not in event:
            raise CorruptEventsError(self.path, "not an event", line)
        return event


def _drop_torn_line(descriptor: int) -> int:
    """Truncates what follows the last newline; returns the file's size then."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end = size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(descriptor, start + newline + 1)
            return start + newline + 1
        end = start
    os.ftruncate(descriptor, 0)
    return 0
