"""What a sweep has learnt about memory: how many runs of a kind share a forward, and how full one may be.

Kept in the sweep's folder, so that a resumed sweep does not learn it again the hard way.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sweeper.atomic_json import write_json
from sweeper.tracking.damage import DamagedFile, read_object


@dataclass(frozen=True)
class Limit:
    """Of the runs of one group key."""

    max_group: int | None = None  # runs that may share a forward; None: never short so far
    share: float = 1.0  # of the configured examples that one forward holds


@dataclass
class MemoryLimits:
    path: Path | None = None  # None: nothing is kept (a single run)
    _limits: dict[str, Limit] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | None) -> MemoryLimits:
        """Raises DamagedFile."""
        if path is None or not path.is_file():
            return cls(path)
        fix = "delete it; the sweep then learns again what fits into memory"
        try:
            return cls(path, {key: Limit(**limit) for key, limit in read_object(path, fix).items()})
        except TypeError as error:
            raise DamagedFile(path, str(error), fix) from error

    def of(self, key: str) -> Limit:
        return self._limits.get(_short(key), Limit())

    def halve_group(self, key: str, size: int) -> int:
        """After a group of `size` >= 2 was too large. The largest that is tried from now on."""
        known = self.of(key)
        smaller = min(size // 2, known.max_group or size)
        self._learn(key, Limit(smaller, known.share))
        return smaller

    def halve_share(self, key: str) -> float:
        """After a run alone was too large with the share known so far."""
        share = self.of(key).share / 2
        self._learn(key, Limit(1, share))
        return share

    def _learn(self, key: str, limit: Limit) -> None:
        self._limits[_short(key)] = limit
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, {known: asdict(limit) for known, limit in self._limits.items()})


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]
