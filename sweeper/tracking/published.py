"""published.json: how far a run folder has been sent to MLflow, and the lock of whoever sends."""

from __future__ import annotations

import dataclasses
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sweeper.tracking.atomic_json import read_json, write_json
from sweeper.tracking.run_folder import RunFolder


@dataclass
class Published:
    mlflow_run_id: str | None = None
    artifact_uri: str = ""
    offset: int = 0  # bytes of events.jsonl
    artifacts: bool = False  # uploaded, and the run terminated
    store: str | None = None  # of which MLflow experiment all this is true
    parents: list[str] = field(default_factory=list)  # MLflow ids of the sweeps that the run belongs to

    @classmethod
    def of(cls, folder: RunFolder, store: str) -> Published:
        """Nothing, for another store than the one it was sent to: a new database gets everything again."""
        path = folder.path / "published.json"
        published = cls(**read_json(path)) if path.exists() else cls()
        return published if published.store == store else cls(store=store)

    def save(self, folder: RunFolder) -> None:
        # Not durable: after a power cut an older version only means that a batch is sent twice.
        write_json(folder.path / "published.json", dataclasses.asdict(self), durable=False)


@contextmanager
def exclusive(folder: RunFolder) -> Iterator[None]:
    """Two sweeps in one output_dir may share a run: only one of them publishes it at a time."""
    with (folder.path / "run.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
