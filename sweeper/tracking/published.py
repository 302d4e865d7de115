"""published.json: how far a run folder has been sent to MLflow, and the lock of whoever sends."""

from __future__ import annotations

import dataclasses
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sweeper.atomic_json import read_json, write_json
from sweeper.tracking.run_folder import RunFolder


@dataclass
class Published:
    mlflow_run_id: str | None = None
    artifact_uri: str = ""
    offset: int = 0  # bytes of events.jsonl
    store: str | None = None  # of which MLflow experiment all this is true
    parent: str | None = None  # MLflow id of the sweep that the pages show it below

    @classmethod
    def of(cls, folder: RunFolder, store: str) -> Published:
        """Nothing, for another store than the one it was sent to, or of a damaged file: it gets everything again."""
        path = folder.path / "published.json"
        try:
            kept = read_json(path)
        except (FileNotFoundError, ValueError):
            return cls(store=store)
        published = cls(**{item.name: kept[item.name] for item in dataclasses.fields(cls) if item.name in kept})
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
