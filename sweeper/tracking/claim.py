"""The claim of a sweep by the one process that runs it: a lock, who holds it, and a lease.

    <output_dir>/locks/<sweep_id>.lock      {"mark": {...}, "since": "2026-01-31T12:00:00+00:00"}

The lock (flock) is freed by the kernel when its process dies, but does not reach other hosts on every file system.
So the holder also touches the file every few seconds; the time of that is the lease. It is read off the file system's
own clock, which is the same for all hosts.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sweeper.checks import ConfigError
from sweeper.tracking.process_mark import ProcessMark

LOCKS = "locks"  # folder below output_dir
LEASE_S = 60.0  # without a renewal, after which a process that cannot be asked counts as gone
RENEW_S = 5.0  # between two renewals


@dataclass(frozen=True)
class Holder:
    """Who claimed a sweep last, alive or not."""

    mark: ProcessMark
    since: str  # ISO 8601, UTC
    lease_age_s: float  # since its last renewal

    @classmethod
    def of(cls, output_dir: Path, sweep_id: str) -> Holder | None:
        """None where nobody did, or where a kill tore what was written."""
        path = lock_path(output_dir, sweep_id)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            mark = ProcessMark.from_dict(content["mark"])
            return cls(mark, content["since"], age_s(path))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def runs(self) -> bool:
        """As far as one can tell from here."""
        alive = self.mark.alive()
        return self.lease_age_s < LEASE_S if alive is None else alive


@dataclass
class Claim:
    """Held while its file is open."""

    path: Path
    mark: ProcessMark
    _file: IO[str]

    def renew(self) -> None:
        """To be called about every RENEW_S. Raises ConfigError when the claim was lost: this process slept for longer
        than LEASE_S, and another host took the sweep over."""
        holder = Holder.of(self.path.parent.parent, self.path.stem)
        if holder is not None and holder.mark != self.mark:
            raise ConfigError("output_dir", self.path.parent.parent, f"{holder.mark} took this sweep over, since this "
                              f"one did not answer for {LEASE_S:.0f} s", "leave the sweep to it")  # fmt: skip
        os.utime(self._file.fileno())


@contextlib.contextmanager
def claimed(output_dir: Path, sweep_id: str) -> Iterator[Claim]:
    """While this process runs the sweep. Raises ConfigError when another one does."""
    path = lock_path(output_dir, sweep_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        holder = Holder.of(output_dir, sweep_id)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refusal(output_dir, holder, "wait for it, or stop it; the same command then goes on") from None
        if holder is not None and holder.mark.alive() is None and holder.runs:
            until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=LEASE_S - holder.lease_age_s)
            fix = f"stop it there; if it is gone already, the same command goes on from {until:%H:%M:%S} UTC"
            raise _refusal(output_dir, holder, fix)
        mark = ProcessMark.own()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.truncate(0)
        file.write(json.dumps({"mark": mark.to_dict(), "since": now}) + "\n")
        file.flush()
        try:
            yield Claim(path, mark, file)
        finally:
            after = Holder.of(output_dir, sweep_id)
            if after is not None and after.mark == mark:  # not taken over
                file.truncate(0)  # nobody on another host need wait for the lease to end


def lock_path(output_dir: Path, sweep_id: str) -> Path:
    return output_dir / LOCKS / f"{sweep_id}.lock"


def _refusal(output_dir: Path, holder: Holder | None, fix: str) -> ConfigError:
    who = "another process runs" if holder is None else f"{holder.mark} runs"
    since = f", since {holder.since}" if holder is not None else ""
    return ConfigError("output_dir", output_dir, f"{who} this very sweep already{since}", fix)


def age_s(path: Path) -> float:
    """Since the file was written or touched, by the clock that dates the files of its folder. Raises OSError."""
    with tempfile.TemporaryFile(dir=path.parent) as file:
        return os.fstat(file.fileno()).st_mtime - path.stat().st_mtime
